"""Several configurations on one target: the lowest bound and clock win, and both are told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from capper.decide.plan import (
    Action,
    Condition,
    ConditionType,
    Plan,
    ReleaseClock,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetClock,
    SetMaxReplicas,
    TargetDecision,
)


@dataclass(frozen=True, slots=True)
class _Strictest:
    """What the strictest configuration asks of a target; None: nothing."""

    bound: int | None
    clock_hertz: float | None
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
    low = min(bounds, default=None)
    owner = min((name for name, one in by.items() if one.bound == low), default="")
    return _Strictest(low, min(clocks, default=None), owner)


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
        actions=tuple(one for one in plan.actions if _stands(one, shared)),
        recommended=tuple(one for one in plan.recommended if _stands(one, shared)),
        conditions=(*plan.conditions, *overlaps),
    )


def _stands(action: Action, shared: Mapping[str, _Strictest]) -> bool:
    match action:
        case SetMaxReplicas(target, replicas) if target in shared:
            bound = shared[target].bound
            return bound is None or replicas <= bound
        case RestoreMaxReplicas(target, replicas) if target in shared:
            bound = shared[target].bound
            return bound is None or (replicas is not None and replicas <= bound)
        case ResumeScaleOut(target) if target in shared:
            return False
        case SetClock(target, hertz) if target in shared:
            lowest = shared[target].clock_hertz
            return lowest is None or hertz <= lowest
        case ReleaseClock(target) if target in shared:
            return shared[target].clock_hertz is None
        case _:
            return True


def _others(name: str, by: Mapping[str, TargetDecision]) -> str:
    return ", ".join(sorted(other for other in by if other != name))
