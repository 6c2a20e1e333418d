"""Two weeks at fluid level: a rate an hour, no bursts and no single requests (trace E).

A simulation of two weeks would take an hour; what a fleet could save over them does not need one.
The curve of `scenarios/diurnal-day.csv` is repeated, with a declared weekend; lengths are those
fitted to Azure's chat. Watts between the levels that are computed are on the line between them.
"""

import csv
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from loadtest.arrivals import azure_like_stream
from loadtest.bounds import ReplicaClass, Work, bounds
from loadtest.engine_state import Limits
from loadtest.simulator.scenario import Scenario
from loadtest.simulator.worlds import truths
from loadtest.statistics import mean
from loadtest.study.scenario_files import FOLDER
from loadtest.study.slices import data_folder
from loadtest.traces.rate_curve import RatePoint, rate_curve

DAYS = 14
WEEKEND_RATIO = 0.6
"""Declared: load of the sixth and seventh day over that of the others."""

CARBON_FILE = "carbon/us-2022-hourly/CISO.csv"
_CARBON_COLUMN = "avg_CI"
_CARBON_FIRST_HOUR = 24 * 181  # the first of July
_HOUR_SECONDS = 3600.0
_JOULES_PER_KILOWATT_HOUR = 3.6e6
_LEVELS = 4
_DRAWN = 500
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FluidFigures:
    """What one way to carry the load takes over the two weeks. Boards only.

    Attributes:
        name: Of the way.
        kilowatt_hours: Energy.
        joules_per_token: Per output token.
        kilograms_co2e: With the hourly intensity of the grid; None without the series.
    """

    name: str
    kilowatt_hours: float
    joules_per_token: float
    kilograms_co2e: float | None


def fluid_weeks(
    scenario: Scenario, *, weekday_requests_per_second: float
) -> tuple[FluidFigures, ...]:
    """Spread evenly over all replicas, and the two co-located bounds.

    Args:
        scenario: Whose fleet, model and objective are taken.
        weekday_requests_per_second: Mean of a weekday.

    Raises:
        TraceError: The curve cannot be used.
        ValueError: The fleet cannot carry the peak.
    """
    rates = _hourly_rates(rate_curve(FOLDER / "diurnal-day.csv"), weekday_requests_per_second)
    highest = max(rates)
    levels = [highest * (number + 1) / _LEVELS for number in range(_LEVELS)]
    work, output_tokens = _work(highest)
    grams = _intensities(data_folder() / CARBON_FILE, len(rates))
    tokens = sum(rates) * _HOUR_SECONDS * output_tokens
    curves = _watts(scenario, levels, work)
    found = []
    for name, watts in curves.items():
        hourly = [_between(rate, levels, watts) * _HOUR_SECONDS for rate in rates]
        found.append(
            FluidFigures(
                name=name,
                kilowatt_hours=sum(hourly) / _JOULES_PER_KILOWATT_HOUR,
                joules_per_token=sum(hourly) / tokens,
                kilograms_co2e=None
                if grams is None
                else sum(
                    joules / _JOULES_PER_KILOWATT_HOUR * intensity / 1000.0
                    for joules, intensity in zip(hourly, grams, strict=True)
                ),
            )
        )
    return tuple(found)


def _hourly_rates(curve: Sequence[RatePoint], weekday_rate: float) -> list[float]:
    """Of each hour of the weeks; the curve's mean is that of a weekday."""
    seconds = [point.at_seconds for point in curve]
    rates = [point.requests_per_second for point in curve]
    middles = [(hour + 0.5) * _HOUR_SECONDS for hour in range(24)]
    day = [_between(at, seconds, rates) for at in middles]
    scale = weekday_rate / mean(day)
    return [
        scale * rate * (WEEKEND_RATIO if number % 7 >= 5 else 1.0)  # noqa: PLR2004 - days of a week
        for number in range(DAYS)
        for rate in day
    ]


def _work(requests_per_second: float) -> tuple[Work, float]:
    """So many drawn requests, and their mean answer."""
    stream = azure_like_stream(requests_per_second=1.0, seed=_SEED, models={"any": 1.0})
    work = Work(window_seconds=_DRAWN / requests_per_second)
    for arrival in islice(stream, _DRAWN):
        work.add(prompt_tokens=arrival.prompt_tokens, output_tokens=arrival.output_tokens)
    return work, work.output_tokens / _DRAWN


def _watts(scenario: Scenario, levels: Sequence[float], work: Work) -> dict[str, list[float]]:
    """Power of the fleet at each level, by the way it is carried."""
    physics = truths(scenario.plans(), scenario.model)
    classes = [
        ReplicaClass(physics[plan.name], Limits(), plan.replicas) for plan in scenario.plans()
    ]
    found: dict[str, list[float]] = {
        "spread evenly": [],
        "co-located bound, always on": [],
        "co-located bound, may sleep": [],
    }
    for level in levels:
        work.window_seconds = _DRAWN / level
        best = bounds(work, classes, tpot_objective_seconds=scenario.tpot_objective_seconds)
        if best.colocated_always_on is None or best.colocated_may_sleep is None:
            raise ValueError(f"the fleet cannot carry {level:.1f} requests/s")
        tokens_per_second = work.output_tokens / work.window_seconds
        even = _even_watts(classes, work, level)
        for name, watts in zip(
            found,
            (
                even,
                best.colocated_always_on * tokens_per_second,
                best.colocated_may_sleep * tokens_per_second,
            ),
            strict=True,
        ):
            found[name].append(watts)
    return found


def _even_watts(classes: Sequence[ReplicaClass], work: Work, requests_per_second: float) -> float:
    """Each replica takes the same rate, at the batch that this rate brings about."""
    replicas = sum(one.replicas for one in classes)
    decode_rate = _of_one(work, "decode_tokens") * requests_per_second / replicas
    prompt_rate = _of_one(work, "prompt_tokens") * requests_per_second / replicas
    context_tokens = sum(k.resident_token_steps for k in work.kinds.values()) / sum(
        k.decode_tokens for k in work.kinds.values()
    )
    watts = 0.0
    for truth, limits, count in classes:
        prefill_ratio = prompt_rate * truth.prefill_seconds_per_token
        batch, seconds = 0, 0.0
        for batch in range(1, limits.max_num_seqs + 1):
            seconds = truth.step_seconds(batch, kv_tokens=batch * context_tokens)
            if (1.0 - prefill_ratio) * batch / seconds >= decode_rate:
                break
        else:
            raise ValueError(f"a replica cannot carry {requests_per_second / replicas:.1f}/s")
        decode_ratio = decode_rate * seconds / batch
        watts += count * (
            truth.idle_watts
            + prefill_ratio * (truth.prefill_watts - truth.idle_watts)
            + decode_ratio * (truth.decode_watts_by_batch[batch] - truth.idle_watts)
        )
    return watts


def _of_one(work: Work, field: str) -> float:
    return float(sum(getattr(kind, field) for kind in work.kinds.values())) / _DRAWN


def _between(at: float, places: Sequence[float], values: Sequence[float]) -> float:
    """On the line between the two neighbours; the nearest value beyond the ends."""
    right = bisect_left(places, at)
    if right in {0, len(places)}:
        return values[min(right, len(places) - 1)]
    share = (at - places[right - 1]) / (places[right] - places[right - 1])
    return values[right - 1] + share * (values[right] - values[right - 1])


def _intensities(path: Path, hours: int) -> list[float] | None:
    """gCO2 per kWh of so many hours from the first of July on; None where there is no file."""
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = islice(csv.DictReader(file), _CARBON_FIRST_HOUR, _CARBON_FIRST_HOUR + hours)
        found = [float(row[_CARBON_COLUMN]) for row in rows]
    return found if len(found) == hours else None
