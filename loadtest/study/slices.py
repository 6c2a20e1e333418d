"""The arrivals of a scenario: which part of which trace, how much faster.

Seed k of a trace in n slices begins at k / n of it and goes round, so that five seeds see five
different parts of an hour; further seeds begin between those. Of a curve every seed plays the same
hours with requests of its own. All arms of a seed see the same.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from loadtest.arrivals import Arrival, azure_code_like, azure_like
from loadtest.simulator.scenario import Scenario, ScenarioError
from loadtest.traces.errors import TraceError
from loadtest.traces.modifiers import window
from loadtest.traces.mooncake_traffic import mooncake_like
from loadtest.traces.opening import open_trace
from loadtest.traces.rate_curve import RatePoint, curve_arrivals, rate_curve
from loadtest.traces.warps import step

_FILES = {
    "azure-conv": "traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv",
    "azure-code": "traces/azure-llm-2023/AzureLLMInferenceTrace_code.csv",
    "mooncake-conv": "traces/mooncake/conversation_trace.jsonl",
}
# What stands in for a trace whose file is missing.
_SYNTHETIC = {
    "azure-conv": "synthetic-conv",
    "azure-code": "synthetic-code",
    "mooncake-conv": "synthetic-mooncake",
}
_GENERATORS = {
    "synthetic-conv": azure_like,
    "synthetic-code": azure_code_like,
    "synthetic-mooncake": mooncake_like,
}
# Traces up to this length are read once per process; longer ones are streamed for every run.
_KEPT_ARRIVALS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a scenario's arrivals come from.

    Attributes:
        name: Of the trace, for people.
        path: The file, or None for a generator.
        sha256: Of the file, or of the generator's name.
        warning: What the user must know about it, or None.
    """

    name: str
    path: Path | None
    sha256: str
    warning: str | None = None


def data_folder() -> Path:
    """Where public data sets are: HEADRACE_DATA, else shared/data beside the repository."""
    told = os.environ.get("HEADRACE_DATA")
    return Path(told) if told else Path(__file__).resolve().parents[3] / "shared" / "data"


def source_of(scenario: Scenario) -> Source:
    """The file or the generator of a scenario's arrivals.

    Raises:
        ScenarioError: The file cannot be read.
    """
    own = scenario.trace_file or scenario.curve_file
    if own is not None:
        path = Path(own)
        return Source(name=path.name, path=path, sha256=_sha256(path))
    assert scenario.trace is not None, "parsing saw to it"
    if scenario.trace in _GENERATORS:
        return _synthetic(scenario.trace, warning=None)
    path = data_folder() / _FILES[scenario.trace]
    if path.is_file():
        return Source(name=scenario.trace, path=path, sha256=_sha256(path))
    return _synthetic(
        _SYNTHETIC[scenario.trace],
        warning=(
            f"{scenario.trace} is NOT played: there is no {_FILES[scenario.trace]} in the data"
            " folder (set HEADRACE_DATA); the generator that was fitted to it stands in."
        ),
    )


def speed_up_ratio(scenario: Scenario, source: Source, load_requests_per_second: float) -> float:
    """How much faster than recorded the trace is played; 1 for a generator or a curve.

    Raises:
        ScenarioError: The trace or the curve cannot be used.
    """
    if source.path is None:
        return 1.0
    if scenario.curve_file is not None:
        _curve(source.path)
        return 1.0
    return load_requests_per_second / _extent(source.path, scenario.model).requests_per_second


def arrivals(
    scenario: Scenario, source: Source, *, load_requests_per_second: float, seed: int
) -> Iterator[Arrival]:
    """What comes when, warm-up first; every call gives the same.

    Raises:
        ScenarioError: The trace cannot be used.
    """
    if source.path is None:
        stream = _generated(scenario, source.name, load_requests_per_second, seed)
    elif scenario.curve_file is not None:
        stream = _drawn(scenario, source.path, load_requests_per_second, seed)
    else:
        stream = _recorded(scenario, source.path, load_requests_per_second, seed)
    if scenario.step is not None:
        stream = step(
            stream,
            start_seconds=scenario.warmup_seconds + scenario.step.start_seconds,
            duration_seconds=scenario.step.duration_seconds,
            factor=scenario.step.factor,
        )
    return window(stream, start_seconds=0.0, end_seconds=scenario.total_seconds)


def start_ratio(seed: int, slices: int) -> float:
    """Where in the trace a seed begins, 0 to 1: k / n, then halfway between those, and so on."""
    turn, slot = divmod(seed, slices)
    # The digits of `turn` mirrored at the binary point: 0, 1/2, 1/4, 3/4, ...
    between = int(f"{turn:b}"[::-1], 2) / 2 ** turn.bit_length() if turn else 0.0
    return (slot + between) / slices


def _synthetic(name: str, *, warning: str | None) -> Source:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Source(name=name, path=None, sha256=digest, warning=warning)


def _generated(scenario: Scenario, name: str, load: float, seed: int) -> Iterator[Arrival]:
    played_seconds = scenario.total_seconds
    if scenario.step is not None:
        played_seconds += (scenario.step.factor - 1.0) * scenario.step.duration_seconds
    return iter(
        _GENERATORS[name](
            # One more: the last is due at the very end.
            math.ceil(load * played_seconds) + 1,
            requests_per_second=load,
            seed=seed,
            models={scenario.model: 1.0},
        )
    )


def _drawn(scenario: Scenario, path: Path, load: float, seed: int) -> Iterator[Arrival]:
    """The curve begins with the window; its end is played before that as a warm-up."""
    for arrival in curve_arrivals(
        _curve(path),
        requests_per_second=load,
        compression_ratio=scenario.compression_ratio,
        from_seconds=-scenario.warmup_seconds,
        seed=seed,
        model=scenario.model,
    ):
        yield arrival._replace(at_seconds=arrival.at_seconds + scenario.warmup_seconds)


@cache
def _curve(path: Path) -> tuple[RatePoint, ...]:
    try:
        return rate_curve(path)
    except TraceError as error:
        raise ScenarioError(f"{error}.") from error


def _recorded(scenario: Scenario, path: Path, load: float, seed: int) -> Iterator[Arrival]:
    extent = _extent(path, scenario.model)
    speed = load / extent.requests_per_second
    first = int(start_ratio(seed, scenario.slices) * extent.count)
    # From one pass to the next it takes a mean gap, as if the trace went on.
    lap_seconds = extent.seconds + 1.0 / extent.requests_per_second
    start_seconds: float | None = None
    passed_seconds = 0.0
    skipped = first
    while True:
        for arrival in islice(_rows(path, scenario.model), skipped, None):
            if start_seconds is None:
                start_seconds = arrival.at_seconds
            at_seconds = (passed_seconds + arrival.at_seconds - start_seconds) / speed
            yield arrival._replace(at_seconds=at_seconds, model=scenario.model)
        passed_seconds += lap_seconds
        skipped = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extent:
    """Size of a trace.

    Attributes:
        count: Arrivals.
        seconds: From the first to the last.
        kept: All of them, when they are few.
    """

    count: int
    seconds: float
    kept: tuple[Arrival, ...] | None

    @property
    def requests_per_second(self) -> float:
        return (self.count - 1) / self.seconds


@cache
def _extent(path: Path, model: str) -> _Extent:
    """Read a trace once from end to end; memory stays bounded however long it is."""
    kept: list[Arrival] = []
    count, last_seconds = 0, 0.0
    try:
        for arrival in open_trace(path, model=model):
            count, last_seconds = count + 1, arrival.at_seconds
            if count <= _KEPT_ARRIVALS:
                kept.append(arrival)
    except TraceError as error:
        raise ScenarioError(f"{error}.") from error
    if not last_seconds > 0.0:
        raise ScenarioError(f"{path}: the trace spans no time, so it has no rate to speed up.")
    return _Extent(
        count=count,
        seconds=last_seconds,
        kept=tuple(kept) if count <= _KEPT_ARRIVALS else None,
    )


def _rows(path: Path, model: str) -> Iterable[Arrival]:
    return _extent(path, model).kept or open_trace(path, model=model)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror or error}.") from error
