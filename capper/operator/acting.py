"""Carrying out actions: each is tried once a turn, and what became of it is a value."""

from capper.actuators.workloads import Trouble, WorkloadError, Workloads
from capper.decide.plan import (
    Action,
    Brake,
    EvictReplica,
    PauseScaleOut,
    ReleaseClock,
    ReleasePowerLimit,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetClock,
    SetMaxReplicas,
    SetPowerLimit,
    SetPrice,
    SetShed,
)
from capper.operator.entry import Entry
from capper.operator.gpu_clocks import ClockLocks, carry_out, words_of
from capper.operator.journal import Event
from capper.operator.report import ActionResult, Outcome

RESTORING = (RestoreMaxReplicas, ResumeScaleOut, ReleaseClock, ReleasePowerLimit)
"""Actions on a target that put something back."""


_WORDS = {
    RestoreMaxReplicas: "bound put back",
    PauseScaleOut: "scale-out paused",
    ResumeScaleOut: "scale-out resumed",
    EvictReplica: "a replica evicted",
    ReleaseClock: "clocks released",
    ReleasePowerLimit: "power limit released",
}


class Actor:
    """Carries out actions of any configuration."""

    def __init__(self, workloads: Workloads, clocks: ClockLocks | None) -> None:
        """Act on these."""
        self._workloads = workloads
        self._clocks = clocks

    def workloads_of(self, entry: Entry) -> Workloads:
        """How the targets of a configuration are read and bounded."""
        return entry.served or self._workloads

    async def act(self, entry: Entry, action: Action, *, now_seconds: float) -> ActionResult:
        """Try one action."""
        try:
            await self._carry_out(entry, action)
        except WorkloadError as error:
            if error.trouble is Trouble.GONE and isinstance(action, RESTORING):
                # What is gone needs nothing put back.
                return ActionResult(action=action, outcome=Outcome.APPLIED, now_seconds=now_seconds)
            failed = error.trouble is Trouble.UNAVAILABLE
            return ActionResult(
                action=action,
                outcome=Outcome.FAILED if failed else Outcome.REFUSED,
                sentence=str(error),
                trouble=error.trouble,
                now_seconds=now_seconds,
            )
        return ActionResult(action=action, outcome=Outcome.APPLIED, now_seconds=now_seconds)

    async def _carry_out(self, entry: Entry, action: Action) -> None:
        workloads = self.workloads_of(entry)
        match action:
            case SetMaxReplicas():
                await workloads.set_max_replicas(
                    action.target,
                    action.replicas,
                    original=entry.originals.get(action.target),
                    take_ownership=entry.config.spec.replica_bounds.take_ownership,
                )
            case RestoreMaxReplicas():
                original = entry.originals.get(action.target)
                await workloads.restore_max_replicas(action.target, original)
            case PauseScaleOut():
                await workloads.pause_scale_out(action.target)
            case ResumeScaleOut():
                await workloads.resume_scale_out(action.target)
            case EvictReplica():
                await workloads.evict_replica(action.target, floor=action.floor)
            case SetClock() | ReleaseClock() | SetPowerLimit() | ReleasePowerLimit():
                await carry_out(self._clocks, entry, action)
            case SetPrice() | SetShed() | Brake():
                pass  # They are in force once the board of this turn is published.


def words(action: Action) -> str:
    """The action in a few words, for status and events."""
    match action:
        case SetPrice():
            return f"{action.domain}: price {action.ratio:.2f}"
        case SetShed():
            return f"{action.domain}: refuses {action.level.name.lower()}"
        case Brake():
            return f"{action.domain}: refuses all new work"
        case SetMaxReplicas():
            before = "none" if action.previous_replicas is None else action.previous_replicas
            return f"{action.target}: bound {before} -> {action.replicas}"
        case SetClock() | SetPowerLimit():
            return f"{action.target}: {words_of(action)}"
    return f"{action.target}: {_WORDS[type(action)]}"


def event_of(result: ActionResult) -> Event:
    """What is told of an action. A price moves too often for events of its own to be of use."""
    said = f"{words(result.action)}: {result.sentence or result.action.why.sentence}"
    reason = type(result.action).__name__
    if result.outcome is Outcome.APPLIED:
        return Event("Normal", reason, said)
    if result.outcome is Outcome.RECOMMENDED:
        return Event("Normal", f"Recommend{reason}", said)
    return Event("Warning", f"{reason}{result.outcome.value}", said)
