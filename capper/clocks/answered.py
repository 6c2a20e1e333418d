"""What the agents' answers come to for each target. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from capper.clocks.answers import Outcome
from capper.clocks.targets import TargetLock, owners_of
from fleet.topology import Fleet

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetAnswer:
    """One target.

    Attributes:
        held: Boards that hold what was asked for.
        hertz: The lowest clock that an agent holds or falls to; None: no lock.
        limit_watts: The lowest power limit that one of these boards holds; None: none.
        settled: Whether each of these is where it is to go.
        problems: One sentence for each board or replica that does not.
        refused: Whether all that did not, refused: it will not be better by itself.
    """

    held: int = 0
    hertz: float | None = None
    limit_watts: float | None = None
    settled: bool = False
    problems: tuple[str, ...] = ()
    refused: bool = False


def answer_for(
    lock: TargetLock, fleet: Fleet, replies: Iterable[Any], failures: Iterable[str]
) -> TargetAnswer:
    """What a target got.

    Args:
        lock: What was asked for it.
        fleet: Of the request.
        replies: HoldReply of each agent that answered.
        failures: One sentence for each agent that did not.
    """
    owners = owners_of(lock, fleet)
    boards = [one for reply in replies for one in reply.boards if one.owner in owners]
    held = [one for one in boards if one.outcome == Outcome.HELD]
    problems = [one.sentence for one in boards if one.sentence]
    silent = sorted(set(owners) - {one.owner for one in boards})
    if silent:
        names = ", ".join(silent[:_NAMED]) + (", ..." if len(silent) > _NAMED else "")
        why = " ".join(failures)
        problems.append(f"{lock.ref}: no agent has boards of {names}. {why}".strip())
    if lock.backend is None or not owners:
        problems.append(f"{lock.ref}: the router knows no replicas of it.")
    clocks = [_going_to(one) for one in held]
    return TargetAnswer(
        held=len(held),
        hertz=min((hertz for hertz in clocks if hertz), default=None),
        limit_watts=min((one.limit_watts for one in held if one.limit_watts), default=None),
        settled=bool(held) and all(one.max_clock_hertz == one.goal_clock_hertz for one in held),
        problems=tuple(dict.fromkeys(problems)),
        refused=bool(boards) and all(one.outcome == Outcome.REFUSED for one in boards),
    )


def _going_to(board: Any) -> float:
    """A fall takes half a second, a rise minutes: the lower of where it is and where it goes."""
    there = [hertz for hertz in (board.max_clock_hertz, board.goal_clock_hertz) if hertz]
    return min(there, default=0.0)
