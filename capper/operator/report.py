"""What became of a turn of the loop, for metrics, status, events and admin pages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from capper.actuators.workloads import Trouble
from capper.advice import Advice
from capper.carbon.looks import CarbonLook
from capper.cooling.looks import CoolingLook
from capper.decide.observation import Observation
from capper.decide.plan import Action, Plan
from capper.decide.policy import Policy
from capper.decide.state import State


class Outcome(StrEnum):
    """How an action ended; the words of the API's status."""

    APPLIED = "Applied"
    RECOMMENDED = "Recommended"
    REFUSED = "Refused"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """One action and its end.

    Attributes:
        action: What was decided.
        outcome: Refused: the cluster's rules or owners say no; failed: it could not be reached.
        sentence: Why, when it was not applied.
        trouble: The same for programs.
        now_seconds: Epoch time.
    """

    action: Action
    outcome: Outcome
    sentence: str = ""
    trouble: Trouble | None = None
    now_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReport:
    """One configuration in one turn.

    Attributes:
        name: "namespace/name".
        policy: That was followed.
        observation: What was seen.
        plan: What was decided, after other configurations had their say.
        state: After what was done.
        results: What was done, in order.
        ended: The configuration is gone; this is the last of its reports.
        duration_seconds: Of observing, deciding and acting.
        carbon: What carbon said.
        cooling: What cooling control did.
        advice: What smoothing and vertical autoscaling said.
    """

    name: str
    policy: Policy
    observation: Observation
    plan: Plan
    state: State
    results: tuple[ActionResult, ...] = ()
    ended: bool = False
    duration_seconds: float = 0.0
    carbon: CarbonLook = field(default_factory=CarbonLook)
    cooling: CoolingLook = field(default_factory=CoolingLook)
    advice: Advice = field(default_factory=Advice)


Listener = Callable[[TurnReport], None]
"""Is told each report in the event loop; must neither block nor raise."""
