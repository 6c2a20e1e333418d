"""The clock rung on the whole: which caps it has to keep, and what its locks cost."""

from collections.abc import Mapping
from dataclasses import replace

from capper.decide.allocation import Budget
from capper.decide.net_room import NetRoom, range_of, unkept
from capper.decide.observe import Trust
from capper.decide.policy import Policy, Rung
from capper.decide.sight import Sight
from capper.decide.throttling import Demand, needed_clocks, paced, saved_watts, strained_watts
from capper.decide.workload import Workload


def strains_of(policy: Policy, workloads: list[Workload], now_seconds: float) -> dict[str, float]:
    """Watts that each target's lock saves below its knee, once it has settled.

    Such a lock costs more than it saves; replicas that are taken let it go.
    """
    if not {Rung.CLOCKS, Rung.REPLICAS} <= policy.rungs:
        return {one.ref: 0.0 for one in workloads}
    return {
        one.ref: strained_watts(
            one, now_seconds=now_seconds, settle_seconds=policy.clocks.settle_seconds
        )
        for one in workloads
    }


def relieved(
    limits: Mapping[str, Budget], workloads: list[Workload], strains: Mapping[str, float]
) -> dict[str, Budget]:
    """The limits with the watts that would be drawn were no clock below its knee."""
    return {
        name: replace(
            budget,
            watts=budget.watts
            + sum(strains[one.ref] * one.shares.get(name, 0.0) for one in workloads),
        )
        for name, budget in limits.items()
    }


def locks_of(
    policy: Policy,
    sights: Mapping[str, Sight],
    limits: Mapping[str, Budget],
    rooms: Mapping[str, NetRoom],
    workloads: list[Workload],
    *,
    now_seconds: float,
) -> dict[str, float | None]:
    """The lock of every target; that of a blind one is held.

    A cap that power limits keep asks nothing of clocks: a limit slows down the very steps that
    would draw too much, a lock slows down all of them. Heat is another matter: it is met by clocks.
    """
    if Rung.CLOCKS not in policy.rungs:
        return {one.ref: None for one in workloads}
    tuning = policy.clocks
    hot = {name for name, sight in sights.items() if _is_hot(sight)}
    loose = unkept(rooms, workloads)
    asking = {
        name: budget
        for name, budget in limits.items()
        if name not in rooms or name in loose or name in hot
    }
    giving = [one for one in workloads if not rooms or _gives(one, hot)]
    saved = {
        one.ref: saved_watts(one, now_seconds=now_seconds, settle_seconds=tuning.settle_seconds)
        for one in workloads
    }
    wanted, relaxed = (
        needed_clocks(
            giving,
            _demands(policy, asking, workloads, saved, gap_ratio),
            tuning,
            high_priority=policy.high_priority,
            saved=saved,
        )
        for gap_ratio in (0.0, tuning.gap_ratio)
    )
    return {
        one.ref: paced(
            one,
            wanted.get(one.ref),
            relaxed.get(one.ref),
            tuning,
            now_seconds=now_seconds,
        )
        if _is_seen(one, sights)
        else one.clock_hertz
        for one in workloads
    }


def _gives(one: Workload, hot: set[str]) -> bool:
    """Whether its clocks are this rung's: it has no power limit, or stands where it is too hot."""
    return range_of(one) is None or not hot.isdisjoint(one.shares)


def _is_seen(one: Workload, sights: Mapping[str, Sight]) -> bool:
    return all(sights[name].view.trust is Trust.USABLE for name in one.shares if name in sights)


def _is_hot(sight: Sight) -> bool:
    limit, heat = sight.policy.max_inlet_celsius, sight.view.inlet_celsius
    return limit is not None and heat is not None and heat > limit


def _demands(
    policy: Policy,
    limits: Mapping[str, Budget],
    workloads: list[Workload],
    saved: Mapping[str, float],
    gap_ratio: float,
) -> dict[str, Demand]:
    """Watts above each threshold, as if no clock were lowered."""
    demands = {}
    for name, budget in limits.items():
        unlocked = budget.watts + sum(
            saved[one.ref] * one.shares.get(name, 0.0) for one in workloads
        )
        demands[name] = Demand(
            low_watts=unlocked - (policy.clocks.low_ratio - gap_ratio) * budget.cap_watts,
            all_watts=unlocked - (policy.clocks.high_ratio - gap_ratio) * budget.cap_watts,
            deep_watts=unlocked - (policy.clocks.deep_ratio - gap_ratio) * budget.cap_watts,
        )
    return demands
