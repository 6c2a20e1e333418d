"""One turn of the capper: observe, then plan. Nothing here acts."""

from collections.abc import Mapping
from dataclasses import replace

from capper.decide.acts import (
    bound_actions,
    clock_action,
    holds,
    limit_action,
    price_action,
    shed_action,
)
from capper.decide.allocation import Budget
from capper.decide.document import no_later_than
from capper.decide.domains import DomainTree
from capper.decide.evicting import evictions
from capper.decide.ladder import Outcome, climb
from capper.decide.memory import note_writers, put_back
from capper.decide.net_room import NetRoom, net_rooms, unkept
from capper.decide.observation import Observation
from capper.decide.observe import Trust
from capper.decide.plan import Action, Condition, ConditionType, Plan, SetMaxReplicas
from capper.decide.policy import Mode, Policy, Rung
from capper.decide.pricing import next_price
from capper.decide.report import (
    conditions,
    domain_decision,
    explanation,
    target_decision,
    why_of,
)
from capper.decide.sight import Sight, budgets, look
from capper.decide.state import State, TargetState
from capper.decide.workload import Workload, view_target

NO_DRAWS: Mapping[str, float] = {}


def decide(
    policy: Policy,
    observation: Observation,
    state: State,
    *,
    now_seconds: float,
    draws: Mapping[str, float] = NO_DRAWS,
) -> Plan:
    """What to do now, and why.

    Total: missing, stale, partial and absurd data lead to held decisions, never to an exception.
    Repeatable: with the actions carried out (`memory.applied`) the same observation asks for
    nothing more.

    Args:
        policy: What the user asks.
        observation: What was seen; raw values, filtered here.
        state: From the last turn.
        now_seconds: Epoch time.
        draws: By target, in [0, 1): spreads the ramps up; 0.5 where missing.
    """
    freeze_seconds = policy.pacing.oscillation_freeze_seconds
    state = no_later_than(state, now_seconds, freeze_seconds=freeze_seconds)
    tree = DomainTree(policy.domains)
    workloads = _workloads(policy, tree, observation, state, now_seconds)
    sights = look(policy, tree, observation, state, workloads, now_seconds=now_seconds)
    limits = budgets(tree, sights, state, workloads, now_seconds=now_seconds)
    rooms = _rooms(policy, sights, limits, workloads, now_seconds)
    outcomes = climb(policy, sights, limits, workloads, rooms, draws=draws, now_seconds=now_seconds)
    prices = {name: _price(policy, tree, name, sights, now_seconds) for name in tree.leaves()}

    orphans = _orphans(policy, state)
    actions = _actions(policy, tree, sights, prices, outcomes, orphans)
    cut = {
        one.target
        for one in actions
        if isinstance(one, SetMaxReplicas) and one.replicas < one.current_replicas
    }
    actions += tuple(evictions(policy, sights, outcomes, cut, now_seconds=now_seconds))
    return Plan(
        actions=actions if policy.mode is Mode.ENFORCE else (),
        recommended=actions if policy.mode is Mode.RECOMMEND else (),
        holds=holds(outcomes),
        conditions=(
            *conditions(policy, tree, sights, outcomes, now_seconds=now_seconds),
            *_unreachable(sights, outcomes, now_seconds),
            *_beneath(rooms, workloads),
        ),
        domains=tuple(
            domain_decision(sight, prices.get(name, 1.0), limits.get(name), outcomes)
            for name, sight in sights.items()
        ),
        targets=tuple(target_decision(outcome) for outcome in outcomes),
        explanation=explanation(policy, sights, actions),
        state=replace(
            state,
            domains={
                name: rooms[name].memory if name in rooms else sight.memory
                for name, sight in sights.items()
            },
            targets={**orphans, **{outcome.workload.ref: outcome.memory for outcome in outcomes}},
            reservations={
                key: held
                for key, held in state.reservations.items()
                if held.until_seconds > now_seconds
            },
        ),
    )


def _workloads(
    policy: Policy, tree: DomainTree, observation: Observation, state: State, now_seconds: float
) -> list[Workload]:
    found = []
    for target in policy.targets:
        reading = observation.targets.get(target.ref)
        memory = state.targets.get(target.ref, TargetState())
        memory = note_writers(memory, reading, policy.pacing, now_seconds=now_seconds)
        found.append(view_target(target, reading, memory, tree, policy.freshness))
    return found


def _rooms(
    policy: Policy,
    sights: Mapping[str, Sight],
    limits: Mapping[str, Budget],
    workloads: list[Workload],
    now_seconds: float,
) -> dict[str, NetRoom]:
    """What power limits may add up to; empty where none are set."""
    if Rung.LIMITS not in policy.rungs:
        return {}
    return net_rooms(sights, limits, workloads, policy.limits, now_seconds=now_seconds)


def _price(
    policy: Policy, tree: DomainTree, leaf: str, sights: Mapping[str, Sight], now_seconds: float
) -> float:
    """The price of a leaf: by the worst domain on its way. While one is blind it does not fall."""
    if Rung.PRICE not in policy.rungs:
        return 1.0
    memory = sights[leaf].memory
    ratios = [sights[name].ratio for name in tree.path(leaf)]
    known = [ratio for ratio in ratios if ratio is not None]
    price = next_price(
        max(known, default=0.0),
        memory,
        policy.thresholds,
        policy.prices,
        now_seconds=now_seconds,
    )
    blind = any(sights[name].view.trust is not Trust.USABLE for name in tree.path(leaf))
    return max(price, memory.price_ratio) if blind else price


def _actions(
    policy: Policy,
    tree: DomainTree,
    sights: Mapping[str, Sight],
    prices: Mapping[str, float],
    outcomes: list[Outcome],
    orphans: Mapping[str, TargetState],
) -> tuple[Action, ...]:
    """The gentlest rung first."""
    actions: list[Action] = []
    for leaf, price in prices.items():
        worst = max((sights[name] for name in tree.path(leaf)), key=lambda seen: seen.ratio or 0.0)
        actions += price_action(sights[leaf], price, worst=worst)
    for outcome in outcomes:
        actions += clock_action(outcome)
        actions += limit_action(outcome)
    for outcome in outcomes:
        if Rung.REPLICAS in policy.rungs:
            actions += bound_actions(outcome, why_of(outcome))
        else:
            memory = replace(outcome.memory, clock_hertz=None, limit_watts=None)
            sentence = "replica bounds were switched off: what was before is put back"
            actions += put_back(outcome.workload.ref, memory, sentence)
    for ref, memory in orphans.items():
        actions += put_back(ref, memory, "no longer a target: what was before is put back")
    for sight in sights.values():
        actions += shed_action(sight)
    return tuple(actions)


def _orphans(policy: Policy, state: State) -> dict[str, TargetState]:
    """Targets that the policy names no more and that still hold something of ours."""
    named = {target.ref for target in policy.targets}
    return {
        ref: memory
        for ref, memory in state.targets.items()
        if ref not in named and memory.holds_anything
    }


def _beneath(rooms: Mapping[str, NetRoom], workloads: list[Workload]) -> list[Condition]:
    """Domains whose boards draw more than the cap leaves at their lowest limits already."""
    return [
        Condition(
            ConditionType.CAP_UNREACHABLE,
            f"{name}: its boards at their lowest power limits may draw more than "
            f"{max(0.0, rooms[name].watts):.0f} W, which the cap leaves them",
        )
        for name in sorted(unkept(rooms, workloads))
    ]


def _unreachable(
    sights: Mapping[str, Sight], outcomes: list[Outcome], now_seconds: float
) -> list[Condition]:
    """Domains over their limit in which every target is at its floor already."""
    found = []
    for name, sight in sights.items():
        inside = [outcome for outcome in outcomes if name in outcome.workload.shares]
        stuck = all((one.workload.current or 0) <= one.workload.floor for one in inside)
        since = sight.memory.over_since_seconds
        if since is not None and stuck and now_seconds > since:
            message = f"{name}: over its limit with every target at its floor"
            found.append(Condition(ConditionType.CAP_UNREACHABLE, message))
    return found
