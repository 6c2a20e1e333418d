"""What no data file has: shapes of models, boards, readings from publications, assumptions. Pure.

Every entry names its source; what nobody measured is told as such and ends up under `assumed` in
the parameter files.
"""

from typing import NamedTuple

from loadtest.models.schema import Board

PROMPT_TOKENS = {"lm-arena-chat": 120.0, "gpqa": 250.0}
"""Mean prompt of each task's runs: not published per run, assumed (facts/simulation.md 2.2)."""


class Architecture(NamedTuple):
    """Shape of a model, from its published configuration; bf16.

    Attributes:
        parameters: Weights.
        layers: Transformer blocks.
        query_heads: Attention heads per layer.
        kv_bytes_per_token: Keys and values: layers x KV heads x head size x 2 x 2 bytes.
        vocabulary: Entries, of which each decode samples one.
        operators: Its name among the operator times.
        run: Its name among the ML.ENERGY runs.
    """

    parameters: float
    layers: int
    query_heads: int
    kv_bytes_per_token: float
    vocabulary: int
    operators: str
    run: str

    @property
    def weights_bytes(self) -> float:
        """Of all weights."""
        return 2.0 * self.parameters


LLAMA_8B = "llama-3.1-8b"
LLAMA_3B = "llama-3.2-3b"
QWEN_32B = "qwen3-32b"
LLAMA_70B = "llama-3.1-70b"

ARCHITECTURES = {
    LLAMA_8B: Architecture(
        8.03e9, 32, 32, 131_072.0, 128_256, "Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"
    ),
    QWEN_32B: Architecture(32.8e9, 64, 64, 262_144.0, 151_936, "Qwen3-32B", "Qwen/Qwen3-32B"),
    LLAMA_70B: Architecture(
        70.6e9, 80, 64, 327_680.0, 128_256, "Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct"
    ),
}
"""Models that have operator times and runs of their own."""

# 28 layers, 24 heads, 8 KV heads of 128: scaled from the 8B, no data of its own.
SMALL = Architecture(3.21e9, 28, 24, 114_688.0, 128_256, "", "")

_QWEN_8B = Architecture(8.19e9, 36, 32, 147_456.0, 151_936, "Qwen3-8B", "Qwen/Qwen3-8B")
_QWEN_14B = Architecture(14.8e9, 40, 40, 163_840.0, 151_936, "Qwen3-14B", "Qwen/Qwen3-14B")

CALIBRATION_MODELS = {
    one.run: one for one in (_QWEN_8B, _QWEN_14B, ARCHITECTURES[QWEN_32B], ARCHITECTURES[LLAMA_8B])
}
"""Dense models with runs on one board and operator times, by name among the runs."""

HELD_OUT_70B = "meta-llama/Llama-3.3-70B-Instruct"
"""Same architecture as Llama-3.1-70B: never fitted for its tables, only predicted."""

ACTIVITY_MODELS = CALIBRATION_MODELS | {
    ARCHITECTURES[LLAMA_70B].run: ARCHITECTURES[LLAMA_70B],
    HELD_OUT_70B: ARCHITECTURES[LLAMA_70B],
}
"""Dense models that the activity law is fitted to, by name among the runs."""

PARALLELISMS: dict[str, dict[str, tuple[int, ...]]] = {
    "A100": {LLAMA_8B: (1,), QWEN_32B: (2,), LLAMA_70B: (8,)},
    "H100": {LLAMA_8B: (1,), QWEN_32B: (2, 1), LLAMA_70B: (4,)},
    "H200": {LLAMA_8B: (1,), QWEN_32B: (1,), LLAMA_70B: (2,)},
    "B200": {LLAMA_8B: (1,), QWEN_32B: (1,), LLAMA_70B: (2,)},
    "L40S": {LLAMA_8B: (1,), QWEN_32B: (4,), LLAMA_70B: (8,)},
}
"""Accelerator -> model -> boards per replica, the default first."""

OPERATOR_GPUS = {
    "A100": "a100_sxm",
    "H100": "h100_sxm",
    "H200": "h200_sxm",
    "B200": "b200_sxm",
    "L40S": "l40s",
}
"""Accelerator -> its name among the operator times."""

POWERTRACE = "powertrace-sim: A100-80GB, Qwen3-8B, vLLM, 4 Hz board power"
ARGONNE = "Argonne A100 runs: 249 W + 1.50 W per TFLOP/s (13.5 %), facts/simulation.md 2.2"
CONTEXT_IDLE = "idle with and without a CUDA context: arXiv 2605.23918, 2604.07345"

# Watts at 1, 4, 8 and 13 requests.
A100_READINGS = ((1.0, 289.0), (4.0, 280.0), (8.0, 290.0), (13.0, 297.0))
A100_FLOOR_WATTS = 289.0
A100_ACTIVITY = (249.0, 0.0, 1.50e-12)

L40S_WATTS = ((1.0, 260.0), (8.0, 265.0), (32.0, 280.0), (128.0, 310.0), (512.0, 345.0))

_CLOCKS_ASSUMED = "SM clocks of the data sheet and of a board at rest"


class _Sheet(NamedTuple):
    """A board's data sheet: name, memory in GB, watts idle, asleep, at prompts and at most, MHz."""

    device_name: str
    memory_gigabytes: float
    idle_watts: float
    asleep_watts: float
    prefill_watts: float
    limit_watts: float
    max_clock_megahertz: float
    min_clock_megahertz: float


_A100 = _Sheet("NVIDIA A100-SXM4-80GB", 80, 83.0, 53.7, 480.0, 400.0, 1410, 210)
_H100 = _Sheet("NVIDIA H100 80GB HBM3", 80, 121.7, 71.8, 700.0, 700.0, 1980, 345)
_H200 = _H100._replace(device_name="NVIDIA H200", memory_gigabytes=141)
_B200 = _Sheet("NVIDIA B200", 180, 140.0, 90.0, 1000.0, 1000.0, 1965, 120)
_L40S = _Sheet("NVIDIA L40S", 48, 102.1, 35.6, 350.0, 350.0, 2520, 210)


def _board(
    sheet: _Sheet, method: str, *, citations: tuple[str, ...] = (), assumed: tuple[str, ...]
) -> Board:
    return Board(
        method=method,
        citations=citations,
        assumed=assumed,
        device_name=sheet.device_name,
        memory_bytes=sheet.memory_gigabytes * 1e9,
        idle_watts=sheet.idle_watts,
        asleep_watts=sheet.asleep_watts,
        prefill_watts=sheet.prefill_watts,
        limit_watts=sheet.limit_watts,
        max_clock_hz=sheet.max_clock_megahertz * 1e6,
        min_clock_hz=sheet.min_clock_megahertz * 1e6,
    )


_READINGS = "readings and the data sheet"
BOARDS = {
    "A100": _board(
        _A100,
        _READINGS,
        citations=(POWERTRACE, CONTEXT_IDLE),
        assumed=(
            "prefill 480 W: the middle of powertrace-sim's spikes of 440-521 W",
            "210 MHz asleep: a board at rest",
        ),
    ),
    "H100": _board(
        _H100,
        _READINGS,
        citations=(CONTEXT_IDLE,),
        assumed=("prefill at the 700 W limit: compute-bound passes reach it (HPL 696 W)",),
    ),
    "H200": _board(
        _H200,
        "those of the H100, and the data sheet",
        assumed=("idle, asleep, prefill watts and clocks are those of the H100: none was found",),
    ),
    "B200": _board(
        _B200,
        "the data sheet",
        assumed=(
            "idle 140 W and asleep 90 W: none was found; above the H100 as its limit is",
            "prefill at the 1000 W limit",
            _CLOCKS_ASSUMED,
        ),
    ),
    "L40S": _board(
        _L40S,
        _READINGS,
        citations=(CONTEXT_IDLE,),
        assumed=("prefill at the 350 W limit", _CLOCKS_ASSUMED),
    ),
}
"""Boards, whatever they serve."""

# vLLM's --gpu-memory-utilization default, and what activations and CUDA graphs take (assumed).
_MEMORY_UTILISATION_RATIO = 0.9
_ACTIVATION_BYTES = 2e9

DECODE_PHI = 0.1
DECODE_PHI_RANGE = (0.0, 0.3)
DECODE_CORE_SHARE = 0.5
DECODE_CORE_SHARE_RANGE = (0.3, 0.8)
DECODE_CLOCK_REASON = (
    "decode phi 0.1 (0-0.3) and core share x 0.5 (0.3-0.8): no licensed raw sweep of decode was "
    "found; x spans published optima of 0.36 (H100) to 0.8 (A100). Report results over the range"
)
OTHER_BOARDS_REASON = (
    "the A100's response in ratios of the full clock is used for every accelerator: no other sweep"
)
IDLE_CLOCK_REASON = (
    "idle power above that of a sleeping board follows the core power r v^2: published is 105 W to "
    "61 W from full to lowest clock (arXiv 2604.04745)"
)


def kv_capacity_tokens(architecture: Architecture, board: Board, *, gpus: int) -> int:
    """Tokens that fit beside the weights, as vLLM sizes its cache at start."""
    room_bytes = (
        gpus * (_MEMORY_UTILISATION_RATIO * board.memory_bytes - _ACTIVATION_BYTES)
        - architecture.weights_bytes
    )
    return int(room_bytes / architecture.kv_bytes_per_token)
