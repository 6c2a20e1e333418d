"""Tells admission of room that the ledger frees. Pure."""

from collections.abc import Callable

from router.decide.ledger import LedgerListener, Ticket


class RoomListener:
    """A listener of the ledger that passes everything on to another."""

    __slots__ = ("_next", "_room_may_be")

    def __init__(self, room_may_be: Callable[[], None], listener: LedgerListener | None) -> None:
        """Call `room_may_be` when a request ends or moves, after `listener` was told."""
        self._room_may_be = room_may_be
        self._next = listener

    def entered(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request began: no room comes of that."""
        if self._next is not None:
            self._next.entered(ticket, now_seconds=now_seconds)

    def moved(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request left one replica for another."""
        if self._next is not None:
            self._next.moved(ticket, now_seconds=now_seconds)
        self._room_may_be()

    def settled(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request ended."""
        if self._next is not None:
            self._next.settled(ticket, now_seconds=now_seconds)
        self._room_may_be()
