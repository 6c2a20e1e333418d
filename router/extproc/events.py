"""What can happen on an ext_proc stream, and what can be said on it, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

from router.decide.outcome import Pick, Rejection, RejectionReason
from router.extproc.decider import Waiting


class Phase(StrEnum):
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
        hints: The headers among hints.READ_HEADERS that were sent, by name in lower case.
        subset: "ip:port" or "ip" entries the pick is limited to, or None for no limit.
        request_body_mode: As the stream announced it, or None.
        response_body_mode: Likewise.
        end_of_stream: Nothing follows: the request has no body.
    """

    method: str
    path: str
    hints: Mapping[str, str]
    subset: frozenset[str] | None
    request_body_mode: BodyMode | None
    response_body_mode: BodyMode | None
    end_of_stream: bool


class RequestBody(NamedTuple):
    """The body of the request: whole, or a part of it when bodies are streamed."""

    body: bytes
    end_of_stream: bool = True


@dataclass(frozen=True, slots=True)
class RequestTrailers:
    """The request ended with trailers."""


class Decided(NamedTuple):
    """What was waited for is decided."""

    result: Pick | Rejection


class ResponseHeaders(NamedTuple):
    """A response begins.

    Attributes:
        status: HTTP status, 0 when it was not told.
        served: The endpoint that serves the request, as the data plane says, or None.
        content_type: As sent, empty without.
        content_encoding: Likewise.
        end_of_stream: Nothing follows.
    """

    status: int = 0
    served: str | None = None
    content_type: str = ""
    content_encoding: str = ""
    end_of_stream: bool = False


class ResponseBody(NamedTuple):
    """A part of the response's body, or all of it."""

    body: bytes = b""
    end_of_stream: bool = False


@dataclass(frozen=True, slots=True)
class ResponseTrailers:
    """The response ended with trailers."""


@dataclass(frozen=True, slots=True)
class Unrecognized:
    """A message without content, or of a kind that this protocol version does not know."""


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream is over, in whatever way: finished, cancelled, broken."""


Event = (
    RequestHeaders
    | RequestBody
    | RequestTrailers
    | Decided
    | ResponseHeaders
    | ResponseBody
    | ResponseTrailers
    | Unrecognized
    | StreamEnded
)


# Replies

Metadata = Mapping[str, str | float]


class Continue(NamedTuple):
    """Go on, unchanged except that a destination set by the client is taken out of the headers.

    Attributes:
        phase: What is answered.
        metadata: For Envoy's access log, or None.
    """

    phase: Phase
    metadata: Metadata | None = None


class Route(NamedTuple):
    """Send the request to one of `endpoints`, the first that can be reached.

    Attributes:
        endpoints: "ip:port" each, best first.
        phase: What is answered: the headers, or a whole body.
        model: For a fallback that must find the same model; None when none was named.
        pick: The decision, when one was made.
        body: Replaces the whole body that is answered, or None.
        content_length: Of the rewritten body, which may follow in chunks; None when unchanged.
    """

    endpoints: tuple[str, ...]
    phase: Phase
    model: str | None = None
    pick: Pick | None = None
    body: bytes | None = None
    content_length: int | None = None


class Chunk(NamedTuple):
    """A part of a body, sent on where bodies are streamed in full duplex.

    Attributes:
        phase: What is answered.
        body: A view of what came, where it is a part of that; it is copied when it is serialized.
        end_of_stream: Nothing follows.
        metadata: For Envoy's access log, or None.
    """

    phase: Phase
    body: bytes | memoryview
    end_of_stream: bool
    metadata: Metadata | None = None


class Await(NamedTuple):
    """Send nothing yet: ask again with Decided once this is decided."""

    waiting: Waiting


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


Reply = Continue | Route | Chunk | Await | Immediate | End
