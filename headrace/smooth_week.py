"""A declared week as watts: from the curve of a day to the power of every replica.

Declared, not recorded. Load of a service at t: what its replicas carry at the router's guard,
times `peak_ratio`, times the curve of its users' local day (1 at its highest), times
`weekend_ratio` on its users' weekend, times the bursts of its trace. Watts of a replica: idle power
plus the dynamic power of the steady batch that carries its part (`fleet.operating`), read by a
sensor with a little noise.
"""

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from random import Random

from capper.decide.smoothing_traces import WEEK_SECONDS, Instance, Traces
from fleet.operating import OperatingCurve
from fleet.physics import Mix
from fleet.priors import prior_profile
from headrace.config_errors import BadInputError
from headrace.smooth_cases import WeekCase, WeekService
from loadtest.study.scenario_files import FOLDER
from loadtest.study.slices import data_folder
from loadtest.traces.errors import TraceError
from loadtest.traces.opening import open_trace
from loadtest.traces.rate_curve import rate_curve

STEP_SECONDS = 900.0
_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3600.0
_WINDOW_SECONDS = 300.0
_TPOT_SECONDS, _MARGIN_RATIO, _MAX_RUNNING = 0.05, 0.87, 256.0
_UNEVEN_RATIO = 0.05
_NOISE_RATIO = 0.005
_DAYS = {"two-humps": FOLDER / "diurnal-day.csv"}
_OFFICE_HOURS, _NIGHT_HOURS = (8.0, 18.0), (22.0, 6.0)
_EDGE_HOURS = 2.0
_QUIET_RATIO = 0.15
_TRACES = {
    "azure-conv": "traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv",
    "azure-code": "traces/azure-llm-2023/AzureLLMInferenceTrace_code.csv",
}
# Epoch time 0 was a Thursday, so Saturday and Sunday are days 2 and 3.
_WEEKEND = (2, 3)


@dataclass(frozen=True)
class RecordedHour:
    """What is taken from a trace.

    Attributes:
        mix: Mean lengths.
        bursts: Rate of each 5 minutes over the mean rate.
    """

    mix: Mix
    bursts: tuple[float, ...]


def input_hashes(cases_file: Path, cases: Iterable[WeekCase]) -> dict[str, str]:
    """Hash by name of everything that the week rests on.

    Raises:
        BadInputError: A file is missing.
    """
    used = {one.trace for case in cases for one in case.services}
    files = {"cases": cases_file, "two-humps": _DAYS["two-humps"]}
    files |= {name: data_folder() / _TRACES[name] for name in sorted(used)}
    return {f"{name}_sha256": _sha256(path) for name, path in files.items()}


def week(case: WeekCase, *, seed: int) -> Traces:
    """The watts of every replica of a case, hung as at its start.

    Args:
        case: Which.
        seed: Of where each service's bursts begin and how uneven its replicas are.

    Raises:
        BadInputError: A file of the data folder is missing.
    """
    racks, instances, services = case.placed(), [], {}
    for service in case.services:
        replicas = _Load(service, Random(f"{seed} {service.name}")).watts()  # noqa: S311 - a simulation
        services[service.name] = tuple(
            math.fsum(at) / len(at) for at in zip(*replicas, strict=True)
        )
        for number, watts in enumerate(replicas):
            name = f"{service.name}-{number}"
            instances.append(
                Instance(name=name, service=service.name, leaf=racks[name], watts=watts)
            )
    return Traces(
        step_seconds=STEP_SECONDS,
        instances=tuple(instances),
        services=services,
        coverage_ratios=dict.fromkeys(services, 1.0),
        weeks=1.0,
    )


class _Load:
    """One service over the week."""

    def __init__(self, service: WeekService, draw: Random) -> None:
        self._service = service
        self._draw = draw
        self._hour = recorded_hour(service.trace)
        self._offset = draw.randrange(len(self._hour.bursts))
        self._uneven = [
            draw.uniform(-_UNEVEN_RATIO, _UNEVEN_RATIO) for _ in range(service.replicas)
        ]
        self._profile = prior_profile(
            service.accelerator,
            parameters=service.parameters,
            gpus_per_replica=service.gpus_per_replica,
        )
        self._curve = OperatingCurve(self._profile, self._hour.mix)

    @cached_property
    def full_rate(self) -> float:
        """Requests per second of a replica at the guard."""
        batch = self._curve.largest_batch(
            tpot_limit_seconds=_TPOT_SECONDS * _MARGIN_RATIO, max_running_requests=_MAX_RUNNING
        )
        return self._curve.requests_per_second(batch)

    def watts(self) -> list[tuple[float, ...]]:
        """By replica and step."""
        steps = round(WEEK_SECONDS / STEP_SECONDS)
        rows = [self._at(step * STEP_SECONDS) for step in range(steps)]
        return [tuple(column) for column in zip(*rows, strict=True)]

    def _at(self, at_seconds: float) -> list[float]:
        service = self._service
        local = at_seconds + service.utc_offset_hours * _HOUR_SECONDS
        share = _day(service.day, local % _DAY_SECONDS) * service.peak_ratio
        if int(local // _DAY_SECONDS) % 7 in _WEEKEND:
            share *= service.weekend_ratio
        share *= self._burst(at_seconds)
        return [self._replica(min(one, 1.0)) for one in self._shares(share)]

    def _burst(self, at_seconds: float) -> float:
        """The mean over the 5-minute windows of a step; the hour of the trace begins anew."""
        first = int(at_seconds // _WINDOW_SECONDS) + self._offset
        bursts, count = self._hour.bursts, int(STEP_SECONDS // _WINDOW_SECONDS)
        return math.fsum(bursts[(first + at) % len(bursts)] for at in range(count)) / count

    def _shares(self, share: float) -> Iterator[float]:
        """Of a replica's full rate. Packed: one after another is filled, as the router does."""
        left = share * self._service.replicas
        for uneven in self._uneven:
            if self._service.routing == "even":
                yield share * (1.0 + uneven)
            else:
                yield max(0.0, min(1.0, left))
                left -= 1.0

    def _replica(self, share: float) -> float:
        dynamic_watts = _dynamic(self._curve, round(share, 3), self.full_rate)
        noise = self._draw.uniform(1.0 - _NOISE_RATIO, 1.0 + _NOISE_RATIO)
        return (self._profile.power.idle_watts + dynamic_watts) * noise


@cache
def _dynamic(curve: OperatingCurve, share: float, full_rate: float) -> float:
    return curve.dynamic_watts(share * full_rate)


def _day(name: str, local_seconds: float) -> float:
    """The curve of a day at a local time, 1 at its highest."""
    if name == "flat":
        return 1.0
    if name in _DAYS:
        return _curve_day(_DAYS[name], local_seconds)
    start, end = _OFFICE_HOURS if name == "office" else _NIGHT_HOURS
    hour = local_seconds / _HOUR_SECONDS
    into, length = (hour - start) % 24.0, (end - start) % 24.0
    # Rising and falling over two hours, as half a cosine.
    edge = min(into, length - into) / _EDGE_HOURS if into <= length else 0.0
    rise = 0.5 - 0.5 * math.cos(math.pi * min(max(edge, 0.0), 1.0))
    return _QUIET_RATIO + (1.0 - _QUIET_RATIO) * rise


@cache
def _curve_of(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    points = rate_curve(path)
    highest = max(one.requests_per_second for one in points)
    return (
        tuple(one.at_seconds for one in points),
        tuple(one.requests_per_second / highest for one in points),
    )


def _curve_day(path: Path, local_seconds: float) -> float:
    times, rates = _curve_of(path)
    at = max(number for number, time in enumerate(times) if time <= local_seconds)
    if at + 1 == len(times):
        return rates[at]
    share = (local_seconds - times[at]) / (times[at + 1] - times[at])
    return rates[at] + share * (rates[at + 1] - rates[at])


@cache
def recorded_hour(trace: str) -> RecordedHour:
    """Lengths and bursts of a trace.

    Raises:
        BadInputError: The file is missing or cannot be read.
    """
    path = data_folder() / _TRACES[trace]
    if not path.is_file():
        raise BadInputError(
            f"smooth: there is no {path}: set HEADRACE_DATA to the folder of public data."
        )
    try:
        arrivals = list(open_trace(path, model=trace))
    except TraceError as error:
        raise BadInputError(f"smooth: {error}.") from error
    windows = int(arrivals[-1].at_seconds // _WINDOW_SECONDS)
    counts = [0] * windows
    for one in arrivals:
        if one.at_seconds < windows * _WINDOW_SECONDS:
            counts[int(one.at_seconds // _WINDOW_SECONDS)] += 1
    prompt = _mean([one.prompt_tokens for one in arrivals])
    return RecordedHour(
        mix=Mix(
            prompt_tokens=prompt,
            computed_prompt_tokens=prompt,
            output_tokens=_mean([one.output_tokens for one in arrivals]),
        ),
        bursts=tuple(count / _mean(counts) for count in counts),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}.") from error


def write_history(traces: Traces, path: Path) -> None:
    """A week as the CSV that `headrace smooth --history` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("time", "instance", "service", "leaf", "watts"))
        for one in traces.instances:
            for step, watts in enumerate(one.watts):
                rows.writerow(
                    (
                        f"{step * traces.step_seconds:.0f}",
                        one.name,
                        one.service,
                        one.leaf,
                        f"{watts:.1f}",
                    )
                )
