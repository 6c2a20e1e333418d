"""What the loop allows each workload: published by reference swap, awaited by those who push."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one workload may have.

    Attributes:
        replicas: Replicas that the cap allows.
        current: Replicas that it has.
        band: Band of its domain, for the reader.
    """

    replicas: int
    current: int
    band: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceBoard:
    """All allowances of one tick of the loop.

    Attributes:
        allowances: (namespace, name of the ScaledObject) -> allowance.
        stale: Those that are capped, too, and of which nothing is known that is new enough.
        expires_seconds: Monotonic time after which nobody may rely on it: the loop has stopped.
    """

    allowances: Mapping[tuple[str, str], Allowance] = field(default_factory=dict)
    stale: frozenset[tuple[str, str]] = frozenset()
    expires_seconds: float = float("-inf")


class AllowanceHolder:
    """One reference, written by the loop and read by the scaler; belongs to one event loop."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self.current = AllowanceBoard()
        self._changed = asyncio.Event()

    def publish(self, board: AllowanceBoard) -> None:
        """Replace the board and wake those who wait when an allowance changed."""
        before = self.current
        changed = (board.allowances, board.stale) != (before.allowances, before.stale)
        self.current = board
        if changed:
            event, self._changed = self._changed, asyncio.Event()
            event.set()

    def next_change(self) -> asyncio.Event:
        """Set by the next publication that changes an allowance."""
        return self._changed
