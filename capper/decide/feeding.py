"""How many replicas the power limits can feed: better few at their knee than many below it.

Below the knee of the clock curve the voltage falls no more, so each watt less costs the most
tokens, and every replica pays its static watts. So while limits hold boards at work below their
knee, targets that do nothing send replicas to sleep that cannot be fed, those of the fewest tokens
per joule first: nobody loses a token, and what they leave raises the limits of the others. Where
not even the lowest limits fit under a cap, replicas at work have to go as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from capper.decide.allocation import Budget, grow, keep
from capper.decide.net_room import NetRoom, range_of, unkept
from capper.decide.state import Band
from capper.decide.workload import Workload

# A target that draws this part of its limit is held by it; the rest is the pauses between steps.
_HELD_RATIO = 0.8
_ROUNDING_WATTS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """How many replicas there is power for under the limits.

    Attributes:
        kept: Present replicas that may stay.
        growth: More that could be fed.
        sure_growth: The same with the hysteresis gap.
    """

    kept: Mapping[str, int]
    growth: Mapping[str, int]
    sure_growth: Mapping[str, int]


def feed_watts(one: Workload) -> float:
    """What a replica should be given: its highest draw at the knee, or its lowest limit if higher.

    Its highest draw is that of prompts, which are bound by compute: all of it follows the clock.
    """
    between, curve = range_of(one) or one.policy.limit_range, one.policy.clocks
    if between is None:
        return 0.0
    if curve is None:
        return between.lowest_watts
    bound = replace(curve, power_share=1.0)
    knee = bound.watts(curve.knee_hertz, base_watts=between.highest_watts)
    return min(between.highest_watts, max(between.lowest_watts, knee))


def fed(
    workloads: Sequence[Workload],
    rooms: Mapping[str, NetRoom],
    bands: Mapping[str, Band],
    limits: Mapping[str, float | None],
    *,
    gap_ratio: float,
) -> Fed:
    """What the limits leave of the replicas that are there, and what more they could feed.

    Args:
        workloads: Targets; those without a limit are fed in any case.
        rooms: What limits may add up to, by domain.
        bands: Worst band by target.
        limits: Those that are to be in force, by target.
        gap_ratio: Hysteresis of growth, in parts of the room.
    """
    starved, broken = _starved(workloads, limits), unkept(rooms, workloads)
    eating, budgets = _table(workloads, rooms, feed_watts)
    at_the_knee = keep(eating, budgets)
    at_the_lowest = keep(*_table(workloads, rooms, _lowest_watts))
    kept = {}
    for one in workloads:
        kept[one.ref] = one.current or 0
        if not broken.isdisjoint(one.shares):
            kept[one.ref] = at_the_lowest[one.ref]
        if _is_idle(one) and not starved.isdisjoint(one.shares):
            kept[one.ref] = min(kept[one.ref], at_the_knee[one.ref])
    return Fed(
        kept=kept,
        growth=grow(eating, budgets, bands, free_ratio=0.0),
        sure_growth=grow(eating, budgets, bands, free_ratio=gap_ratio),
    )


def _starved(workloads: Sequence[Workload], limits: Mapping[str, float | None]) -> frozenset[str]:
    """Domains whose limits hold boards at work below their knee."""
    return frozenset(
        name
        for one in workloads
        if (limit := limits.get(one.ref)) is not None
        and limit < feed_watts(one) - _ROUNDING_WATTS
        and (one.replica_watts or 0.0) >= _HELD_RATIO * limit
        for name in one.shares
    )


def _is_idle(one: Workload) -> bool:
    """Whether it makes no tokens; unknown is not idle."""
    return one.tokens_per_joule == 0.0


def _lowest_watts(one: Workload) -> float:
    return 0.0 if one.policy.limit_range is None else one.policy.limit_range.lowest_watts


def _table(
    workloads: Sequence[Workload],
    rooms: Mapping[str, NetRoom],
    watts_of: Callable[[Workload], float],
) -> tuple[list[Workload], dict[str, Budget]]:
    """Workloads and budgets as if every limited replica drew just so much."""
    eating = [_eating(one, watts_of(one)) for one in workloads]
    budgets = {
        name: Budget(
            cap_watts=max(0.0, room.watts),
            watts=sum(one.watts * one.shares.get(name, 0.0) for one in eating),
        )
        for name, room in rooms.items()
    }
    return eating, budgets


def _eating(one: Workload, watts: float) -> Workload:
    """A target whose replicas draw so much, without those that its bound sends away already.

    Its worth is that of filled replicas: one that happens to be idle is none of the worst.
    """
    current = one.current or 0
    staying = current if one.in_force is None else min(current, max(one.in_force, 0))
    packed = one.packed_tokens_per_joule
    return replace(
        one,
        current=staying,
        coming=0,
        watts=watts * staying,
        replica_watts=watts,
        next_watts=watts,
        tokens_per_joule=one.tokens_per_joule if packed is None else packed,
    )
