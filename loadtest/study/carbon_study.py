"""The comparison on several grids: caps by carbon, none, constant ones of equal energy, bounds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from loadtest.simulator.capper_carbon import DEEP, CarbonPlan
from loadtest.study.carbon_bounds import timed_grams
from loadtest.study.carbon_days import Day, DayRun, Played, Ways, ratio_of_energy
from loadtest.study.workers import Workers

DAYS = (
    Day(zone="CISO", start="2022-01-19 07:00:00+00:00"),
    Day(zone="CISO", start="2022-07-13 07:00:00+00:00"),
    Day(zone="ERCO", start="2022-01-19 05:00:00+00:00"),
    Day(zone="ERCO", start="2022-07-13 05:00:00+00:00"),
    Day(zone="NYIS", start="2022-01-19 04:00:00+00:00"),
    Day(zone="NYIS", start="2022-07-13 04:00:00+00:00"),
    Day(zone="AZPS", start="2022-01-19 06:00:00+00:00"),
    Day(zone="AZPS", start="2022-07-13 06:00:00+00:00"),
)
"""A Wednesday in winter and one in summer, from an hour before local midnight (standard time)."""

FORECAST_ERROR_RATIO = 0.1
BUDGET_RATIO = 0.9
"""Of what is emitted without a policy."""
LEAST_RATIO = 0.15
_BETWEEN = (0.25, 0.33)
_NO_CAP = 1.0

FOUR = "four levels"
TWO = "two levels"
BUDGET = "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way on one day, beside a constant cap of the same energy.

    Attributes:
        name: Of the way.
        noisy: Whether forecasts were off.
        played: What it came to.
        constant_grams: Of a constant cap of its energy; None: no constant cap takes so much.
        least_grams: The fewest grams with its energy, see `carbon_bounds.timed_grams`.
    """

    name: str
    noisy: bool
    played: Played
    constant_grams: float | None
    least_grams: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFound:
    """One day.

    Attributes:
        day: Which.
        none: Without any policy.
        least: Under the lowest constant cap.
        rows: The ways by carbon.
        matched: Constant caps that were played at the energy of a way: (name, of the way, of it).
        budget_grams: That the budget allowed.
    """

    day: Day
    none: Played
    least: Played
    rows: tuple[Row, ...]
    matched: tuple[tuple[str, Played, Played], ...]
    budget_grams: float


def study(
    days: Sequence[Day], *, crew: Workers, progress: Callable[[float], None]
) -> tuple[DayFound, ...]:
    """Play all days: first what needs nothing, then budgets and matched constant caps.

    Args:
        days: Which.
        crew: Who does the work.
        progress: Told of each run, 1 for each.
    """
    first = [run for day in days for run in _first(day)]
    played = dict(zip(first, crew.do(first, progress), strict=True))
    second = [run for day in days for run in _second(day, played)]
    played |= dict(zip(second, crew.do(second, progress), strict=True))
    return tuple(_found(day, played) for day in days)


def runs(days: Sequence[Day]) -> int:
    """How many at most."""
    return len(days) * (len(_first(days[0])) + 3)


def _first(day: Day) -> list[DayRun]:
    noisy = replace(day, forecast_error_ratio=FORECAST_ERROR_RATIO)
    constant = [Ways(), *(Ways(constant_ratio=one) for one in (LEAST_RATIO, *_BETWEEN))]
    by_rank = [Ways(carbon=CarbonPlan()), Ways(carbon=DEEP)]
    return [
        *(DayRun(day=day, ways=one) for one in (*constant, *by_rank)),
        *(DayRun(day=noisy, ways=one) for one in by_rank),
    ]


def _second(day: Day, played: dict[DayRun, Played]) -> Iterator[DayRun]:
    yield DayRun(day=day, ways=_budget(day, played))
    for plan in (CarbonPlan(), DEEP):
        ratio = _matched_ratio(day, plan, played)
        if ratio is not None:
            yield DayRun(day=day, ways=Ways(constant_ratio=ratio))


def _budget(day: Day, played: dict[DayRun, Played]) -> Ways:
    grams = BUDGET_RATIO * played[DayRun(day=day, ways=Ways())].grams
    return Ways(carbon=CarbonPlan(low_ratio=LEAST_RATIO, budget_grams=grams))


def _matched_ratio(day: Day, plan: CarbonPlan, played: dict[DayRun, Played]) -> float | None:
    wanted = played[DayRun(day=day, ways=Ways(carbon=plan))].joules
    known = [(ratio, one.joules) for ratio, one in _constants(day, played)]
    ratio = ratio_of_energy(known, wanted)
    return None if ratio is None else round(ratio, 4)


def _constants(day: Day, played: dict[DayRun, Played]) -> list[tuple[float, Played]]:
    """Those that the search begins with, no cap as the highest."""
    found = [(one, played[DayRun(day=day, ways=Ways(constant_ratio=one))]) for one in _BETWEEN]
    found.append((LEAST_RATIO, played[DayRun(day=day, ways=Ways(constant_ratio=LEAST_RATIO))]))
    return [*found, (_NO_CAP, played[DayRun(day=day, ways=Ways())])]


def _found(day: Day, played: dict[DayRun, Played]) -> DayFound:
    none = played[DayRun(day=day, ways=Ways())]
    least = played[DayRun(day=day, ways=Ways(constant_ratio=LEAST_RATIO))]
    curve = sorted(
        (
            (one.joules, one.grams)
            for run, one in played.items()
            if run.day == day and run.ways.carbon is None
        ),
    )
    noisy = replace(day, forecast_error_ratio=FORECAST_ERROR_RATIO)
    ways = [
        (FOUR, day, Ways(carbon=CarbonPlan())),
        (FOUR, noisy, Ways(carbon=CarbonPlan())),
        (TWO, day, Ways(carbon=DEEP)),
        (TWO, noisy, Ways(carbon=DEEP)),
        (BUDGET, day, _budget(day, played)),
    ]
    rows = [
        Row(
            name=name,
            noisy=when is noisy,
            played=(one := played[DayRun(day=when, ways=way)]),
            constant_grams=_between(curve, one.joules),
            least_grams=_least(none, least, one.joules),
        )
        for name, when, way in ways
    ]
    matched = [
        (name, played[DayRun(day=day, ways=Ways(carbon=plan))], played[run])
        for name, plan in ((FOUR, CarbonPlan()), (TWO, DEEP))
        if (ratio := _matched_ratio(day, plan, played)) is not None
        and (run := DayRun(day=day, ways=Ways(constant_ratio=ratio))) in played
    ]
    budget = _budget(day, played).carbon
    assert budget is not None, "made just now"
    assert budget.budget_grams is not None, "made just now"
    return DayFound(
        day=day,
        none=none,
        least=least,
        rows=tuple(rows),
        matched=tuple(matched),
        budget_grams=budget.budget_grams,
    )


def _between(curve: Sequence[tuple[float, float]], joules: float) -> float | None:
    for (low, low_grams), (high, high_grams) in pairwise(curve):
        if low <= joules <= high and high > low:
            return low_grams + (high_grams - low_grams) * (joules - low) / (high - low)
    return None


def _least(none: Played, least: Played, joules: float) -> float | None:
    try:
        return timed_grams(
            least.hourly_joules,
            none.hourly_joules,
            none.hourly_grams_per_kilowatt_hour,
            joules=joules,
        )
    except ValueError:
        return None
