"""Reads the data sets that the parameters are fitted to, and remembers their hashes."""

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from loadtest.models.schema import SourceFile

RUNS_FILE = "power/mlenergy-v3/llm_runs.csv"
OPERATORS_FILE = "power/vllm-iteration-ms/iteration_ms.csv"
CLOCK_FILES = {
    "GPT-3 175B": "clock/perseus-sosp24/gpt3-175b+a100_sxm_bf16.csv",
    "BLOOM": "clock/perseus-sosp24/bloom+a100_sxm_bf16.csv",
}

_MILLI = 1e-3
_MEGA = 1e6

RowT = TypeVar("RowT")


class DataError(Exception):
    """A data file that is missing or is not what it should be; one sentence."""


class Run(NamedTuple):
    """One steady-state run of ML.ENERGY v3 (vLLM, default clocks).

    Attributes:
        task: "lm-arena-chat", "gpqa" and others.
        model: As on the model hub.
        gpu: "H100" or "B200".
        gpus: Boards of the replica.
        batch: Running requests; the limit where the run kept it full to 2 %, else their mean.
        answer_tokens: Mean length of an answer.
        watts: Mean of all boards together.
        step_seconds: Mean seconds per step, prompts included: batch over output tokens per second.
        decode_seconds: Median inter-token latency: a step that only decodes.
    """

    task: str
    model: str
    gpu: str
    gpus: int
    batch: float
    answer_tokens: float
    watts: float
    step_seconds: float
    decode_seconds: float


class OperatorTime(NamedTuple):
    """Operators of one iteration on one board, composed (vLLM kernels, no host time).

    Attributes:
        gpu: "h100_sxm" and others.
        model: Name.
        phase: "decode" or "prefill".
        batch: Decodes.
        tokens: Context of each decode, or the prompt.
        seconds: Of the iteration.
    """

    gpu: str
    model: str
    phase: str
    batch: int
    tokens: int
    seconds: float


class Pass(NamedTuple):
    """A forward pass of one pipeline stage at a locked clock (Perseus): compute-bound."""

    stage: int
    clock_hz: float
    seconds: float
    joules: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Everything that is fitted to.

    Attributes:
        runs: Of ML.ENERGY v3, dense and others.
        operators: Composed iterations.
        sweeps: Workload -> forward passes.
        files: Path under the data directory -> file and hash.
    """

    runs: tuple[Run, ...]
    operators: tuple[OperatorTime, ...]
    sweeps: dict[str, tuple[Pass, ...]]
    files: dict[str, SourceFile]


def read_data(directory: Path) -> Data:
    """Read all data sets below `directory`.

    Raises:
        DataError: Naming the first file that is missing or wrong.
    """
    if not directory.is_dir():
        raise DataError(
            f"{directory}: is not a directory; the data sets are looked for there "
            "(set HEADRACE_DATA or give --data)."
        )
    return Data(
        runs=tuple(_rows(directory / RUNS_FILE, _run)),
        operators=tuple(_rows(directory / OPERATORS_FILE, _operator_time)),
        sweeps={
            workload: tuple(
                one for one in _rows(directory / name, _pass_or_backward) if one is not None
            )
            for workload, name in CLOCK_FILES.items()
        },
        files={
            name: SourceFile(
                file=name, sha256=hashlib.sha256((directory / name).read_bytes()).hexdigest()
            )
            for name in (RUNS_FILE, OPERATORS_FILE, *CLOCK_FILES.values())
        },
    )


def _rows(path: Path, parse: Callable[[dict[str, str]], RowT]) -> Iterator[RowT]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"{path}: cannot be read: {reason} (set HEADRACE_DATA).") from error
    reader = csv.DictReader(text.splitlines())
    empty = True
    for row in reader:
        empty = False
        try:
            yield parse(row)
        except KeyError as error:
            raise DataError(f"{path}: has no column {error.args[0]}.") from error
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
    if empty:
        raise DataError(f"{path}: holds no rows.")


# A run whose mean batch is this close to its limit counts as one at the limit.
_FULL_RATIO = 0.98


def _run(row: dict[str, str]) -> Run:
    mean_batch, limit = _positive(row, "avg_batch"), int(row["max_num_seqs"])
    return Run(
        task=row["task"],
        model=row["model"],
        gpu=row["gpu"],
        gpus=int(row["num_gpus"]),
        batch=float(limit) if mean_batch >= _FULL_RATIO * limit else mean_batch,
        answer_tokens=_positive(row, "avg_output_len"),
        watts=_positive(row, "power_w"),
        step_seconds=mean_batch / _positive(row, "tok_s"),
        decode_seconds=_MILLI * _positive(row, "itl_med_ms"),
    )


def _operator_time(row: dict[str, str]) -> OperatorTime:
    return OperatorTime(
        gpu=row["gpu"],
        model=row["model"],
        phase=row["phase"],
        batch=int(row["batch"]),
        tokens=int(row["tokens"]),
        seconds=_MILLI * _positive(row, "ms"),
    )


def _pass_or_backward(row: dict[str, str]) -> Pass | None:
    """A forward pass; None for a backward one, which inference has not."""
    if row["instruction"] != "forward":
        return None
    return Pass(
        stage=int(row["stage"]),
        clock_hz=_MEGA * _positive(row, "frequency"),
        seconds=_positive(row, "time"),
        joules=_positive(row, "energy"),
    )


def _positive(row: dict[str, str], column: str) -> float:
    value = float(row[column])
    if not value > 0.0:
        raise ValueError(f"{column} must be positive, not {value}")
    return value
