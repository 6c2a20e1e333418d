"""What can happen on an ext_proc stream, and what can be said on it, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from router.decide.outcome import Pick, RejectionReason


class Phase(Enum):
    """The six parts of an HTTP exchange that Envoy may show; each is answered in kind."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request_body"
    REQUEST_TRAILERS = "request_trailers"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response_body"
    RESPONSE_TRAILERS = "response_trailers"


class BodyMode(Enum):
    """How Envoy sends bodies (processing_mode.proto), by its number on the wire."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4
    GRPC = 5


# Events


class RequestHeaders(NamedTuple):
    """A request begins.

    Attributes:
        method: As sent, for example "POST".
        path: With its query string.
        hints: The headers among hints.HINT_HEADERS that were sent, by name in lower case.
        subset: "ip:port" or "ip" entries the pick is limited to, or None for no limit.
        request_body_mode: As the stream announced it; BUFFERED when it did not.
        response_body_mode: Likewise; NONE when it did not.
        end_of_stream: Nothing follows: the request has no body.
    """

    method: str
    path: str
    hints: Mapping[str, str]
    subset: frozenset[str] | None
    request_body_mode: BodyMode
    response_body_mode: BodyMode
    end_of_stream: bool


class RequestBody(NamedTuple):
    """The body of the request, whole."""

    body: bytes


@dataclass(frozen=True, slots=True)
class RequestTrailers:
    """The request ended with trailers."""


@dataclass(frozen=True, slots=True)
class ResponsePart:
    """A part of the response; the router needs nothing of it but must answer."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Unrecognized:
    """A message without content, or of a kind that this protocol version does not know."""


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream is over, in whatever way: finished, cancelled, broken."""


Event = RequestHeaders | RequestBody | RequestTrailers | ResponsePart | Unrecognized | StreamEnded


# Replies


class Continue(NamedTuple):
    """Go on, unchanged except that a destination set by the client is taken out of the headers."""

    phase: Phase


class Route(NamedTuple):
    """Answer to the request body: send the request to `pick.address`.

    Attributes:
        pick: Where to.
        model: The name asked for; Envoy keeps to its replicas when the picked one fails.
    """

    pick: Pick
    model: str


class Immediate(NamedTuple):
    """Answer the HTTP request here and now.

    Attributes:
        status: HTTP status.
        body: JSON.
        headers: Besides the content type.
        details: For Envoy's access log (RESPONSE_CODE_DETAILS).
        rejection: Why, when it is a refusal.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    details: str
    rejection: RejectionReason | None = None


class End(NamedTuple):
    """Close the stream: in order, or because the peer broke the protocol as `error` says."""

    error: str | None = None


Reply = Continue | Route | Immediate | End
