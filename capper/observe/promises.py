"""What the capper promises never to do, checked on what it did. Pure.

An independent look at each turn: the decision is tested to keep these promises, and an operator
sees in a metric whether it does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from capper.decide.plan import Brake, EvictReplica, PauseScaleOut, SetClock, SetMaxReplicas
from capper.decide.policy import Mode
from capper.operator.report import ActionResult, Outcome, TurnReport

_TOLERANCE_SECONDS = 1.0
_LIMITS = SetMaxReplicas | EvictReplica | PauseScaleOut | SetClock | Brake


class Promise(StrEnum):
    """Promises whose breach can be seen from outside."""

    NO_GROWTH_WHILE_BLIND = "no_growth_while_blind"
    FLOOR_KEPT = "floor_kept"
    SLOW_SHEDDING = "slow_shedding"
    RESTORED_AT_THE_END = "restored_at_the_end"
    HANDS_OFF_UNLESS_ENFORCED = "hands_off_unless_enforced"


@dataclass(slots=True)
class Watcher:
    """Looks at the turns of one configuration, one after another."""

    _cut_seconds: dict[str, float] = field(default_factory=dict)

    def broken(self, report: TurnReport) -> tuple[Promise, ...]:
        """The promises that this turn broke; one that is broken twice is there twice."""
        done = [one for one in report.results if one.outcome is Outcome.APPLIED]
        found = [promise for one in done for promise in self._of_action(one, report)]
        if report.ended and any(
            memory.touched or memory.paused for memory in report.state.targets.values()
        ):
            found.append(Promise.RESTORED_AT_THE_END)
        return tuple(found)

    def _of_action(self, result: ActionResult, report: TurnReport) -> Iterator[Promise]:
        action = result.action
        if isinstance(action, _LIMITS) and report.policy.mode is not Mode.ENFORCE:
            yield Promise.HANDS_OFF_UNLESS_ENFORCED
        floors = {one.ref: one.floor for one in report.plan.targets}
        if isinstance(action, EvictReplica):
            if action.floor < floors.get(action.target, 0):
                yield Promise.FLOOR_KEPT
            yield from self._of_cut(action.target, result, report)
        if not isinstance(action, SetMaxReplicas):
            return
        if action.replicas < floors.get(action.target, 0):
            yield Promise.FLOOR_KEPT
        before = action.previous_replicas
        if before is not None and action.replicas > before and _is_blind(report):
            yield Promise.NO_GROWTH_WHILE_BLIND
        if action.replicas < action.current_replicas:
            yield from self._of_cut(action.target, result, report)

    def _of_cut(self, target: str, result: ActionResult, report: TurnReport) -> Iterator[Promise]:
        last_seconds = self._cut_seconds.get(target)
        self._cut_seconds[target] = result.now_seconds
        pause_seconds = report.policy.pacing.shed_interval_seconds - _TOLERANCE_SECONDS
        if last_seconds is not None and result.now_seconds - last_seconds < pause_seconds:
            yield Promise.SLOW_SHEDDING


def _is_blind(report: TurnReport) -> bool:
    """Whether the watts of the whole are not known, though a cap needs them."""
    roots = {domain.name for domain in report.policy.domains if domain.parent is None}
    return any(
        one.name in roots and one.cap_watts is not None and one.watts is None
        for one in report.plan.domains
    )
