"""Second half of a turn: for each target its clock and its bound, from what the fleet has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from capper.decide.allocation import Budget, grow, keep
from capper.decide.bounds import Room, Step, next_bound, safe_bound, safe_max_of
from capper.decide.observe import Trust
from capper.decide.policy import Policy, Rung
from capper.decide.sight import Sight
from capper.decide.state import Band, TargetState
from capper.decide.throttling import Demand, needed_clocks, paced, saved_watts, strained_watts
from capper.decide.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One target, decided.

    Attributes:
        workload: As seen.
        step: Its bound; None: it is left alone.
        held_because: Why it is left alone.
        clock_hertz: Lock to be in force.
        band: Worst of the domains it touches.
        trust: Worst of the domains it touches.
        memory: To remember.
        kept: Present replicas that fit.
        growth: More that fit.
    """

    workload: Workload
    step: Step | None
    held_because: str
    clock_hertz: float | None
    band: Band
    trust: Trust
    memory: TargetState
    kept: int
    growth: int


def climb(
    policy: Policy,
    sights: Mapping[str, Sight],
    limits: Mapping[str, Budget],
    workloads: list[Workload],
    *,
    draws: Mapping[str, float],
    now_seconds: float,
) -> list[Outcome]:
    """Every target, decided, in the policy's order."""
    touched = {
        one.ref: [sights[name] for name in one.shares if name in sights] for one in workloads
    }
    bands = {ref: max(seen.band for seen in over) for ref, over in touched.items()}
    trusts = {ref: max(seen.view.trust for seen in over) for ref, over in touched.items()}
    # A blind domain admits nobody.
    admitted = {ref: bands[ref] if trusts[ref] is Trust.USABLE else Band.SHED for ref in bands}
    pacing = policy.pacing
    strains = _strains(policy, workloads, now_seconds)
    kept = _without_unneeded(
        keep(workloads, limits), keep(workloads, _relieved(limits, workloads, strains)), workloads
    )
    growth = grow(workloads, limits, admitted, free_ratio=pacing.spike_margin_ratio)
    sure = grow(
        workloads,
        limits,
        admitted,
        free_ratio=pacing.spike_margin_ratio + pacing.regrow_gap_ratio,
    )
    clocks = _clocks(policy, limits, workloads, trusts, now_seconds)
    outcomes = []
    for one in workloads:
        room = Room(
            kept=kept[one.ref],
            growth=growth[one.ref],
            sure_growth=min(growth[one.ref], sure[one.ref]),
            band=bands[one.ref],
            trust=trusts[one.ref],
            may_shed=_may_shed(policy, touched[one.ref], now_seconds)
            or any(strains[other.ref] > 0.0 for other in workloads if _share_a_limit(one, other)),
        )
        draw = draws.get(one.ref, 0.5)
        step, reason, memory = _bound(policy, one, room, draw, now_seconds)
        outcomes.append(
            Outcome(
                workload=one,
                step=step,
                held_because=reason,
                clock_hertz=clocks[one.ref],
                band=room.band,
                trust=room.trust,
                memory=memory,
                kept=room.kept,
                growth=room.growth,
            )
        )
    return outcomes


def _bound(
    policy: Policy, one: Workload, room: Room, draw: float, now_seconds: float
) -> tuple[Step | None, str, TargetState]:
    """(step or None, why it is left alone, memory)."""
    if one.current is None:
        return None, "its replicas are unknown or too old: left as it is", one.memory
    if room.trust is Trust.LOST:
        safe_max = safe_max_of(one, policy.freshness)
        memory = replace(one.memory, safe_max=safe_max)
        step = safe_bound(one, safe_max, policy.pacing, now_seconds=now_seconds)
    elif room.trust is Trust.STALE:
        return None, "measurements are stale or partial: what was decided is held", one.memory
    else:
        memory = replace(one.memory, safe_max=None)
        step = next_bound(one, room, policy.pacing, draw=draw, now_seconds=now_seconds)
    if memory.reverts >= policy.pacing.max_reverts:
        return None, f"another writer undid the bound {memory.reverts} times: left to it", memory
    return step, "", memory


def _may_shed(policy: Policy, touched: list[Sight], now_seconds: float) -> bool:
    """Whether a domain has been over its cap for longer than the faster rungs need."""
    wait_seconds = 0.0
    if Rung.PRICE in policy.rungs:
        wait_seconds = policy.pacing.escalate_after_seconds
    if Rung.CLOCKS in policy.rungs and any(one.clocks is not None for one in policy.targets):
        wait_seconds = max(wait_seconds, policy.clocks.settle_seconds)
    sinces = [seen.memory.over_since_seconds for seen in touched]
    over = [now_seconds - since for since in sinces if since is not None]
    return bool(over) and max(over) >= wait_seconds


def _strains(policy: Policy, workloads: list[Workload], now_seconds: float) -> dict[str, float]:
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


def _relieved(
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


def _without_unneeded(
    kept: Mapping[str, int], relieved: Mapping[str, int], workloads: list[Workload]
) -> dict[str, int]:
    """For the sake of clocks only replicas go that the router does not need."""
    return {
        one.ref: min(kept[one.ref], max(relieved[one.ref], (one.current or 0) - one.unneeded))
        for one in workloads
    }


def _share_a_limit(one: Workload, other: Workload) -> bool:
    return not one.shares.keys().isdisjoint(other.shares)


def _clocks(
    policy: Policy,
    limits: Mapping[str, Budget],
    workloads: list[Workload],
    trusts: Mapping[str, Trust],
    now_seconds: float,
) -> dict[str, float | None]:
    """The lock of every target; that of a blind one is held."""
    if Rung.CLOCKS not in policy.rungs:
        return {one.ref: None for one in workloads}
    tuning = policy.clocks
    saved = {
        one.ref: saved_watts(one, now_seconds=now_seconds, settle_seconds=tuning.settle_seconds)
        for one in workloads
    }
    wanted, relaxed = (
        needed_clocks(
            workloads,
            _demands(policy, limits, workloads, saved, gap_ratio),
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
        if trusts[one.ref] is Trust.USABLE
        else one.clock_hertz
        for one in workloads
    }


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
