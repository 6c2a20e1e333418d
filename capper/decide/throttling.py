"""The second rung: lower GPU clocks, the watts that are needed for the fewest tokens lost.

Two thresholds as in POLCA: above the lower one low-priority targets give watts, above the upper
one all do. Pure arithmetic on the backend's clock curve; the least efficient are lowered first.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from capper.decide.clock_model import ClockCurve
from capper.decide.tuning import Clocks
from capper.decide.workload import Workload, ranked

_ROUNDING_HERTZ = 1.0
_DEEP = 2
# Stands for an unknown worth; ML.ENERGY v3 has 2 to 14 for an 8B and 0.3 to 2.7 for a 70B model.
_TYPICAL_TOKENS_PER_JOULE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Watts that a domain wants from the clocks, measured as if no clock were lowered.

    Attributes:
        low_watts: From low-priority targets.
        all_watts: From all.
        deep_watts: From all, below the knee as well.
    """

    low_watts: float
    all_watts: float
    deep_watts: float = -math.inf


def clock_range(one: Workload, clocks: Clocks, *, deep: bool = False) -> tuple[float, float] | None:
    """(lowest, highest) lock of a target; None when its clocks are not touched.

    Below the knee a lower clock costs time and saves little: it is for what the cap needs.
    """
    curve = one.policy.clocks
    if curve is None or not one.ready:
        return None
    high = min(curve.base_hertz, clocks.max_hertz or math.inf)
    least = curve.knee_hertz
    if deep:
        least = min(least, clocks.deep_floor_ratio * curve.base_hertz)
    low = min(high, max(least, clocks.min_hertz))
    return low, high


def saved_watts(one: Workload, *, now_seconds: float, settle_seconds: float) -> float:
    """What the lock in force takes from the measured watts now; 0 while it is too new to show."""
    since = one.memory.clock_seconds
    if one.policy.clocks is None or one.clock_hertz is None:
        return 0.0
    if since is not None and now_seconds - since < settle_seconds:
        return 0.0
    return (
        one.policy.clocks.base_watts(one.replica_watts or 0.0, hertz=one.clock_hertz) * one.ready
        - (one.replica_watts or 0.0) * one.ready
    )


def strained_watts(one: Workload, *, now_seconds: float, settle_seconds: float) -> float:
    """What the lock in force saves over one at the knee; 0 at or above it, or while too new."""
    curve, hertz = one.policy.clocks, one.clock_hertz
    if curve is None or hertz is None or hertz >= curve.knee_hertz - _ROUNDING_HERTZ:
        return 0.0
    saved = saved_watts(one, now_seconds=now_seconds, settle_seconds=settle_seconds)
    if saved <= 0.0:
        return 0.0
    base = curve.base_watts(one.replica_watts or 0.0, hertz=hertz)
    return saved - (base - curve.watts(curve.knee_hertz, base_watts=base)) * one.ready


def needed_clocks(
    workloads: Iterable[Workload],
    demands: Mapping[str, Demand],
    clocks: Clocks,
    *,
    high_priority: int,
    saved: Mapping[str, float],
) -> dict[str, float]:
    """The lock of each target that has to give watts; the others are not in the answer.

    Args:
        workloads: Targets.
        demands: By limiting domain.
        clocks: Bounds and steps.
        high_priority: Targets of at least this priority give above the upper threshold only.
        saved: Watts that locks take from the measurement already, by target.
    """
    left = {
        name: [demand.low_watts, demand.all_watts, demand.deep_watts]
        for name, demand in demands.items()
    }
    chosen: dict[str, float] = {}
    given: dict[str, float] = {}
    order = ranked(workloads)
    order.reverse()
    order.sort(key=lambda one: _loss(one, clocks))
    order.sort(key=lambda one: one.policy.priority >= high_priority)
    for deep in (False, True):
        for one in order:
            limits, curve = clock_range(one, clocks, deep=deep), one.policy.clocks
            if limits is None or curve is None:
                continue
            kind = 1 if one.policy.priority >= high_priority else 0
            before = given.get(one.ref, 0.0)
            wanted = before + max(
                (
                    left[name][_DEEP if deep else kind] / share
                    for name, share in one.shares.items()
                    if name in left
                ),
                default=0.0,
            )
            base = (one.watts + saved.get(one.ref, 0.0)) / one.ready
            if wanted <= before or base <= 0.0:
                continue
            hertz = _lock_for(
                curve, limits, clocks, base_watts=base, watts=base - wanted / one.ready
            )
            if hertz >= chosen.get(one.ref, limits[1]) - _ROUNDING_HERTZ:
                continue
            chosen[one.ref] = hertz
            given[one.ref] = (base - curve.watts(hertz, base_watts=base)) * one.ready
            for name, share in one.shares.items():
                if name in left:
                    more = (given[one.ref] - before) * share
                    left[name] = [watts - more for watts in left[name]]
    return chosen


def paced(
    one: Workload,
    wanted: float | None,
    relaxed: float | None,
    clocks: Clocks,
    *,
    now_seconds: float,
) -> float | None:
    """The lock to be in force: down at once, up slowly.

    Args:
        one: The target with the lock in force.
        wanted: Lock that is needed; None: none.
        relaxed: The same with the hysteresis gap: only above this may a lock rise.
        clocks: Ramps.
        now_seconds: Epoch time.
    """
    limits = clock_range(one, clocks)
    held = one.clock_hertz
    if limits is None or (held is None and wanted is None):
        return held
    low, high = limits
    since = one.memory.clock_seconds
    age = math.inf if since is None else now_seconds - since
    now_hertz = high if held is None else held
    down, up = wanted or high, relaxed or high
    if down < now_hertz - _ROUNDING_HERTZ:
        # While the last lock is too new to show, what is wanted is reckoned from watts as if it
        # were not there: never deeper than needed, so a cap that falls meanwhile is followed.
        return down
    if up > now_hertz + _ROUNDING_HERTZ and age >= max(
        clocks.ramp_up_seconds, clocks.settle_seconds
    ):
        risen = now_hertz + max(clocks.step_hertz, (high - low) * clocks.ramp_up_ratio)
        risen = min(up, risen)
        return None if risen >= high - _ROUNDING_HERTZ else risen
    return held


def _lock_for(
    curve: ClockCurve,
    limits: tuple[float, float],
    clocks: Clocks,
    *,
    base_watts: float,
    watts: float,
) -> float:
    """The highest step at which a replica draws at most `watts`, or the lowest there is."""
    low, high = limits
    steps = math.floor((high - low) / clocks.step_hertz)
    for number in range(steps + 1):
        hertz = high - number * clocks.step_hertz
        if curve.watts(hertz, base_watts=base_watts) <= watts:
            return hertz
    return low


def _loss(one: Workload, clocks: Clocks) -> float:
    """Tokens lost per joule saved between the highest and the lowest lock; least first."""
    limits, curve = clock_range(one, clocks), one.policy.clocks
    if limits is None or curve is None:
        return math.inf
    saved = 1.0 - curve.power_ratio(limits[0])
    slower = 1.0 - 1.0 / curve.time_ratio(limits[0])
    worth = _TYPICAL_TOKENS_PER_JOULE if one.tokens_per_joule is None else one.tokens_per_joule
    return worth * slower / saved if saved > 0.0 else math.inf
