"""Prior profiles: what is believed of a replica before it has been watched.

Sources of the numbers (facts/simulation.md section 2, data/power/*/SOURCE.txt):

- Step times: composed from per-operator latencies measured under vLLM (aiconfigurator-core 0.12.0),
  closed form fitted by non-negative least squares on relative error (decode MAPE 1.8-4.5 %, prefill
  0.8-8.6 %), then calibrated to whole vLLM steps of ML.ENERGY v3 runs (H100: 4.9 % in-sample,
  5.3-11.3 % leave-one-model-out; the same calibration transfers to A100 at 3.6 %; B200: 27.9 %).
- Power: logistic in log2 batch, per board. H100 8B/70B and B200 70B fitted to ML.ENERGY v3
  (0.6-1.2 % in-sample); A100 8B from powertrace-sim readings. The rest is assumed and says so.
- Idle: H100 and L40S with a CUDA context from arXiv 2605.23918 / 2604.07345; A100 from
  powertrace-sim. H200 and B200 were not found and are assumed.
"""

import math
from typing import NamedTuple

from fleet.profile import PowerCurve, Profile, StepTime

_MILLI = 1e-3


class _Step(NamedTuple):
    """Composed operator times of one board, in ms: T = a + b B + c KV, prompt p1 n + p2 n^2."""

    a: float
    b: float
    c: float
    p1: float
    p2: float


class _Host(NamedTuple):
    """Engine calibration T = alpha + gamma * T_ops + delta * B, alpha and delta in ms."""

    alpha: float
    gamma: float
    delta: float


class _Power(NamedTuple):
    """Watts of one board."""

    floor: float
    span: float
    steepness: float
    midpoint: float
    assumed: bool


class _Board(NamedTuple):
    """What a board is, whatever runs on it."""

    memory_gigabytes: float
    idle_watts: float
    idle_assumed: bool
    prefill_watts: float


class _Model(NamedTuple):
    """KV bytes per token of a representative of the size (GQA, bf16)."""

    parameters: float
    kv_bytes_per_token: float


_MODELS = {
    "8B": _Model(8.03e9, 131_072),  # Llama-3.1-8B: 32 layers, 8 KV heads of 128
    "32B": _Model(32.8e9, 262_144),  # Qwen3-32B: 64 layers, 8 KV heads of 128
    "70B": _Model(70.6e9, 327_680),  # Llama-3.1-70B: 80 layers, 8 KV heads of 128
}

_BOARDS = {
    "A100": _Board(80, 83.0, False, 440.0),  # prefill 440-521 W: powertrace-sim
    "H100": _Board(80, 121.7, False, 690.0),
    "H200": _Board(141, 130.0, True, 690.0),
    "B200": _Board(180, 140.0, True, 950.0),
    "L40S": _Board(48, 102.1, False, 345.0),
}

_STEPS = {
    ("A100", "8B"): _Step(10.93, 0.02805, 7.062e-5, 0.04987, 1.841e-6),
    ("A100", "32B"): _Step(44.72, 0.1152, 9.010e-5, 0.2038, 7.584e-6),
    ("A100", "70B"): _Step(90.32, 0.2204, 1.192e-4, 0.4409, 1.073e-5),
    ("H100", "8B"): _Step(6.065, 0.00865, 4.241e-5, 0.01300, 1.191e-6),
    ("H100", "32B"): _Step(24.73, 0.01949, 7.377e-5, 0.06067, 5.244e-6),
    ("H100", "70B"): _Step(51.56, 0.01675, 8.122e-5, 0.1328, 9.274e-6),
    ("H200", "8B"): _Step(4.620, 0.01009, 2.996e-5, 0.01494, 1.056e-6),
    ("H200", "32B"): _Step(18.64, 0.02891, 5.109e-5, 0.06661, 4.780e-6),
    ("H200", "70B"): _Step(37.27, 0.04337, 5.982e-5, 0.1569, 5.811e-6),
    ("B200", "8B"): _Step(3.091, 0.003643, 1.818e-5, 0.007087, 4.949e-7),
    ("B200", "32B"): _Step(11.92, 0.008802, 3.145e-5, 0.03043, 2.517e-6),
    ("B200", "70B"): _Step(23.15, 0.01872, 4.110e-5, 0.06337, 4.839e-6),
    ("L40S", "8B"): _Step(21.76, 0.02938, 1.923e-4, 0.03928, 4.960e-6),
    ("L40S", "32B"): _Step(91.40, 0.1039, 3.663e-4, 0.1857, 1.576e-5),
    ("L40S", "70B"): _Step(202.7, 0.1748, 4.738e-4, 0.3694, 4.603e-5),
}

_HOPPER_HOST = _Host(0.74, 1.01, 0.0684)
_HOSTS = {"B200": _Host(0.91, 1.50, 0.0607)}

_POWERS = {
    ("A100", "8B"): _Power(285.0, 90.0, 1.0, 6.0, True),  # 289 W at 1, 297 W at 13: read; above: no
    ("A100", "32B"): _Power(310.0, 85.0, 1.0, 5.0, True),
    ("A100", "70B"): _Power(300.0, 90.0, 1.0, 6.5, True),
    ("H100", "8B"): _Power(476.9, 218.1, 1.158, 5.468, False),
    ("H100", "32B"): _Power(505.0, 190.0, 1.0, 4.7, False),  # 538, 566, 599 W at 8, 16, 29: v3
    ("H100", "70B"): _Power(433.7, 210.3, 0.95, 6.928, False),
    ("H200", "8B"): _Power(476.9, 218.1, 1.158, 5.468, True),
    ("H200", "32B"): _Power(505.0, 190.0, 1.0, 4.7, True),
    ("H200", "70B"): _Power(433.7, 210.3, 0.95, 6.928, True),
    ("B200", "8B"): _Power(560.0, 60.0, 1.0, 7.0, True),  # v3 is not monotone: 449-691 W
    ("B200", "32B"): _Power(845.0, 128.0, 2.5, 5.7, False),  # 860-976 W at 8-128: v3
    ("B200", "70B"): _Power(857.9, 106.1, 2.473, 6.056, False),
    ("L40S", "8B"): _Power(240.0, 90.0, 1.0, 5.0, True),
    ("L40S", "32B"): _Power(250.0, 85.0, 1.0, 4.0, True),
    ("L40S", "70B"): _Power(250.0, 85.0, 1.0, 4.0, True),
}

# Llama-3.1-70B on four H100 steps in 16.47 ms at an empty batch (ML.ENERGY v3) where a quarter of
# the one-board composition is 12.9 ms: the difference is all-reduce.
_TENSOR_PARALLEL_EFFICIENCY = 0.78
_KV_MEMORY_RATIO = 0.9  # vLLM's default --gpu-memory-utilization
_RUNTIME_BYTES = 4e9  # activations and graphs; assumed
_BYTES_PER_PARAMETER = 2.0  # bf16
_MIN_KV_TOKENS = 2048.0

ACCELERATORS = tuple(_BOARDS)
"""Accelerator names that have priors."""


def prior_profile(accelerator: str, *, parameters: float, gpus_per_replica: int = 1) -> Profile:
    """The prior of a model of `parameters` weights on `gpus_per_replica` boards.

    Sizes between the tabulated 8B, 32B and 70B take the nearest in log scale, its times scaled by
    the ratio of weights; that and the parallelism are named among the assumptions.

    Raises:
        KeyError: When `accelerator` is not one of ACCELERATORS.
    """
    board = _BOARDS[accelerator]
    size = min(_MODELS, key=lambda name: abs(math.log(_MODELS[name].parameters / parameters)))
    weight_ratio = parameters / _MODELS[size].parameters
    power = _POWERS[accelerator, size]
    return Profile(
        step=_step_time(accelerator, size, weight_ratio, gpus_per_replica),
        power=_power_curve(board, power, gpus_per_replica),
        kv_capacity_tokens=_kv_capacity_tokens(board, size, parameters, gpus_per_replica),
        source=f"prior {accelerator} {size} x{gpus_per_replica}, bf16, vLLM 0.14 step times",
        assumptions=_assumptions(accelerator, size, weight_ratio, gpus_per_replica),
    )


def _step_time(accelerator: str, size: str, weight_ratio: float, gpus: int) -> StepTime:
    step, host = _STEPS[accelerator, size], _HOSTS.get(accelerator, _HOPPER_HOST)
    speed = gpus * (_TENSOR_PARALLEL_EFFICIENCY if gpus > 1 else 1.0)
    weights = host.gamma * weight_ratio / speed
    attention = host.gamma / speed
    return StepTime(
        base_seconds=_MILLI * (host.alpha + weights * step.a),
        per_request_seconds=_MILLI * (host.delta + weights * step.b),
        per_kv_token_seconds=_MILLI * attention * step.c,
        per_prompt_token_seconds=_MILLI * weights * step.p1,
        per_prompt_token_squared_seconds=_MILLI * attention * step.p2,
    )


def _power_curve(board: _Board, power: _Power, gpus: int) -> PowerCurve:
    return PowerCurve(
        idle_watts=board.idle_watts * gpus,
        floor_watts=power.floor * gpus,
        span_watts=power.span * gpus,
        steepness=power.steepness,
        midpoint_log2=power.midpoint,
        prefill_watts=board.prefill_watts * gpus,
    )


def _kv_capacity_tokens(board: _Board, size: str, parameters: float, gpus: int) -> float:
    memory_bytes = _KV_MEMORY_RATIO * board.memory_gigabytes * 1e9 * gpus
    free_bytes = memory_bytes - _BYTES_PER_PARAMETER * parameters - _RUNTIME_BYTES * gpus
    return max(_MIN_KV_TOKENS, free_bytes / _MODELS[size].kv_bytes_per_token)


def _assumptions(accelerator: str, size: str, weight_ratio: float, gpus: int) -> tuple[str, ...]:
    board = _BOARDS[accelerator]
    found = []
    if board.idle_assumed:
        found.append("idle power")
    if _POWERS[accelerator, size].assumed:
        found.append("decode power at large batches")
    if accelerator != "A100":
        found.append("prefill power near the board's limit")
    if not 0.8 <= weight_ratio <= 1.25:  # noqa: PLR2004 - a quarter off is another model
        found.append(f"step time scaled from {size} by weights")
    if gpus > 1:
        found.append("tensor-parallel efficiency 0.78, from one H100 configuration")
    return tuple(found)
