"""One board that is held: what was there before, what is in force, what comes next. Pure."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from capper.clocks.board import FREE, Board, Setting
from capper.clocks.lease import Lease, wanted
from capper.clocks.ramp import Position, Ramp, step


class Do(StrEnum):
    """What is done to a board."""

    LOCK = "lock"
    UNLOCK = "unlock"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to do to a board.

    Attributes:
        uuid: Which.
        do: What.
        value: Hertz of a lock, watts of a limit.
    """

    uuid: str
    do: Do
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The state of one board.

    Attributes:
        board: As last read.
        original_watts: Power limit before the first lease; None: it has none.
        leases: By holder, those that count.
        position: Of its clock, as last set.
        limit_watts: Limit as last set; None: the original.
        known: Whether that is what the board really has; else everything is set anew.
        touched: Whether anything was set, as far as anybody knows.
        present: Whether the board answers.
        drifts: How often something else was found than what was set.
        drifted_seconds: When last; after half an hour it is forgotten.
    """

    board: Board
    original_watts: float | None
    leases: tuple[Lease, ...] = ()
    position: Position = field(default_factory=Position)
    limit_watts: float | None = None
    known: bool = True
    touched: bool = False
    present: bool = True
    drifts: int = 0
    drifted_seconds: float = float("-inf")

    @property
    def goal(self) -> Setting:
        """What all its leases ask for."""
        return wanted(self.leases)

    @property
    def in_force(self) -> Setting:
        """What was set last."""
        return Setting(max_hertz=self.position.hertz, limit_watts=self.limit_watts)

    @property
    def free(self) -> bool:
        """Whether it is as it was before, and nobody asks for anything else."""
        restored = self.known and self.in_force == FREE
        return not self.leases and (restored or not self.touched)

    def with_lease(self, lease: Lease) -> "Holding":
        """With a new or renewed lease."""
        others = tuple(one for one in self.leases if one.holder != lease.holder)
        return replace(self, leases=(*others, lease))

    def without(self, holder: str) -> "Holding":
        """Without the lease of a holder."""
        return replace(self, leases=tuple(one for one in self.leases if one.holder != holder))

    def orders(
        self, ramp: Ramp, *, now_seconds: float, at_once: bool = False
    ) -> tuple[tuple[Order, ...], Position]:
        """(what is to be done now, the clock's position once it is done).

        The clock comes first and the limit, its net, second. A clock that is not known is reset
        or locked again without waiting.
        """
        if not self.present:
            return (), self.position
        goal, uuid = self.goal, self.board.uuid
        position = self._next(goal, ramp, now_seconds=now_seconds, at_once=at_once)
        orders = []
        if position.hertz != self.position.hertz or not self.known:
            if position.hertz is None:
                orders.append(Order(uuid, Do.UNLOCK))
            else:
                orders.append(Order(uuid, Do.LOCK, position.hertz))
        watts = self.original_watts if goal.limit_watts is None else goal.limit_watts
        if watts is not None and (goal.limit_watts != self.limit_watts or not self.known):
            orders.append(Order(uuid, Do.LIMIT, watts))
        return tuple(orders), position

    def _next(self, goal: Setting, ramp: Ramp, *, now_seconds: float, at_once: bool) -> Position:
        if at_once or (not self.known and goal.max_hertz is None):
            return Position(hertz=goal.max_hertz, changed_seconds=now_seconds)
        here = self.position if self.known else Position()
        return step(here, goal.max_hertz, self.board, ramp, now_seconds=now_seconds)


def limit_differs(holding: Holding, limit_watts: float | None) -> bool:
    """Whether a limit that was read is not the one that was set."""
    expected = holding.original_watts if holding.limit_watts is None else holding.limit_watts
    if expected is None or limit_watts is None:
        return False
    return abs(limit_watts - expected) > _LIMIT_TOLERANCE_WATTS


def readings_differ(
    holding: Holding, *, sm_hertz: float | None, limit_watts: float | None
) -> str | None:
    """What a board reads back that was not set, in words; None when all is as it was set.

    A clock may be lower than its lock, and up to a step (15 MHz) higher by rounding.
    """
    uuid, lock = holding.board.uuid, holding.position.hertz
    if lock is not None and sm_hertz is not None and sm_hertz > lock + _CLOCK_TOLERANCE_HERTZ:
        return f"{uuid}: runs at {sm_hertz / 1e6:.0f} MHz under a lock of {lock / 1e6:.0f} MHz."
    if limit_differs(holding, limit_watts):
        expected = holding.original_watts if holding.limit_watts is None else holding.limit_watts
        return f"{uuid}: its power limit reads {limit_watts:.0f} W and was set to {expected:.0f} W."
    return None


_CLOCK_TOLERANCE_HERTZ = 15.5e6
_LIMIT_TOLERANCE_WATTS = 1.0
