"""The comparison on several grids: caps by carbon, none, constant ones of equal energy, bounds."""

from collections.abc import Callable, Sequence
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
# Of the fleet's highest power: the load of the scenario hardly draws more.
_NO_CAP = 0.45

FOUR = "four levels"
TWO = "two levels"
BUDGET = "budget"
_BY_RANK = {FOUR: CarbonPlan(), TWO: DEEP}


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


Runs = dict[DayRun, Played]


def study(
    days: Sequence[Day], *, crew: Workers, progress: Callable[[float], None]
) -> tuple[DayFound, ...]:
    """Play all days: first what needs nothing, then budgets and matched constant caps.

    Args:
        days: Which.
        crew: Who does the work.
        progress: Told of each run, 1 for each.
    """
    played: Runs = {}
    for wanted in (first_runs, second_runs):
        asked = wanted(days, played)
        played |= dict(zip(asked, crew.do(asked, progress), strict=True))
    return found_of(days, played)


def runs(days: Sequence[Day]) -> int:
    """How many at most."""
    return len(first_runs(days, {})) + 3 * len(days)


def first_runs(days: Sequence[Day], _: Runs) -> list[DayRun]:
    """Without a cap and under constant ones, once for all grids; by rank on each."""
    constant = [Ways(), *(Ways(constant_ratio=one) for one in (LEAST_RATIO, *_BETWEEN))]
    return [
        *(DayRun(day=days[0], ways=one) for one in constant),
        *(
            DayRun(day=day, ways=Ways(carbon=plan))
            for known in days
            for day in (known, _noisy(known))
            for plan in _BY_RANK.values()
        ),
    ]


def second_runs(days: Sequence[Day], played: Runs) -> list[DayRun]:
    """What needs the first: budgets, and constant caps at the energy of a way."""
    found = [DayRun(day=day, ways=_budget(days, day, played)) for day in days]
    for day in days:
        for plan in _BY_RANK.values():
            ratio = _matched_ratio(days, day, plan, played)
            if ratio is not None:
                found.append(DayRun(day=days[0], ways=Ways(constant_ratio=ratio)))
    return found


def found_of(days: Sequence[Day], played: Runs) -> tuple[DayFound, ...]:
    """What all days came to."""
    return tuple(_found(days, day, played) for day in days)


def _noisy(day: Day) -> Day:
    return replace(day, forecast_error_ratio=FORECAST_ERROR_RATIO)


def _none(days: Sequence[Day], day: Day, played: Runs) -> Played:
    return played[DayRun(day=days[0], ways=Ways())].on(day)


def _budget(days: Sequence[Day], day: Day, played: Runs) -> Ways:
    grams = BUDGET_RATIO * _none(days, day, played).grams
    return Ways(carbon=CarbonPlan(low_ratio=LEAST_RATIO, budget_grams=grams))


def _matched_ratio(days: Sequence[Day], day: Day, plan: CarbonPlan, played: Runs) -> float | None:
    wanted = played[DayRun(day=day, ways=Ways(carbon=plan))].joules
    known = [
        (_NO_CAP if ratio is None else ratio, played[DayRun(day=days[0], ways=ways)].joules)
        for ratio in (None, LEAST_RATIO, *_BETWEEN)
        for ways in [Ways(constant_ratio=ratio)]
    ]
    ratio = ratio_of_energy(known, wanted)
    return None if ratio is None else round(ratio, 4)


def _found(days: Sequence[Day], day: Day, played: Runs) -> DayFound:
    none = _none(days, day, played)
    least = played[DayRun(day=days[0], ways=Ways(constant_ratio=LEAST_RATIO))].on(day)
    constant = [one.on(day) for run, one in played.items() if run.ways.carbon is None]
    curve = sorted((one.joules, one.grams) for one in constant)
    budget = _budget(days, day, played)
    ways = [
        (name, when, Ways(carbon=plan))
        for name, plan in _BY_RANK.items()
        for when in (day, _noisy(day))
    ]
    rows = [
        Row(
            name=name,
            noisy=when != day,
            played=(one := played[DayRun(day=when, ways=way)]),
            constant_grams=_between(curve, one.joules),
            least_grams=_least(none, least, one.joules),
        )
        for name, when, way in (*ways, (BUDGET, day, budget))
    ]
    matched = []
    for name, plan in _BY_RANK.items():
        ratio = _matched_ratio(days, day, plan, played)
        run = DayRun(day=days[0], ways=Ways(constant_ratio=ratio))
        if ratio is not None and run in played:
            way = played[DayRun(day=day, ways=Ways(carbon=plan))]
            matched.append((name, way, played[run].on(day)))
    assert budget.carbon is not None, "a budget is by carbon"
    assert budget.carbon.budget_grams is not None, "a budget has grams"
    return DayFound(
        day=day,
        none=none,
        least=least,
        rows=tuple(rows),
        matched=tuple(matched),
        budget_grams=budget.carbon.budget_grams,
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
