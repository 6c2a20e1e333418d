"""What shifting load in time could save over a year of each grid, by linear programs."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.simulator.scenario import ScenarioError
from loadtest.statistics import mean
from loadtest.study.carbon_bounds import LoadedPower, fitted, shifted_ratio
from loadtest.study.carbon_study import DayFound
from loadtest.study.slices import data_folder

_WEEK_HOURS = 168
_HEADROOM_RATIO = 1.25
"""Most load that an hour can serve, over the day's peak."""
WAITS = ((0.2, 4), (0.2, 12), (0.2, 24), (1.0, 24))
"""(Share of the load that may wait, for how many hours)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One zone over all whole weeks of its series.

    Attributes:
        zone: Name.
        weeks: How many.
        power: Of the fleet over requests per hour, from the simulated days.
        saved_ratio: By each of `WAITS`: part of the grams that the best shifting saves.
    """

    zone: str
    weeks: int
    power: LoadedPower
    saved_ratio: tuple[float, ...]


def shifts(found: Sequence[DayFound]) -> tuple[Shift, ...]:
    """Of every zone among the days.

    Raises:
        ScenarioError: A series cannot be read.
    """
    return tuple(_shift(zone, found) for zone in dict.fromkeys(one.day.zone for one in found))


def _shift(zone: str, found: Sequence[DayFound]) -> Shift:
    days = [one.none for one in found if one.day.zone == zone]
    loads = [float(load) for one in days for load in one.hourly_requests]
    joules = [watts for one in days for watts in one.hourly_joules]
    power = fitted(loads, joules)
    day = [mean(hour) for hour in zip(*(one.hourly_requests for one in days), strict=True)]
    series = _series(zone)
    weeks = len(series) // _WEEK_HOURS
    saved = []
    for ratio, hours in WAITS:
        kept = [
            shifted_ratio(
                [day[hour % 24] for hour in range(_WEEK_HOURS)],
                series[week * _WEEK_HOURS : (week + 1) * _WEEK_HOURS],
                power,
                deferrable_ratio=ratio,
                window_hours=hours,
                capacity=_HEADROOM_RATIO * max(day),
            )
            for week in range(weeks)
        ]
        saved.append(1.0 - mean(kept))
    return Shift(zone=zone, weeks=weeks, power=power, saved_ratio=tuple(saved))


def _series(zone: str) -> list[float]:
    """The hourly series; a missing hour is like the one before."""
    path = data_folder() / "carbon" / "us-2022-hourly" / f"{zone}.csv"
    found: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                text = (row.get("avg_CI") or "").strip()
                if text and text != "nan":
                    found.append(float(text))
                elif found:
                    found.append(found[-1])
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}.") from error
    return found
