"""What becomes known of one request between its pick and its end. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from router.decide.outcome import Pick
from router.decide.request_facts import RequestFacts
from router.metering.usage import Usage, UsageScanner

REQUEST_ID_HEADER = "x-request-id"
TRACEPARENT_HEADER = "traceparent"
TENANT_HEADERS = (
    "x-headrace-tenant",
    "x-llm-d-inference-fairness-id",
    "x-gateway-inference-fairness-id",
)
"""Who asks, ours first; then the names that llm-d and the gateways use."""

_CALLER_HEADERS = frozenset({REQUEST_ID_HEADER, TRACEPARENT_HEADER, *TENANT_HEADERS})

_MAX_HEADER_CHARACTERS = 128
_TRACE_ID_PART = 1
_TRACEPARENT_PARTS = 4
_TRACE_ID_CHARACTERS = 32


class ResponseSeen(StrEnum):
    """What of the answer came by."""

    NOTHING = "nothing"
    HEADERS = "headers"
    BODY = "body"
    ACCESS_LOG = "access-log"


class TokensSource(StrEnum):
    """Where token counts come from."""

    RESPONSE = "response"  # the engine's own usage object
    ENGINE_PRORATED = "engine-prorated"  # the engine's rate, shared among requests in flight
    UNKNOWN = "unknown"


class Caller(NamedTuple):
    """Who asked, by headers; all of them optional."""

    request_id: str | None = None
    traceparent: str | None = None
    tenant: str | None = None

    @property
    def trace_id(self) -> str | None:
        """Of the W3C traceparent, when it is one."""
        parts = (self.traceparent or "").split("-")
        whole = len(parts) >= _TRACEPARENT_PARTS
        if not whole or len(parts[_TRACE_ID_PART]) != _TRACE_ID_CHARACTERS:
            return None
        return parts[_TRACE_ID_PART]


NOBODY = Caller()


def read_caller(headers: Mapping[str, str]) -> Caller:
    """Read the headers that say who asks; overlong values are cut, empty ones are none."""
    if _CALLER_HEADERS.isdisjoint(headers):
        return NOBODY
    request_id = headers.get(REQUEST_ID_HEADER, "")[:_MAX_HEADER_CHARACTERS] or None
    traceparent = headers.get(TRACEPARENT_HEADER, "")[:_MAX_HEADER_CHARACTERS] or None
    tenant = None
    for name in TENANT_HEADERS:
        if name in headers and tenant is None:
            tenant = headers[name][:_MAX_HEADER_CHARACTERS] or None
    return Caller(request_id, traceparent, tenant)


class Journey:
    """One request on its way.

    Attributes:
        facts: What was asked.
        pick: What was decided.
        backend: Of the pick.
        picked_seconds: When.
        caller: Who asked.
        status: HTTP status of the answer, or None.
        first_byte_seconds: When response headers came, or None.
        first_token_seconds: When the first bytes of a streamed body came, or None.
        seen: What of the answer came by.
        readable: Whether its body is in no encoding that would have to be undone.
    """

    __slots__ = (
        "_scanner",
        "backend",
        "caller",
        "facts",
        "first_byte_seconds",
        "first_token_seconds",
        "pick",
        "picked_seconds",
        "readable",
        "seen",
        "status",
    )

    def __init__(
        self, facts: RequestFacts, pick: Pick, *, backend: str, picked_seconds: float
    ) -> None:
        """Begin with the decision."""
        self.backend = backend
        self.facts = facts
        self.pick = pick
        self.picked_seconds = picked_seconds
        self.caller = NOBODY
        self.status: int | None = None
        self.first_byte_seconds: float | None = None
        self.first_token_seconds: float | None = None
        self.seen = ResponseSeen.NOTHING
        self.readable = True
        self._scanner: UsageScanner | None = None

    def response_started(self, *, status: int, content_encoding: str, now_seconds: float) -> None:
        """Response headers came. A compressed body is not looked into."""
        self.status = status or None
        self.first_byte_seconds = now_seconds
        self.seen = ResponseSeen.HEADERS
        self.readable = content_encoding in ("", "identity")

    def response_chunk(self, data: bytes, *, now_seconds: float) -> None:
        """A piece of the body came."""
        self.seen = ResponseSeen.BODY
        if not data:
            return
        if self.first_token_seconds is None and self.facts.stream:
            self.first_token_seconds = now_seconds
        if self.readable:
            if self._scanner is None:
                self._scanner = UsageScanner()
            self._scanner.feed(data)

    def logged(self, *, status: int | None, ttfb_seconds: float | None) -> None:
        """The proxy's access log told of the end; what came by here stands."""
        self.status = self.status if status is None else status
        if self.first_byte_seconds is None and ttfb_seconds is not None:
            self.first_byte_seconds = self.picked_seconds + ttfb_seconds
        if self.seen is not ResponseSeen.BODY:
            self.seen = ResponseSeen.ACCESS_LOG

    def usage(self) -> Usage | None:
        """Tokens as the response tells them, so far."""
        return None if self._scanner is None else self._scanner.usage()
