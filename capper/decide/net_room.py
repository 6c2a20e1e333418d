"""What the power limits of boards may add up to, by domain: the caps less what draws otherwise."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from capper.decide.allocation import Budget
from capper.decide.observe import Trust
from capper.decide.policy import LimitRange
from capper.decide.sight import Sight
from capper.decide.state import DomainState
from capper.decide.tuning import Limits
from capper.decide.workload import Workload

# Times of one measurement, worked out from its age in two turns, differ by less.
_SAME_SAMPLE_SECONDS = 0.5
_NOTHING = DomainState()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetRoom:
    """What the limits in one domain with a cap may add up to.

    Attributes:
        watts: Cap less margin, reservations and what draws there without a limit.
        rise_watts: The same for limits that are to rise, at most `watts`.
        sure: Whether that rests on measurements; else nothing rises there.
        memory: Of the domain, with what draws there without a limit noted.
    """

    watts: float
    rise_watts: float
    sure: bool
    memory: DomainState = _NOTHING


def range_of(one: Workload) -> LimitRange | None:
    """Where its limit may lie, in order; None: no limit is set, or its replicas are unknown."""
    given = one.policy.limit_range
    if given is None or not one.current:
        return None
    highest = max(given.highest_watts, 0.0)
    return LimitRange(min(max(given.lowest_watts, 0.0), highest), highest)


def held_watts(one: Workload, between: LimitRange) -> float:
    """The limit in force; the highest where none is."""
    held = one.memory.limit_watts
    return between.highest_watts if held is None else min(held, between.highest_watts)


def limited_replicas(one: Workload) -> int:
    """Its replicas that may draw up to their limit.

    Those that its bound sends away while the whole target makes no tokens draw what is measured
    and get no new work: they count as what draws without a limit.
    """
    current, between = one.current or 0, range_of(one)
    idle = one.tokens_per_joule == 0.0
    if between is None or not idle or one.in_force is None:
        return current
    if (one.replica_watts or 0.0) > between.lowest_watts:
        return current
    return min(current, max(one.in_force, 0))


def weight_of(one: Workload, name: str) -> float:
    """How many replicas' limits a domain feeds."""
    return limited_replicas(one) * one.shares.get(name, 0.0)


def net_rooms(
    sights: Mapping[str, Sight],
    budgets: Mapping[str, Budget],
    workloads: Sequence[Workload],
    tuning: Limits,
    *,
    now_seconds: float,
) -> dict[str, NetRoom]:
    """Every capped domain in which something is limited.

    What else draws there is the measured watts of the domain less those of its targets. Boards that
    have just gone to sleep are in one of the two figures a little longer than in the other, so of
    the last two samples the lower lowers limits and the higher raises them. While a domain is blind
    its room is the whole cap, so that a cap that falls is still followed, and nothing rises.

    Args:
        sights: Domains as seen.
        budgets: What is set aside in those that are measured.
        workloads: Targets.
        tuning: Margin.
        now_seconds: Epoch time.
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
        memory = sight.memory
        if seen:
            claimed = sum(_claimed_watts(one) * one.shares[name] for one in inside)
            other = max(0.0, (sight.view.newest_watts or 0.0) - claimed)
            memory = _noting_other(memory, other, now_seconds - (sight.view.age_seconds or 0.0))
        reserved = budgets[name].reserved_watts if name in budgets else 0.0
        free = cap.watts * (1.0 - tuning.margin_ratio) - reserved
        low, high = _others(memory) if seen else (0.0, 0.0)
        rooms[name] = NetRoom(watts=free - low, rise_watts=free - high, sure=seen, memory=memory)
    return rooms


def unkept(rooms: Mapping[str, NetRoom], workloads: Iterable[Workload]) -> frozenset[str]:
    """Domains whose cap is below what the boards draw at their lowest limits together."""
    lowest = dict.fromkeys(rooms, 0.0)
    for one in workloads:
        between = range_of(one)
        if between is not None:
            for name in one.shares.keys() & lowest.keys():
                lowest[name] += weight_of(one, name) * between.lowest_watts
    return frozenset(name for name, watts in lowest.items() if watts > rooms[name].watts)


def _noting_other(memory: DomainState, watts: float, measured_seconds: float) -> DomainState:
    """The last two samples of what draws without a limit; the same sample counts once."""
    last = memory.other_seconds
    if last is not None and measured_seconds <= last + _SAME_SAMPLE_SECONDS:
        return replace(memory, other_watts=watts)
    return replace(
        memory,
        other_watts=watts,
        other_before_watts=memory.other_watts,
        other_seconds=measured_seconds,
    )


def _others(memory: DomainState) -> tuple[float, float]:
    """The lower and the higher of the last two samples of what draws without a limit."""
    pair = (memory.other_watts, memory.other_before_watts)
    known = [watts for watts in pair if watts is not None]
    return min(known, default=0.0), max(known, default=0.0)


def _claimed_watts(one: Workload) -> float:
    """What a limited target may draw of the measured watts; its limits stand for it already.

    Replicas that are coming or leaving are not in its own watts: they draw up to their limit.
    """
    between = range_of(one)
    limit = 0.0 if between is None else held_watts(one, between)
    return one.watts + max(0, limited_replicas(one) - one.ready) * limit
