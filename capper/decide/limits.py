"""Power limits of boards, dealt so that together they keep every cap: the net beneath the clocks.

A board keeps its limit by itself, whatever the load does. So limits that add up to no more than a
cap keep it without a loop that would have to see a rise first; measurements only say what is left
for them (hosts, sleeping boards, targets without limits).

Limits are lowered at once. They rise by what the limits *in force* leave, so at no moment do they
add up to more than the cap, in whatever order the orders of a turn are carried out.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from capper.decide.allocation import Budget
from capper.decide.observe import Trust
from capper.decide.policy import LimitRange
from capper.decide.sight import Sight
from capper.decide.tuning import Limits
from capper.decide.workload import Workload

_BISECTIONS = 50
_WHOLE = 1e-9
_TIME_ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class NetRoom:
    """What the limits in one domain with a cap may add up to.

    Attributes:
        watts: Cap less margin, reservations and what draws there without a limit.
        sure: Whether that rests on measurements; else nothing rises there.
        other_watts: What draws there without a limit by the newest samples; None: not seen.
    """

    watts: float
    sure: bool
    other_watts: float | None = None


def range_of(one: Workload) -> LimitRange | None:
    """Where its limit may lie, in order; None: no limit is set, or its replicas are unknown."""
    given = one.policy.limit_range
    if given is None or not one.current:
        return None
    highest = max(given.highest_watts, 0.0)
    return LimitRange(min(max(given.lowest_watts, 0.0), highest), highest)


def net_rooms(
    sights: Mapping[str, Sight],
    budgets: Mapping[str, Budget],
    workloads: Sequence[Workload],
    tuning: Limits,
) -> dict[str, NetRoom]:
    """Every capped domain in which something is limited.

    What else draws there is the measured watts of the domain less those of its targets. It counts
    when it was seen in two turns: boards that have just gone to sleep are in one of the two a
    little longer than in the other. While a domain is blind its room is the whole cap, so that a
    cap that falls is still followed, and nothing rises.

    Args:
        sights: Domains as seen.
        budgets: What is set aside in those that are measured.
        workloads: Targets.
        tuning: Margin.
    """
    limited = [one for one in workloads if range_of(one) is not None]
    rooms = {}
    for name, sight in sights.items():
        cap = sight.policy.cap
        inside = [one for one in limited if one.shares.get(name, 0.0) > 0.0]
        if cap is None or not inside:
            continue
        seen = sight.view.power_trust is Trust.USABLE and all(
            one.watts > 0.0 or not one.ready for one in inside
        )
        claimed = sum(_claimed_watts(one) * one.shares[name] for one in inside)
        other = max(0.0, (sight.view.newest_watts or 0.0) - claimed) if seen else None
        before = sight.memory.other_watts
        counted = 0.0 if other is None else other if before is None else min(other, before)
        reserved = budgets[name].reserved_watts if name in budgets else 0.0
        free = cap.watts * (1.0 - tuning.margin_ratio) - reserved
        rooms[name] = NetRoom(watts=free - counted, sure=seen, other_watts=other)
    return rooms


def unkept(rooms: Mapping[str, NetRoom], workloads: Iterable[Workload]) -> frozenset[str]:
    """Domains whose cap is below what the boards draw at their lowest limits together."""
    lowest = dict.fromkeys(rooms, 0.0)
    for one in workloads:
        between = range_of(one)
        if between is not None:
            for name in one.shares.keys() & lowest.keys():
                lowest[name] += _weight(one, name) * between.lowest_watts
    return frozenset(name for name, watts in lowest.items() if watts > rooms[name].watts)


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
        name: room.watts - sum(_weight(one, name) * given[one.ref] for one in limited)
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
    held = {one.ref: _held(one, ranges[one.ref]) for one in limited}
    meant = {
        ref: _stepped(watts, ranges[ref], tuning) for ref, watts in deal(limited, rooms, tuning).items()
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


def _claimed_watts(one: Workload) -> float:
    """What a limited target may draw of the measured watts; its limits stand for it already.

    Replicas that are coming or leaving are not in its own watts: they draw up to their limit.
    """
    between = range_of(one)
    limit = 0.0 if between is None else _held(one, between)
    return one.watts + ((one.current or 0) - one.ready) * limit


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
        more = sum(_weight(one, name) * rises.get(one.ref, 0.0) for one in limited)
        free = room.watts - sum(_weight(one, name) * held[one.ref] for one in limited)
        if more > 0.0:
            part = min(part, max(0.0, free) / more)
    return part


def _settled(limited: Iterable[Workload], tuning: Limits, now_seconds: float) -> bool:
    times = (one.memory.limit_seconds for one in limited)
    last = max((at for at in times if at is not None), default=-math.inf)
    return now_seconds - last >= tuning.settle_seconds - _TIME_ROUNDING_SECONDS


def _held(one: Workload, between: LimitRange) -> float:
    held = one.memory.limit_watts
    return between.highest_watts if held is None else min(held, between.highest_watts)


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
                left[name] -= _weight(one, name) * (after - given[one.ref])
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
    inside = [(_weight(one, name), one.ref) for one in group if one.shares.get(name, 0.0) > 0.0]

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


def _weight(one: Workload, name: str) -> float:
    """How many replicas' watts a domain feeds."""
    return (one.current or 0) * one.shares.get(name, 0.0)
