"""How a clock moves: down in at most two steps, up one step at a time. Pure."""

from dataclasses import dataclass

from capper.clocks.board import Board


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """Pace of a board's clock.

    Attributes:
        up_seconds: One step up in this time.
        up_ratio: Size of that step, in parts of the board's range of clocks.
        down_seconds: From the first step of a fall to the second.
        small_ratio: A fall by no more than this part of the range is one step.
    """

    up_seconds: float = 30.0
    up_ratio: float = 0.25
    down_seconds: float = 0.5
    small_ratio: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a clock is.

    Attributes:
        hertz: Lock in force; None: none.
        changed_seconds: Since when.
        halfway: Whether it is the first step of a fall.
    """

    hertz: float | None = None
    changed_seconds: float = float("-inf")
    halfway: bool = False


def step(
    position: Position, goal: float | None, board: Board, ramp: Ramp, *, now_seconds: float
) -> Position:
    """The next position on the way to `goal` (None: no lock); the same while it has to wait."""
    if position.hertz == goal or not board.clocks_hertz:
        return position
    full = board.clocks_hertz[-1]
    here, there = _or(position.hertz, full), _or(goal, full)
    if there < here:
        return _fall(position, goal, board, ramp, now_seconds=now_seconds)
    if now_seconds - position.changed_seconds < ramp.up_seconds:
        return position
    reached = here + ramp.up_ratio * (full - board.clocks_hertz[0])
    if reached >= there:
        return Position(hertz=goal, changed_seconds=now_seconds)
    higher = next(clock for clock in board.clocks_hertz if clock > here)
    return Position(hertz=max(higher, board.at_most(reached)), changed_seconds=now_seconds)


def _fall(
    position: Position, goal: float | None, board: Board, ramp: Ramp, *, now_seconds: float
) -> Position:
    full = board.clocks_hertz[-1]
    here, there = _or(position.hertz, full), _or(goal, full)
    if position.halfway and now_seconds - position.changed_seconds < ramp.down_seconds:
        return position
    small = here - there <= ramp.small_ratio * (full - board.clocks_hertz[0])
    half = max(there, board.at_most(0.5 * (here + there)))
    if position.halfway or small or half == there:
        return Position(hertz=goal, changed_seconds=now_seconds)
    return Position(hertz=half, changed_seconds=now_seconds, halfway=True)


def _or(hertz: float | None, full: float) -> float:
    return full if hertz is None else hertz
