"""Access-log entries on their way to the worker whose request they end. Pure."""

from typing import Protocol

from router.metering.completions import LogEntry


class Crew(Protocol):
    """Whoever hands an entry to all workers."""

    def logged(self, entry: LogEntry) -> None:
        """Tell all."""
        ...


class LogForwarder:
    """Takes what the receiver gets (router.metering.als.Completer)."""

    def __init__(self, crew: Crew) -> None:
        """Hand entries to `crew`."""
        self._crew = crew
        self._entries = self._marked = self._unmatched = 0

    def logged(self, entry: LogEntry, *, now_seconds: float) -> bool:  # noqa: ARG002 - workers read their own clocks
        """Hand one on; whether it ends a request is not known here."""
        self._entries += 1
        self._crew.logged(entry)
        return False

    def mark(self) -> None:
        """What is asked now is answered after all entries so far: messages keep their order."""
        self._marked = self._entries

    def unmatched(self, matched: int) -> int:
        """Entries up to the mark that ended no request, `matched` being those that did."""
        self._unmatched = max(self._unmatched, self._marked - matched)
        return self._unmatched
