"""What a turn says of itself: conditions, decisions for status, one sentence on the whole."""

from collections.abc import Iterable, Mapping

from capper.decide.allocation import Budget, attributed
from capper.decide.domains import DomainTree
from capper.decide.ladder import Outcome
from capper.decide.observe import Trust
from capper.decide.plan import (
    Action,
    Condition,
    ConditionType,
    DomainDecision,
    ShedLevel,
    TargetDecision,
    Why,
)
from capper.decide.policy import Mode, Policy, Rung
from capper.decide.sight import Sight

_EXCEEDED_AFTER_SECONDS = 60.0
# Restricting later than this is a promise that replica bounds alone cannot keep (POLCA).
_SLOW_RESTRICT_RATIO = 0.88


def conditions(
    policy: Policy,
    tree: DomainTree,
    sights: Mapping[str, Sight],
    outcomes: Iterable[Outcome],
    *,
    now_seconds: float,
) -> tuple[Condition, ...]:
    """All that hold now."""
    found = [one for sight in sights.values() for one in _of_domain(sight, now_seconds)]
    found += [
        Condition(
            ConditionType.BUDGET_OVER_ALLOCATED,
            f"domains under {over.parent} may draw {over.children_watts:.0f} W together, "
            f"it may draw {over.parent_watts:.0f} W",
        )
        for over in tree.over_allocated()
    ]
    for outcome in outcomes:
        found += _of_target(policy, outcome, now_seconds)
    quick = policy.rungs & {Rung.CLOCKS, Rung.LIMITS}
    if not quick and policy.thresholds.restrict_ratio > _SLOW_RESTRICT_RATIO:
        found.append(
            Condition(
                ConditionType.SLOW_ACTUATORS,
                f"restrictRatio {policy.thresholds.restrict_ratio:.2f} leaves less than the 12 % "
                "that power can rise while replica bounds act: use 0.88, or GPU clocks",
            )
        )
    return tuple(found)


def why_of(outcome: Outcome) -> Why:
    """The reason of a target's bound, with its figures."""
    one, step = outcome.workload, outcome.step
    pairs = (
        ("current_replicas", one.current),
        ("kept_replicas", outcome.kept if step is not None else None),
        ("replica_watts", one.next_watts),
        ("tokens_per_joule", one.tokens_per_joule),
    )
    figures = tuple((name, float(value)) for name, value in pairs if value is not None)
    if step is None:
        return Why(sentence=outcome.held_because, figures=figures)
    return Why(
        sentence=step.sentence, figures=figures, next_change_seconds=step.next_change_seconds
    )


def target_decision(outcome: Outcome) -> TargetDecision:
    """One target, for status."""
    one, step = outcome.workload, outcome.step
    return TargetDecision(
        ref=one.ref,
        current_replicas=one.current,
        bound=one.in_force if step is None else step.bound,
        goal=one.in_force if step is None else step.goal,
        floor=one.floor,
        original_max=one.original,
        replica_watts=one.next_watts,
        clock_hertz=outcome.clock_hertz,
        limit_watts=outcome.limit_watts,
        band=outcome.band,
        why=why_of(outcome),
    )


def domain_decision(
    sight: Sight, price_ratio: float, budget: Budget | None, outcomes: list[Outcome]
) -> DomainDecision:
    """One domain, for status."""
    view, cap = sight.view, sight.policy.cap
    return DomainDecision(
        name=sight.policy.name,
        watts=view.watts,
        age_seconds=view.age_seconds,
        coverage_ratio=view.coverage_ratio,
        cap_watts=None if cap is None else cap.watts,
        cap_source="" if cap is None else cap.source,
        inlet_celsius=view.inlet_celsius,
        band=sight.band,
        price_ratio=price_ratio,
        shed=ShedLevel(sight.shed_level),
        allocated_watts=None if budget is None else _allocated(sight, budget, outcomes),
    )


def explanation(policy: Policy, sights: Mapping[str, Sight], actions: Iterable[Action]) -> str:
    """One sentence on the whole."""
    worst = max(sights.values(), key=lambda sight: (sight.band, sight.ratio or 0.0))
    blind = [name for name, sight in sights.items() if sight.view.trust is not Trust.USABLE]
    count = len(tuple(actions))
    doing = {
        Mode.OBSERVE: f"observing only ({count} changes would follow)",
        Mode.RECOMMEND: f"{count} changes are recommended",
        Mode.ENFORCE: f"{count} changes" if count else "nothing to change",
    }[policy.mode]
    seen = f"{worst.policy.name} is in {worst.band.name.capitalize()}"
    if worst.ratio is not None:
        seen += f" at {worst.ratio:.0%} of its limit"
    if blind:
        seen += f", blind in {', '.join(blind)}"
    return f"{seen}: {doing}"


def _of_domain(sight: Sight, now_seconds: float) -> list[Condition]:
    name, view = sight.policy.name, sight.view
    found = [
        Condition(ConditionType.SENSOR_IMPLAUSIBLE, f"{name}: {problem}")
        for problem in dict.fromkeys(view.problems)
    ]
    if view.partial:
        message = f"{name}: only {view.coverage_ratio or 0.0:.0%} of the meters report"
        found.append(Condition(ConditionType.COVERAGE_LOW, message))
    if view.trust is not Trust.USABLE:
        message = f"{name}: nothing that may be decided on, {view.trust.name.lower()}"
        found.append(Condition(ConditionType.TELEMETRY_STALE, message))
    since = sight.memory.over_since_seconds
    if since is not None and now_seconds - since >= _EXCEEDED_AFTER_SECONDS:
        message = f"{name}: over its limit for {now_seconds - since:.0f} s"
        found.append(Condition(ConditionType.CAP_EXCEEDED, message))
    limit, heat = sight.policy.max_inlet_celsius, view.inlet_celsius
    if limit is not None and heat is not None and heat > limit:
        message = f"{name}: inlet at {heat:.1f} of {limit:.1f} degrees Celsius"
        found.append(Condition(ConditionType.INLET_HOT, message))
    return found


def _of_target(policy: Policy, outcome: Outcome, now_seconds: float) -> list[Condition]:
    one, memory = outcome.workload, outcome.memory
    found = []
    if memory.reverts >= policy.pacing.max_reverts:
        message = f"{one.ref}: another writer undid the bound {memory.reverts} times"
        found.append(Condition(ConditionType.REVERT_FIGHT, message))
    frozen = memory.frozen_until_seconds
    if frozen is not None and now_seconds < frozen:
        message = f"{one.ref}: the bound changed direction too often, it rises no more for a while"
        found.append(Condition(ConditionType.OSCILLATION, message))
    return found


def _allocated(sight: Sight, budget: Budget, outcomes: list[Outcome]) -> float:
    """What all else draws, and the replicas that are kept and admitted."""
    name = sight.policy.name
    workloads = [outcome.workload for outcome in outcomes]
    watts = attributed(workloads, {name: budget})
    total = 0.0
    claimed = 0.0
    for outcome in outcomes:
        one = outcome.workload
        share, current = one.shares.get(name, 0.0), one.current or 0
        claimed += share * watts[one.ref]
        kept_ratio = outcome.kept / current if current else 1.0
        total += share * watts[one.ref] * kept_ratio
        total += share * outcome.growth * (one.next_watts or 0.0)
    return total + max(0.0, budget.watts - claimed)
