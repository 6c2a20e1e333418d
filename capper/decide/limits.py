"""Power limits of boards, dealt so that together they keep every cap: the net beneath the clocks.

A board keeps its limit by itself, whatever the load does. So limits that add up to no more than a
cap keep it without a loop that would have to see a rise first; measurements only say what is left
for them (hosts, sleeping boards, targets without limits).

Limits are lowered at once. They rise by what the limits *in force* leave, so at no moment do they
add up to more than the cap, in whatever order the orders of a turn are carried out.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from capper.decide.net_room import NetRoom, held_watts, range_of, weight_of
from capper.decide.policy import LimitRange
from capper.decide.tuning import Limits
from capper.decide.workload import Workload

_BISECTIONS = 50
_WHOLE = 1e-9
_TIME_ROUNDING_SECONDS = 1e-6


def deal(
    workloads: Sequence[Workload], rooms: Mapping[str, NetRoom], tuning: Limits
) -> dict[str, float]:
    """The limit of a replica of each limited target, in watts.

    All get their lowest. What is left goes to the higher priority first. Within a class limits
    first leave the steep part just above the lowest, where a watt saves the most time; then all get
    the same part of their highest. Both go as far as the domain that is full first allows, and on
    with the others (max-min fair, down the whole tree).
    """
    ranges = {one.ref: between for one in workloads if (between := range_of(one)) is not None}
    limited = [one for one in workloads if one.ref in ranges]
    given = {ref: between.lowest_watts for ref, between in ranges.items()}
    left = {
        name: room.watts - sum(weight_of(one, name) * given[one.ref] for one in limited)
        for name, room in rooms.items()
    }

    def off_the_steep(ref: str, level: float) -> float:
        between = ranges[ref]
        span_watts = between.highest_watts - between.lowest_watts
        return between.lowest_watts + level * tuning.steep_ratio * span_watts

    def of_the_highest(ref: str, level: float) -> float:
        return level * ranges[ref].highest_watts

    for group in _classes(limited):
        _raise_evenly(group, off_the_steep, given, left)
        _raise_evenly(group, of_the_highest, given, left)
    return given


def step_limits(
    workloads: Sequence[Workload],
    rooms: Mapping[str, NetRoom],
    tuning: Limits,
    *,
    now_seconds: float,
) -> dict[str, float | None]:
    """The limit to be in force for each target; None: none.

    A target that cannot be limited now (its replicas are unknown) keeps what it has.

    Args:
        workloads: Targets with the limits in force.
        rooms: From `net_rooms`.
        tuning: Steps and pace.
        now_seconds: Epoch time.
    """
    ranges = {one.ref: between for one in workloads if (between := range_of(one)) is not None}
    limited = [one for one in workloads if one.ref in ranges]
    held = {one.ref: held_watts(one, ranges[one.ref]) for one in limited}
    meant = {
        ref: _stepped(watts, ranges[ref], tuning)
        for ref, watts in deal(limited, rooms, tuning).items()
    }
    lowered = {ref: min(held[ref], meant[ref]) for ref in held}
    rises = _rises(limited, ranges, rooms, held, meant, tuning)
    if not _settled(limited, tuning, now_seconds):
        rises = {}
    part = _part_that_fits(limited, rooms, held, rises)
    after: dict[str, float | None] = {one.ref: one.memory.limit_watts for one in workloads}
    for one in limited:
        ref, between = one.ref, ranges[one.ref]
        watts = lowered[ref]
        if ref in rises:
            watts = max(held[ref], _stepped(held[ref] + part * rises[ref], between, tuning))
        after[ref] = None if watts >= between.highest_watts * (1.0 - _WHOLE) else watts
    return after


def _rises(
    limited: Sequence[Workload],
    ranges: Mapping[str, LimitRange],
    rooms: Mapping[str, NetRoom],
    held: Mapping[str, float],
    meant: Mapping[str, float],
    tuning: Limits,
) -> dict[str, float]:
    """Watts by which limits are to rise: enough to be worth it, and where all is seen."""
    found = {}
    for one in limited:
        ref, highest = one.ref, ranges[one.ref].highest_watts
        more = meant[ref] - held[ref]
        whole = meant[ref] >= highest * (1.0 - _WHOLE)
        worth = more > tuning.raise_gap_ratio * highest or (whole and more > 0.0)
        blind = any(name in rooms and not rooms[name].sure for name in one.shares)
        if worth and not blind:
            found[ref] = more
    return found


def _part_that_fits(
    limited: Sequence[Workload],
    rooms: Mapping[str, NetRoom],
    held: Mapping[str, float],
    rises: Mapping[str, float],
) -> float:
    """The part of all rises for which there is room beside the limits in force, 0 to 1."""
    part = 1.0
    for name, room in rooms.items():
        more = sum(weight_of(one, name) * rises.get(one.ref, 0.0) for one in limited)
        free = room.rise_watts - sum(weight_of(one, name) * held[one.ref] for one in limited)
        if more > 0.0:
            part = min(part, max(0.0, free) / more)
    return part


def _settled(limited: Iterable[Workload], tuning: Limits, now_seconds: float) -> bool:
    """Whether nothing was lowered and nobody sent away just now."""
    times = [at for one in limited for at in (one.memory.limit_seconds, one.memory.shed_seconds)]
    last = max((at for at in times if at is not None), default=-math.inf)
    return now_seconds - last >= tuning.settle_seconds - _TIME_ROUNDING_SECONDS


def _stepped(watts: float, between: LimitRange, tuning: Limits) -> float:
    """Down to a whole step, within the range."""
    if watts >= between.highest_watts * (1.0 - _WHOLE):
        return between.highest_watts
    steps = math.floor(watts / tuning.step_watts + _WHOLE)
    return max(between.lowest_watts, steps * tuning.step_watts)


def _classes(limited: Sequence[Workload]) -> list[list[Workload]]:
    """By priority, the highest first."""
    classes: dict[int, list[Workload]] = {}
    for one in limited:
        classes.setdefault(-one.policy.priority, []).append(one)
    return [classes[key] for key in sorted(classes)]


def _raise_evenly(
    group: list[Workload],
    watts_at: Callable[[str, float], float],
    given: dict[str, float],
    left: dict[str, float],
) -> None:
    """Raise a class to one level, take it from what is left; go on without those that are full."""
    while group:
        levels = {name: _level(name, group, watts_at, given, watts) for name, watts in left.items()}
        level = min(levels.values(), default=1.0)
        for one in group:
            after = max(given[one.ref], watts_at(one.ref, level))
            for name in one.shares.keys() & left.keys():
                left[name] -= weight_of(one, name) * (after - given[one.ref])
            given[one.ref] = after
        if level >= 1.0:
            return
        full = {name for name, at in levels.items() if at <= level}
        group = [one for one in group if full.isdisjoint(one.shares)]


def _level(
    name: str,
    group: Iterable[Workload],
    watts_at: Callable[[str, float], float],
    given: Mapping[str, float],
    left_watts: float,
) -> float:
    """The highest level, 0 to 1, for which a domain has room."""
    inside = [(weight_of(one, name), one.ref) for one in group if one.shares.get(name, 0.0) > 0.0]

    def fits(level: float) -> bool:
        more = sum(weight * max(0.0, watts_at(ref, level) - given[ref]) for weight, ref in inside)
        return more <= max(0.0, left_watts)

    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
