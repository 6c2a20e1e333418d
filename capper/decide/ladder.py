"""Second half of a turn: each target's clock, power limit and bound, from what the fleet has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from capper.decide.allocation import Budget, grow, keep
from capper.decide.bounds import Room, Step, next_bound, safe_bound, safe_max_of
from capper.decide.clock_rung import locks_of, relieved, strains_of
from capper.decide.feeding import Fed, fed
from capper.decide.giving_way import admitting_band, giving_way
from capper.decide.limits import step_limits
from capper.decide.net_room import NetRoom
from capper.decide.observe import Trust
from capper.decide.policy import Policy, Rung
from capper.decide.sight import Sight
from capper.decide.state import Band, TargetState
from capper.decide.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One target, decided.

    Attributes:
        workload: As seen.
        step: Its bound; None: it is left alone.
        held_because: Why it is left alone.
        clock_hertz: Lock to be in force.
        limit_watts: Power limit of a replica to be in force.
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
    limit_watts: float | None
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
    rooms: Mapping[str, NetRoom],
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
    admitted = {one.ref: admitting_band(one, touched[one.ref]) for one in workloads}
    pacing = policy.pacing
    strains = strains_of(policy, workloads, now_seconds)
    kept = _without_unneeded(
        keep(workloads, limits), keep(workloads, relieved(limits, workloads, strains)), workloads
    )
    growth = grow(workloads, limits, admitted, free_ratio=pacing.spike_margin_ratio)
    sure = grow(
        workloads,
        limits,
        admitted,
        free_ratio=pacing.spike_margin_ratio + pacing.regrow_gap_ratio,
    )
    clocks = locks_of(policy, sights, limits, rooms, workloads, now_seconds=now_seconds)
    nets = _nets(policy, workloads, rooms, now_seconds)
    feed = fed(workloads, rooms, admitted, nets, gap_ratio=pacing.regrow_gap_ratio)
    yielding = giving_way(
        workloads,
        limits,
        kept,
        free_ratio=pacing.spike_margin_ratio + pacing.regrow_gap_ratio,
    )
    outcomes = []
    for seen in workloads:
        one = _noting_hunger(seen, feed, now_seconds)
        room = Room(
            kept=min(kept[one.ref], feed.kept[one.ref]),
            growth=min(growth[one.ref], feed.growth[one.ref]),
            sure_growth=min(
                growth[one.ref], sure[one.ref], feed.growth[one.ref], feed.sure_growth[one.ref]
            ),
            band=bands[one.ref],
            trust=trusts[one.ref],
            may_shed=_may_shed(policy, touched[one.ref], now_seconds)
            or _is_starved(policy, one, now_seconds)
            or any(strains[other.ref] > 0.0 for other in workloads if _share_a_limit(one, other)),
            giving_way=yielding[one.ref],
        )
        draw = draws.get(one.ref, 0.5)
        step, reason, memory = _bound(policy, one, room, draw, now_seconds)
        outcomes.append(
            Outcome(
                workload=one,
                step=step,
                held_because=reason,
                clock_hertz=clocks[one.ref],
                limit_watts=nets[one.ref],
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


def _nets(
    policy: Policy, workloads: list[Workload], rooms: Mapping[str, NetRoom], now_seconds: float
) -> dict[str, float | None]:
    """The power limit of every target."""
    if Rung.LIMITS not in policy.rungs:
        return {one.ref: None for one in workloads}
    return step_limits(workloads, rooms, policy.limits, now_seconds=now_seconds)


def _noting_hunger(one: Workload, feed: Fed, now_seconds: float) -> Workload:
    """The target, remembering since when there is no power for all of its replicas."""
    since = one.memory.starved_since_seconds
    if feed.kept[one.ref] >= (one.current or 0):
        since = None
    elif since is None:
        since = now_seconds
    return replace(one, memory=replace(one.memory, starved_since_seconds=since))


def _is_starved(policy: Policy, one: Workload, now_seconds: float) -> bool:
    since = one.memory.starved_since_seconds
    return since is not None and now_seconds - since >= policy.pacing.escalate_after_seconds
