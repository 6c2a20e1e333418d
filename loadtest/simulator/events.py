"""The queue of what is to come, in virtual time."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

Handler = Callable[[Any], None]


class Events:
    """Handlers that are called in order of their times, and of their entry where times are equal.

    Attributes:
        now_seconds: Virtual time: that of the event under way.
        arriving: Whether requests may still arrive.
        unfinished: Requests on replicas.
    """

    __slots__ = ("_heap", "_last_seconds", "_order", "arriving", "now_seconds", "unfinished")

    def __init__(self, *, last_seconds: float = 0.0) -> None:
        """Start at 0; what repeats goes on until `last_seconds` at least."""
        self._last_seconds = last_seconds
        self._heap: list[tuple[float, int, Handler, Any]] = []
        self._order = itertools.count()
        self.now_seconds = 0.0
        self.arriving = True
        self.unfinished = 0

    def at(self, at_seconds: float, handler: Handler, subject: Any = None) -> None:
        """Call `handler(subject)` at a time, which is not in the past."""
        heapq.heappush(self._heap, (at_seconds, next(self._order), handler, subject))

    def again(self, after_seconds: float, handler: Handler, subject: Any = None) -> None:
        """The same after a while, as long as anything is to come: for what repeats."""
        self.again_at(self.now_seconds + after_seconds, handler, subject)

    def again_at(self, at_seconds: float, handler: Handler, subject: Any = None) -> None:
        """As `again`, at a time of its own; a time in the past is now."""
        if self.arriving or self.unfinished or at_seconds <= self._last_seconds:
            self.at(max(at_seconds, self.now_seconds), handler, subject)

    def run(self) -> None:
        """Until nothing is left."""
        heap, pop = self._heap, heapq.heappop
        while heap:
            self.now_seconds, _, handler, subject = pop(heap)
            handler(subject)
