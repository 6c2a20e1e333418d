"""What the agent is asked to hold, and what it answers. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from capper.clocks.board import Setting
from capper.clocks.holding import Holding
from capper.clocks.lease import OnExpiry


class Outcome(StrEnum):
    """What became of a claim on a board."""

    HELD = "held"
    REFUSED = "refused"  # it will not be better without a change
    FAILED = "failed"  # it may be better the next time


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardClaim:
    """What one board is to be held to.

    Attributes:
        uuid: Which.
        setting: To what.
        lease_seconds: For how long.
        on_expiry: What then.
        safe_limit_watts: Power limit of HoldSafeLimit.
        mig_declared: Whether it may be set though it is cut into MIG instances.
    """

    uuid: str
    setting: Setting
    lease_seconds: float
    on_expiry: OnExpiry = OnExpiry.RESTORE
    safe_limit_watts: float | None = None
    mig_declared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardAnswer:
    """What became of it.

    Attributes:
        uuid: Which.
        outcome: Held, refused or failed.
        sentence: Why not, or what is not as it should be.
        max_hertz: Lock in force; None: none.
        goal_hertz: Lock that the ramp leads to.
        limit_watts: Power limit in force.
    """

    uuid: str
    outcome: Outcome
    sentence: str = ""
    max_hertz: float | None = None
    goal_hertz: float | None = None
    limit_watts: float | None = None


def answer_of(holding: Holding, sentence: str, limits: tuple[str, ...]) -> BoardAnswer:
    """The answer for a board with a lease; `limits` says what it cannot do of the wish."""
    works = holding.known and holding.present
    watts = holding.limit_watts
    return BoardAnswer(
        uuid=holding.board.uuid,
        outcome=Outcome.HELD if works else Outcome.FAILED,
        sentence=" ".join(limits) if works else sentence,
        max_hertz=holding.position.hertz,
        goal_hertz=holding.goal.max_hertz,
        limit_watts=holding.original_watts if watts is None else watts,
    )
