"""What replicas, caps, racks, carbon and caches came to, beside latency and tokens."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from loadtest.reports.cells import UNKNOWN, number
from loadtest.simulator.accounts import RunAccounts
from loadtest.simulator.caps import CapAccount
from loadtest.simulator.tally import RunResult
from loadtest.statistics import mean
from loadtest.study.summary import ArmSummary, PointSummary

Read: TypeAlias = Callable[[RunResult, RunAccounts], float | None]
Merge: TypeAlias = Callable[[Sequence[float]], float]

ACCOUNT_FOOTNOTE = (
    "Caps: exact board power in the window; seconds in which the mean of the last second was "
    "above the cap, energy above it, the worst mean of 1 s and of 0.1 s above it in any seed, the "
    "longest stretch above it. Those of racks are summed over racks. The others are means over "
    "seeds."
)


def _fleet(read: Callable[[CapAccount], float]) -> Read:
    return lambda _, found: None if found.fleet_cap is None else read(found.fleet_cap)


def _racks(read: Callable[[CapAccount], float]) -> Read:
    return lambda _, found: sum(map(read, found.rack_caps.values())) if found.rack_caps else None


def _per_token(read: Callable[[RunAccounts], float | None], scale: float) -> Read:
    def ratio(run: RunResult, found: RunAccounts) -> float | None:
        amount = read(found)
        tokens = run.output_tokens
        return None if amount is None or not tokens else amount * scale / tokens

    return ratio


# Name, digits, how one run is read, how seeds are put together.
_COLUMNS: tuple[tuple[str, int, Read, Merge], ...] = (
    ("over cap s", 1, _fleet(lambda cap: cap.seconds_over), mean),
    ("over cap W s", 0, _fleet(lambda cap: cap.joules_over), mean),
    ("worst 1 s W", 0, _fleet(lambda cap: cap.max_overshoot_1s_watts), max),
    ("worst 0.1 s W", 0, _fleet(lambda cap: cap.max_overshoot_100ms_watts), max),
    ("longest over s", 1, _fleet(lambda cap: cap.longest_over_seconds), max),
    ("racks over s", 1, _racks(lambda cap: cap.seconds_over), mean),
    ("racks over W s", 0, _racks(lambda cap: cap.joules_over), mean),
    ("gCO2e per 1000 tokens", 3, _per_token(lambda found: found.grams_co2e, 1000.0), mean),
    ("cooling J/token", 3, _per_token(lambda found: found.cooling_joules, 1.0), mean),
    ("max inlet C", 1, lambda _, found: found.max_inlet_celsius, max),
    ("redline s", 0, lambda _, found: found.redline_seconds, mean),
    ("replica-hours", 3, lambda _, found: found.replica_hours, mean),
    ("sleeps", 1, lambda _, found: found.sleeps, mean),
    ("wakes", 1, lambda _, found: found.wakes, mean),
    ("starts", 1, lambda _, found: found.starts, mean),
    ("stops", 1, lambda _, found: found.stops, mean),
    ("clock changes", 1, lambda _, found: found.clock_changes, mean),
    ("brakes", 1, lambda _, found: found.brakes, mean),
    ("refused orders", 1, lambda _, found: found.refused_actions, mean),
    ("retried", 1, lambda _, found: found.retried_requests, mean),
    ("cache hits %", 1, lambda _, found: _percent(found.prefix_hit_ratio), mean),
)
# There on any run; by themselves they tell nothing.
_PLAIN = frozenset({"replica-hours", "cache hits %"})


def account_table(point: PointSummary) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Header and a row per arm: the accounts in which any arm has something; None if none has."""
    cells = {
        name: [_cell(arm, digits, read, merge) for arm in point.arms]
        for name, digits, read, merge in _COLUMNS
    }
    shown = [name for name, column in cells.items() if _tells(name, column)]
    if _PLAIN.issuperset(shown):
        return None
    rows = [
        (arm.arm, *(cells[name][index] for name in shown)) for index, arm in enumerate(point.arms)
    ]
    return ("arm", *shown), rows


def _tells(name: str, column: Sequence[str]) -> bool:
    """Whether a column is worth its place: never over a cap is, no clock ever changed is not."""
    known = [cell for cell in column if cell != UNKNOWN]
    return bool(known) and ("over" in name or any(float(cell) for cell in known))


def _cell(arm: ArmSummary, digits: int, read: Read, merge: Merge) -> str:
    values = [None if run.accounts is None else read(run, run.accounts) for run in arm.results]
    known = [value for value in values if value is not None]
    return number(merge(known) if len(known) == len(values) and known else None, digits=digits)


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else 100.0 * ratio
