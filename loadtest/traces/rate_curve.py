"""A curve of rates over time, and arrivals drawn from it.

Where only the load of a service was published (a day or two weeks of requests per second), the rest
is drawn: columns `at_seconds` and `requests_per_second`, the rate straight between rows; lengths
and short bursts are those of the generator fitted to Azure's conversations.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from loadtest.arrivals import Arrival, azure_like_stream
from loadtest.traces.csv_records import csv_records
from loadtest.traces.errors import TraceError, shown
from loadtest.traces.fields import NANOSECONDS_PER_SECOND, number_nanoseconds
from loadtest.traces.rows import Row

COLUMNS = ("at_seconds", "requests_per_second")
"""Exactly these, in any order."""

_FEWEST_ROWS = 2
_SEED = 0


class RatePoint(NamedTuple):
    """A row.

    Attributes:
        at_seconds: From the start of the curve.
        requests_per_second: Then, 0 or more.
    """

    at_seconds: float
    requests_per_second: float

    def later(self, seconds: float) -> "RatePoint":
        """The same rate at another time."""
        return self._replace(at_seconds=self.at_seconds + seconds)


def rate_curve(path: Path) -> tuple[RatePoint, ...]:
    """Read a curve; its first row is at 0.

    Raises:
        TraceError: The file cannot be read, has other columns or fewer than two rows, a rate is
            negative, times do not rise, or nothing ever arrives.
    """
    points: list[RatePoint] = []
    first_seconds: float | None = None
    for line, (at, rate), _ in csv_records(path, COLUMNS, passed_over=()):
        at_seconds = _number(path, line, COLUMNS[0], at)
        first_seconds = at_seconds if first_seconds is None else first_seconds
        point = RatePoint(at_seconds - first_seconds, _number(path, line, COLUMNS[1], rate))
        if point.requests_per_second < 0:
            raise TraceError(path, line, f"{COLUMNS[1]} is {shown(rate)}, it must be 0 and more")
        if points and point.at_seconds <= points[-1].at_seconds:
            raise TraceError(
                path, line, f"{COLUMNS[0]} is {shown(at)}, it must be above that of the row before"
            )
        points.append(point)
    if len(points) < _FEWEST_ROWS:
        raise TraceError(path, None, f"the curve has {len(points)} rows, {_FEWEST_ROWS} are needed")
    if not any(point.requests_per_second for point in points):
        raise TraceError(path, None, "the curve is 0 everywhere, so nothing arrives")
    return tuple(points)


def curve_rows(path: Path, *, model: str) -> Iterator[Row]:
    """Arrivals drawn from a curve; every call gives the same.

    Raises:
        TraceError: While iterating: see `rate_curve`.
    """
    points = rate_curve(path)
    numbers = itertools.count()
    for arrival in _along(itertools.pairwise(points), seed=_SEED, model=model):
        yield Row(
            line=1,
            at_nanoseconds=round(arrival.at_seconds * NANOSECONDS_PER_SECOND),
            written=next(numbers),
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
            model=model,
        )


def curve_arrivals(
    points: Sequence[RatePoint],
    *,
    requests_per_second: float,
    compression_ratio: float,
    from_seconds: float,
    seed: int,
    model: str,
) -> Iterator[Arrival]:
    """Arrivals drawn from a curve that is played over and over, without end.

    Args:
        points: See `rate_curve`; the curve goes round at its end.
        requests_per_second: Mean over the curve; the curve gives the shape alone.
        compression_ratio: Seconds of the curve per second of the arrivals, above 0.
        from_seconds: When arrivals begin; the curve's own beginning is at 0. At most 0.
        seed: Of lengths and bursts.
        model: That is asked for.
    """
    scale = requests_per_second / mean_requests_per_second(points)
    lap = [RatePoint(at / compression_ratio, rate * scale) for at, rate in points]
    lap_seconds = lap[-1].at_seconds
    first = math.floor(from_seconds / lap_seconds)
    segments = (
        (start.later(number * lap_seconds), end.later(number * lap_seconds))
        for number in itertools.count(first)
        for start, end in itertools.pairwise(lap)
    )
    for arrival in _along(segments, seed=seed, model=model):
        if arrival.at_seconds >= from_seconds:
            yield arrival


def mean_requests_per_second(points: Sequence[RatePoint]) -> float:
    """Over the whole curve."""
    area = sum(_area(start, end) for start, end in itertools.pairwise(points))
    return area / (points[-1].at_seconds - points[0].at_seconds)


def _along(
    segments: Iterable[tuple[RatePoint, RatePoint]], *, seed: int, model: str
) -> Iterator[Arrival]:
    # A stream of mean rate 1, whose time is the number of requests that are due: the n-th comes
    # when the area under the curve has reached its time.
    stream = azure_like_stream(requests_per_second=1.0, seed=seed, models={model: 1.0})
    area = 0.0
    arrival = next(stream)
    for start, end in segments:
        grown = area + _area(start, end)
        while arrival.at_seconds < grown:
            at_seconds = start.at_seconds + _when(start, end, arrival.at_seconds - area)
            yield arrival._replace(at_seconds=at_seconds)
            arrival = next(stream)
        area = grown


def _area(start: RatePoint, end: RatePoint) -> float:
    mean = (start.requests_per_second + end.requests_per_second) / 2.0
    return mean * (end.at_seconds - start.at_seconds)


def _when(start: RatePoint, end: RatePoint, area: float) -> float:
    """Seconds after `start` until so much area is under the line to `end`."""
    length = end.at_seconds - start.at_seconds
    slope = (end.requests_per_second - start.requests_per_second) / length
    # The root of slope/2 t^2 + rate t = area, in the form that a slope of 0 does not harm.
    root = (start.requests_per_second**2 + 2.0 * slope * area) ** 0.5
    below = start.requests_per_second + root
    # From a rate of 0 on no area takes no time: the very first arrival is due at once.
    return min(2.0 * area / below, length) if below > 0 else 0.0


def _number(path: Path, line: int, column: str, text: str) -> float:
    nanos = number_nanoseconds(path, line, column, text, unit_nanoseconds=NANOSECONDS_PER_SECOND)
    return nanos / NANOSECONDS_PER_SECOND
