"""What the simulated hardware really does: step times, watts and KV room of one replica.

Pure. This is the *world* that the router is tested in, so it shares nothing with the router's
beliefs (`fleet.priors`): it interpolates points that were measured, where the priors are fitted
closed forms. The two disagree by several per cent, as belief and hardware do.

Every number names its source. The sources, by the key used below:

- ``mlenergy-v3``: ML.ENERGY leaderboard v3, lm-arena-chat, 1 board, vLLM, default clocks: median
  inter-token latency and GPU watts by running batch (data/power/mlenergy-v3). The watts are means
  over continuous batching, so they hold a few per cent of prefill; with about 120 prompt tokens
  per 390 generated that share is small and is not taken out.
- ``ops+calibration``: per-operator latencies measured under vLLM and composed into one decode step
  at 256 tokens of context (data/power/vllm-iteration-ms), then turned into whole engine steps by
  T = 0.74 ms + 1.01 T_ops + 0.0684 ms * batch, fitted on ML.ENERGY H100 runs (4.9 %) and 3.6 % off
  on A100 without a refit (facts/simulation.md 2.1).
- ``powertrace-sim``: A100-80GB, Qwen3-8B, vLLM, 4 Hz board power (facts/simulation.md 0 and 2.2).
- ``activity``: 249 W + 1.50 W per TFLOP/s, the Argonne A100 fit (13.5 %, facts/simulation.md 2.2).
- ``context-idle``: idle with a CUDA context and bare idle, arXiv 2605.23918 and 2604.07345.
- ``assumed``: declared, not measured; listed in `Truth.assumptions`.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import NamedTuple

_MILLI = 1e-3
_MEGA = 1e6

# vLLM's --gpu-memory-utilization default, and what activations and CUDA graphs take (assumed).
_MEMORY_UTILISATION_RATIO = 0.9
_ACTIVATION_BYTES = 2e9

# Largest batch of the tables: every measured table below reaches it.
MAX_BATCH = 512

# Engine calibration of composed operator times (facts/simulation.md 2.1), in ms.
_HOST_MS = 0.74
_OPS_GAIN = 1.01
_HOST_MS_PER_REQUEST = 0.0684


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The physics of one replica: one accelerator board that serves one model at default clocks.

    Attributes:
        accelerator: Short name, "H100".
        model: Name of the model whose physics this is.
        device_name: As DCGM prints it in `modelName`.
        step_seconds_by_batch: Decode step time at index = running requests, 0..MAX_BATCH, at the
            reference context. Index 0 is the floor of a step without decodes (prefill only).
        decode_watts_by_batch: Board power in such a step, same index.
        reference_context_tokens: Resident tokens per request that the table was taken at.
        kv_seconds_per_token: Change of step time per resident KV token.
        prefill_seconds_per_token: Linear cost of a prompt token (p1).
        prefill_seconds_per_token_squared: Attention cost (p2).
        prefill_watts: Board power while a prompt chunk is computed.
        idle_watts: Model loaded, no request; the CUDA context keeps the clock up.
        asleep_watts: Engine asleep or process gone.
        kv_capacity_tokens: Tokens the KV cache holds.
        max_clock_hz: SM clock with a CUDA context.
        asleep_clock_hz: SM clock without one.
        sources: Where the step times, watts and idle come from.
        assumptions: The numbers above that nobody measured.
    """

    accelerator: str
    model: str
    device_name: str
    step_seconds_by_batch: tuple[float, ...]
    decode_watts_by_batch: tuple[float, ...]
    reference_context_tokens: float
    kv_seconds_per_token: float
    prefill_seconds_per_token: float
    prefill_seconds_per_token_squared: float
    prefill_watts: float
    idle_watts: float
    asleep_watts: float
    kv_capacity_tokens: int
    max_clock_hz: float
    asleep_clock_hz: float
    sources: tuple[str, ...]
    assumptions: tuple[str, ...]

    def step_seconds(self, batch: int, *, kv_tokens: float) -> float:
        """Time of a step with `batch` decodes over `kv_tokens` resident tokens in all."""
        excess_tokens = kv_tokens - self.reference_context_tokens * batch
        return self.step_seconds_by_batch[batch] + self.kv_seconds_per_token * excess_tokens

    def chunk_seconds(self, *, done_tokens: int, new_tokens: int) -> float:
        """Time that `new_tokens` of one prompt add to a step, `done_tokens` being in the cache.

        p1 n + p2 ((d + n)^2 - d^2), facts/simulation.md 2.1.
        """
        return new_tokens * (
            self.prefill_seconds_per_token
            + self.prefill_seconds_per_token_squared * (2 * done_tokens + new_tokens)
        )


class _Board(NamedTuple):
    """One accelerator serving Llama-3.1-8B; times in ms, as the sources print them."""

    device_name: str
    step_ms: dict[int, float]
    context_tokens: float
    kv_ms: float
    prefill_ms: tuple[float, float]
    watts: dict[int, float]
    prefill_watts: float
    idle_watts: float
    asleep_watts: float
    memory_bytes: float
    clock_mhz: tuple[float, float]
    sources: tuple[str, ...]
    assumptions: tuple[str, ...]


class _Architecture(NamedTuple):
    """Shape of a model, from its published configuration; bf16."""

    parameters: float
    kv_bytes_per_token: float


# 32 layers, 8 KV heads of 128, two of them (K, V), two bytes.
_LLAMA_8B = _Architecture(8.03e9, 32 * 8 * 128 * 2 * 2)
# 28 layers, 8 KV heads of 128.
_LLAMA_3B = _Architecture(3.21e9, 28 * 8 * 128 * 2 * 2)

# Query heads times layers, which prefill attention grows with: 32 x 32 and 24 x 28.
_ATTENTION_RATIO_3B = (24 * 28) / (32 * 32)


def _engine_ms(ops_ms: dict[int, float]) -> dict[int, float]:
    """Whole engine steps from composed operator times (``ops+calibration``)."""
    return {
        batch: _HOST_MS + _OPS_GAIN * ms + _HOST_MS_PER_REQUEST * batch
        for batch, ms in ops_ms.items()
    }


# mlenergy-v3, H100, median inter-token latency (ms) and watts by batch. Batch 1 is the line
# 6.67 + 0.089 B of the same runs (facts/simulation.md 2.1): no run was made below 8.
_H100_STEP_MS = {1: 6.76, 8: 7.32, 16: 7.91, 32: 8.91, 64: 11.50, 96: 14.08}
_H100_STEP_MS |= {128: 16.48, 192: 20.91, 256: 26.13, 384: 37.70, 512: 47.41}
_H100_WATTS = {8: 486.4, 16: 513.3, 32: 559.7, 64: 610.3, 96: 644.0}
_H100_WATTS |= {128: 669.2, 192: 688.3, 256: 690.5, 384: 686.5, 512: 688.3}

_BELOW_8 = "watts below batch 8 held at batch 8, as powertrace-sim saw on A100"

_BOARDS = {
    "A100": _Board(
        device_name="NVIDIA A100-SXM4-80GB",
        step_ms=_engine_ms(
            {1: 11.10, 8: 11.17, 16: 11.41, 32: 12.14, 64: 12.81, 96: 15.13}
            | {128: 16.02, 192: 23.40, 256: 24.98, 384: 33.08, 512: 44.07}
        ),
        context_tokens=256.0,
        kv_ms=7.06e-5,
        prefill_ms=(0.04987, 1.84e-6),
        # Measured at 1, 4, 8 and 13; from 32 on ``activity`` at the step times above.
        watts={1: 289.0, 4: 280.0, 8: 290.0, 13: 297.0, 32: 303.0, 64: 334.0}
        | {128: 369.0, 256: 391.0, 512: 400.0},
        prefill_watts=480.0,  # powertrace-sim: spikes of 440-521 W, the middle
        idle_watts=83.0,
        asleep_watts=53.7,
        memory_bytes=80e9,
        clock_mhz=(1410.0, 210.0),
        sources=("step: ops+calibration", "watts: powertrace-sim, activity from batch 32"),
        assumptions=("400 W at batch 512", "210 MHz asleep"),
    ),
    "H100": _Board(
        device_name="NVIDIA H100 80GB HBM3",
        step_ms=_H100_STEP_MS,
        context_tokens=317.0,  # 120 prompt tokens (assumed) + half of 395 generated
        kv_ms=4.24e-5,
        prefill_ms=(0.01300, 1.19e-6),
        watts=_H100_WATTS,
        prefill_watts=700.0,
        idle_watts=121.7,
        asleep_watts=71.8,
        memory_bytes=80e9,
        clock_mhz=(1980.0, 345.0),
        sources=("step and watts: mlenergy-v3", "idle: context-idle"),
        assumptions=("prefill at the 700 W limit", "120 prompt tokens per v3 request", _BELOW_8),
    ),
    "H200": _Board(
        device_name="NVIDIA H200",
        step_ms=_engine_ms(
            {1: 4.53, 8: 4.63, 16: 4.94, 32: 5.22, 64: 5.88, 96: 6.31}
            | {128: 6.75, 192: 8.42, 256: 9.18, 384: 12.92, 512: 15.90}
        ),
        context_tokens=256.0,
        kv_ms=3.00e-5,
        prefill_ms=(0.01494, 1.06e-6),
        watts=_H100_WATTS,
        prefill_watts=700.0,
        idle_watts=121.7,
        asleep_watts=71.8,
        memory_bytes=141e9,
        clock_mhz=(1980.0, 345.0),
        sources=("step: ops+calibration",),
        assumptions=("H100 host calibration", "all watts and clocks are those of the H100"),
    ),
    "B200": _Board(
        device_name="NVIDIA B200",
        # mlenergy-v3. The jump at 128 and the fall in watts are in the data: small models on
        # B200 are host-bound there, and this table is the reason why the router must learn.
        step_ms={1: 4.45, 8: 4.57, 16: 5.08, 32: 6.35, 64: 9.00}
        | {128: 26.66, 256: 31.69, 512: 50.23},
        context_tokens=317.0,
        kv_ms=1.82e-5,
        prefill_ms=(0.00709, 4.95e-7),
        watts={8: 639.4, 16: 666.7, 32: 575.6, 64: 616.5, 128: 449.3, 256: 540.2, 512: 576.5},
        prefill_watts=1000.0,
        idle_watts=140.0,
        asleep_watts=90.0,
        memory_bytes=180e9,
        clock_mhz=(1965.0, 120.0),
        sources=("step and watts: mlenergy-v3",),
        assumptions=(
            "4.45 ms at batch 1 (operator times are flat below 8)",
            "idle 140 W, asleep 90 W, prefill at the 1000 W limit",
            "1965 and 120 MHz",
            _BELOW_8,
        ),
    ),
    "L40S": _Board(
        device_name="NVIDIA L40S",
        step_ms=_engine_ms(
            {1: 21.63, 8: 22.39, 16: 22.96, 32: 24.59, 64: 25.09, 96: 28.70}
            | {128: 32.19, 192: 37.56, 256: 41.96, 384: 53.08, 512: 61.88}
        ),
        context_tokens=256.0,
        kv_ms=1.92e-4,
        prefill_ms=(0.03928, 4.96e-6),
        watts={1: 260.0, 8: 265.0, 32: 280.0, 128: 310.0, 512: 345.0},
        prefill_watts=350.0,
        idle_watts=102.1,
        asleep_watts=35.6,
        memory_bytes=48e9,
        clock_mhz=(2520.0, 210.0),
        sources=("step: ops+calibration", "idle: context-idle"),
        assumptions=("H100 host calibration", "all busy watts", "2520 and 210 MHz"),
    ),
}


def accelerators() -> tuple[str, ...]:
    """Names that `truth_of` knows."""
    return tuple(_BOARDS)


def models() -> tuple[str, ...]:
    """Model names that `truth_of` knows."""
    return ("llama-3.1-8b", "llama-3.2-3b")


def truth_of(accelerator: str, model: str = "llama-3.1-8b") -> Truth:
    """The physics of one replica of `model` on one board of `accelerator`.

    Raises:
        KeyError: When either name is unknown; the message lists the known ones.
    """
    if accelerator not in _BOARDS:
        raise KeyError(f"accelerator {accelerator!r} is not one of {', '.join(_BOARDS)}")
    if model not in models():
        raise KeyError(f"model {model!r} is not one of {', '.join(models())}")
    board = _BOARDS[accelerator]
    truth = _llama_8b(accelerator, board)
    return truth if model == "llama-3.1-8b" else _llama_3b(truth, board)


def _llama_8b(accelerator: str, board: _Board) -> Truth:
    steps = _by_batch(board.step_ms)
    return Truth(
        accelerator=accelerator,
        model="llama-3.1-8b",
        device_name=board.device_name,
        step_seconds_by_batch=tuple(ms * _MILLI for ms in steps),
        decode_watts_by_batch=_by_batch(board.watts),
        reference_context_tokens=board.context_tokens,
        kv_seconds_per_token=board.kv_ms * _MILLI,
        prefill_seconds_per_token=board.prefill_ms[0] * _MILLI,
        prefill_seconds_per_token_squared=board.prefill_ms[1] * _MILLI,
        prefill_watts=board.prefill_watts,
        idle_watts=board.idle_watts,
        asleep_watts=board.asleep_watts,
        kv_capacity_tokens=_kv_capacity_tokens(_LLAMA_8B, memory_bytes=board.memory_bytes),
        max_clock_hz=board.clock_mhz[0] * _MEGA,
        asleep_clock_hz=board.clock_mhz[1] * _MEGA,
        sources=board.sources,
        assumptions=board.assumptions,
    )


def _llama_3b(truth: Truth, board: _Board) -> Truth:
    """The smaller second model: wholly assumed, scaled from the 8B by what the board must read.

    The host's share of a step stays; the rest shrinks with the weights (times) or with layers and
    heads (attention, KV). Watts stay: decode is as bound by memory bandwidth as before.
    """
    weights_ratio = _LLAMA_3B.parameters / _LLAMA_8B.parameters
    kv_ratio = _LLAMA_3B.kv_bytes_per_token / _LLAMA_8B.kv_bytes_per_token
    steps = []
    for batch, seconds in enumerate(truth.step_seconds_by_batch):
        host_seconds = min(seconds, (_HOST_MS + _HOST_MS_PER_REQUEST * batch) * _MILLI)
        steps.append(host_seconds + (seconds - host_seconds) * weights_ratio)
    return replace(
        truth,
        model="llama-3.2-3b",
        step_seconds_by_batch=tuple(steps),
        kv_seconds_per_token=truth.kv_seconds_per_token * kv_ratio,
        prefill_seconds_per_token=truth.prefill_seconds_per_token * weights_ratio,
        prefill_seconds_per_token_squared=(
            truth.prefill_seconds_per_token_squared * _ATTENTION_RATIO_3B
        ),
        kv_capacity_tokens=_kv_capacity_tokens(_LLAMA_3B, memory_bytes=board.memory_bytes),
        assumptions=(*truth.assumptions, "scaled from llama-3.1-8b by weights, layers and heads"),
    )


def _kv_capacity_tokens(architecture: _Architecture, *, memory_bytes: float) -> int:
    """Tokens that fit beside the weights, as vLLM sizes its cache at start."""
    weights_bytes = 2.0 * architecture.parameters
    room_bytes = _MEMORY_UTILISATION_RATIO * memory_bytes - weights_bytes - _ACTIVATION_BYTES
    return int(room_bytes / architecture.kv_bytes_per_token)


def _by_batch(points: dict[int, float]) -> tuple[float, ...]:
    """Piecewise linear in log2 batch for 0..MAX_BATCH; flat below the first point, 0 as 1."""
    batches = sorted(points)
    logs = [math.log2(batch) for batch in batches]
    values = [points[batch] for batch in batches]
    assert batches[-1] >= MAX_BATCH, "a table must reach MAX_BATCH: nothing is extrapolated"
    return tuple(
        _interpolate(logs, values, math.log2(max(batch, 1))) for batch in range(MAX_BATCH + 1)
    )


def _interpolate(xs: list[float], ys: list[float], x: float) -> float:
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    right = bisect_right(xs, x)
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])
