"""Requests whose end only the proxy's access log tells. Pure.

A gateway that shows response headers and no body closes the stream right after them (DESIGN
section 5): the answer is still being written. With an access-log receiver configured such a
request stays in flight until its log entry comes; without one, stream end is all there is. Should
the entry be lost, a deadline ends it. Whoever is first settles, the other changes nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

from router.decide.ledger import Ticket
from router.metering.journey import ResponseSeen
from router.metering.recorder import Recorder


class LogEntry(NamedTuple):
    """What an access-log entry says of a finished request.

    Attributes:
        request_id: The x-request-id.
        status: HTTP status, or None.
        upstream_address: Who served, as "ip:port", or None.
        ttfb_seconds: From the request's start at the proxy to the first byte of the answer.
    """

    request_id: str
    status: int | None
    upstream_address: str | None
    ttfb_seconds: float | None


class Completions:
    """Holds back settlements that would come too early.

    Attributes:
        matched: Log entries that ended a request.
        unmatched: Log entries of requests that had ended, or were never seen.
        expired: Requests that the deadline ended.
    """

    def __init__(
        self,
        recorder: Recorder,
        settle: Callable[[Ticket, float], bool],
        serve: Callable[[Ticket, str, float], None],
        *,
        limit_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            recorder: Knows what of the answer has come by.
            settle: Ends a request; False when it had ended.
            serve: Told who really served.
            limit_seconds: How long an entry may be awaited.
        """
        self._recorder = recorder
        self._settle = settle
        self._serve = serve
        self._limit_seconds = limit_seconds
        self._awaited: dict[Ticket, float] = {}  # -> deadline; in the order of deadlines
        self.matched = self.unmatched = self.expired = 0

    @property
    def awaited(self) -> int:
        """Requests that wait for their log entry."""
        return len(self._awaited)

    def holds(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Asked at stream end: whether the request's end is still to come."""
        journey = self._recorder.journey(ticket)
        if journey is None or journey.seen is not ResponseSeen.HEADERS:
            return False
        if journey.caller.request_id is None:
            return False  # no entry could be matched
        self._awaited.setdefault(ticket, now_seconds + self._limit_seconds)
        return True

    def logged(self, entry: LogEntry, *, now_seconds: float) -> bool:
        """A log entry came; whether it ended a request."""
        ticket = self._recorder.ticket_of(entry.request_id)
        journey = None if ticket is None else self._recorder.journey(ticket)
        if ticket is None or journey is None:
            self.unmatched += 1
            return False
        journey.logged(status=entry.status, ttfb_seconds=entry.ttfb_seconds)
        if entry.upstream_address is not None:
            self._serve(ticket, entry.upstream_address, now_seconds)
        self._awaited.pop(ticket, None)
        self.matched += 1
        return self._settle(ticket, now_seconds)

    def expire(self, *, now_seconds: float) -> None:
        """End what has waited too long; called now and then."""
        while self._awaited:
            ticket, deadline_seconds = next(iter(self._awaited.items()))
            if deadline_seconds > now_seconds:
                return
            del self._awaited[ticket]
            self.expired += 1
            self._settle(ticket, now_seconds)
