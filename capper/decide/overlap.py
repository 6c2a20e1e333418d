"""Several configurations on one target: the lowest bound, clock and limit win, both are told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from capper.decide.plan import (
    Action,
    Brake,
    Condition,
    ConditionType,
    EvictReplica,
    PauseScaleOut,
    Plan,
    ReleaseClock,
    ReleasePowerLimit,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetClock,
    SetMaxReplicas,
    SetPowerLimit,
    SetPrice,
    SetShed,
    TargetDecision,
)

_OfTarget = (
    SetMaxReplicas
    | RestoreMaxReplicas
    | PauseScaleOut
    | ResumeScaleOut
    | SetClock
    | ReleaseClock
    | SetPowerLimit
    | ReleasePowerLimit
    | EvictReplica
)


@dataclass(frozen=True, slots=True)
class _Strictest:
    """What the strictest configuration asks of a target; None: nothing."""

    bound: int | None
    clock_hertz: float | None
    limit_watts: float | None
    owner: str


def resolve(plans: Mapping[str, Plan]) -> dict[str, Plan]:
    """The plans by configuration, without the actions that a stricter one forbids.

    A configuration that would loosen what a stricter one holds leaves it; the strictest one acts.
    Both get the condition Overlap.
    """
    decisions: dict[str, dict[str, TargetDecision]] = {}
    for name, plan in plans.items():
        for decision in plan.targets:
            decisions.setdefault(decision.ref, {})[name] = decision
    shared = {ref: _strictest(by) for ref, by in decisions.items() if len(by) > 1}
    return {name: _resolved(name, plan, shared, decisions) for name, plan in plans.items()}


def _strictest(by: Mapping[str, TargetDecision]) -> _Strictest:
    bounds = [one.bound for one in by.values() if one.bound is not None]
    clocks = [one.clock_hertz for one in by.values() if one.clock_hertz is not None]
    limits = [one.limit_watts for one in by.values() if one.limit_watts is not None]
    low = min(bounds, default=None)
    owner = min((name for name, one in by.items() if one.bound == low), default="")
    return _Strictest(low, min(clocks, default=None), min(limits, default=None), owner)


def _resolved(
    name: str,
    plan: Plan,
    shared: Mapping[str, _Strictest],
    decisions: Mapping[str, Mapping[str, TargetDecision]],
) -> Plan:
    overlaps = tuple(
        Condition(
            ConditionType.OVERLAP,
            f"{decision.ref} is also named by {_others(name, decisions[decision.ref])}; "
            f"the lowest bound wins ({shared[decision.ref].owner})",
        )
        for decision in plan.targets
        if decision.ref in shared
    )
    if not overlaps:
        return plan
    return replace(
        plan,
        actions=tuple(one for one in plan.actions if _stands(one, shared, name)),
        recommended=tuple(one for one in plan.recommended if _stands(one, shared, name)),
        conditions=(*plan.conditions, *overlaps),
    )


def _stands(action: Action, shared: Mapping[str, _Strictest], name: str) -> bool:
    """Whether nobody stricter forbids what the configuration `name` would do."""
    if isinstance(action, SetPrice | SetShed | Brake):
        return True
    strictest = shared.get(action.target)
    return strictest is None or _allows(strictest, action, name)


def _allows(strictest: _Strictest, action: _OfTarget, name: str) -> bool:
    match action:
        case SetMaxReplicas() | RestoreMaxReplicas():
            stands = _within(action.replicas, strictest.bound)
        case SetClock():
            stands = _within(action.hertz, strictest.clock_hertz)
        case SetPowerLimit():
            stands = _within(action.watts, strictest.limit_watts)
        case ReleaseClock():
            stands = strictest.clock_hertz is None
        case ReleasePowerLimit():
            stands = strictest.limit_watts is None
        case EvictReplica():
            stands = strictest.owner == name
        case _:
            stands = not isinstance(action, ResumeScaleOut)
    return stands


def _within(asked: float | None, limit: float | None) -> bool:
    """Whether it is no looser than the limit; None: no limit."""
    return limit is None or (asked is not None and asked <= limit)


def _others(name: str, by: Mapping[str, TargetDecision]) -> str:
    return ", ".join(sorted(other for other in by if other != name))
