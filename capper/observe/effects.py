"""How long a decision takes to show in what is observed. Pure.

A bound shows when no more replicas run than it allows, or, where it allows more than run, when the
object holds it. What is done to a domain that is over its cap shows when it no longer is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from capper.decide.observation import TargetReading
from capper.decide.plan import (
    Action,
    Brake,
    PauseScaleOut,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetClock,
    SetMaxReplicas,
    SetPrice,
    SetShed,
)
from capper.operator.report import Outcome, TurnReport

GIVEN_UP_SECONDS = 3600.0
_OfDomain = SetPrice | SetShed | Brake


@dataclass(frozen=True, slots=True)
class Effect:
    """One action that has shown, or never did.

    Attributes:
        action: Name of its type.
        seconds: From its decision to its effect; None: given up.
    """

    action: str
    seconds: float | None


@dataclass(slots=True)
class Effects:
    """The actions of one configuration that have not shown yet; the newest of each kind."""

    _waiting: dict[tuple[str, str], tuple[Action, float]] = field(default_factory=dict)

    def note(self, report: TurnReport, *, now_seconds: float) -> tuple[Effect, ...]:
        """What has shown in this turn; then its own actions begin to wait.

        Args:
            report: The turn.
            now_seconds: Epoch time of the observation.
        """
        found = [*self._shown(report, now_seconds)]
        over = {
            one.name
            for one in report.plan.domains
            if None not in (one.watts, one.cap_watts) and (one.watts or 0) > (one.cap_watts or 0)
        }
        for result in report.results:
            if result.outcome is not Outcome.APPLIED:
                continue
            action = result.action
            if isinstance(action, _OfDomain):
                if action.domain in over:  # several steps of one excursion count from the first
                    key = (type(action).__name__, action.domain)
                    self._waiting.setdefault(key, (action, result.now_seconds))
            elif isinstance(action, _SHOWN_BY):
                # A bound takes the place of every other wish about the same replicas.
                kind = "bound" if isinstance(action, _BOUNDS) else type(action).__name__
                self._waiting[kind, action.target] = (action, result.now_seconds)
        return tuple(found)

    def _shown(self, report: TurnReport, now_seconds: float) -> Iterator[Effect]:
        for key, (action, since_seconds) in [*self._waiting.items()]:
            seconds = max(0.0, now_seconds - since_seconds)
            if _shows(action, report):
                del self._waiting[key]
                yield Effect(type(action).__name__, seconds)
            elif seconds > GIVEN_UP_SECONDS:
                del self._waiting[key]
                yield Effect(type(action).__name__, None)


_BOUNDS = SetMaxReplicas | RestoreMaxReplicas
_SHOWN_BY = SetMaxReplicas | RestoreMaxReplicas | PauseScaleOut | ResumeScaleOut | SetClock


def _shows(action: Action, report: TurnReport) -> bool:
    if isinstance(action, _OfDomain):
        return any(
            one.name == action.domain
            and one.watts is not None
            and one.cap_watts is not None
            and one.watts <= one.cap_watts
            for one in report.plan.domains
        )
    reading = report.observation.targets.get(action.target)
    return reading is not None and _shows_in(action, reading)


def _shows_in(action: Action, reading: TargetReading) -> bool:
    match action:
        case SetMaxReplicas() if action.replicas < action.current_replicas:
            current = reading.current_replicas
            return current is not None and current <= action.replicas
        case SetMaxReplicas() | RestoreMaxReplicas():
            return reading.max_replicas == action.replicas
        case PauseScaleOut():
            return reading.scale_out_paused is True
        case ResumeScaleOut():
            return reading.scale_out_paused is False
        case SetClock():
            return reading.clock_hertz is not None and reading.clock_hertz <= action.hertz
    return False
