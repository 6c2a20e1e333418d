"""The states and outcomes of an ext_proc stream, and what is said of events that break it. Pure."""

from enum import StrEnum

from router.decide.request_facts import Api, api_of_path
from router.extproc.events import BodyMode, Event, RequestBody, RequestHeaders

SERVED_BODY_MODES = frozenset({BodyMode.NONE, BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED})
"""How request bodies may come."""

_ROUTED_METHOD = "POST"


class State(StrEnum):
    """What has been seen and said on the stream."""

    AWAITING_HEADERS = "awaiting_headers"
    AWAITING_BODY = "awaiting_body"  # headers are answered, the body will come whole
    COLLECTING = "collecting"  # the answer to the headers is held, the body comes in parts
    DECIDING = "deciding"  # the request is complete and waits for its decision
    ROUTED = "routed"  # a ticket is held
    PASSED = "passed"  # goes on without a ticket
    CLOSED = "closed"


class StreamOutcome(StrEnum):
    """What became of a stream, for metrics."""

    ABANDONED = "abandoned"  # ended before anything was decided
    ROUTED = "routed"
    PASSED = "passed"
    ANSWERED = "answered"  # models and health, answered here
    REJECTED = "rejected"
    PROTOCOL_ERROR = "protocol_error"
    FAILED = "failed"  # a defect of ours; set by the shell


def may_name_a_model(event: RequestHeaders, mode: BodyMode) -> bool:
    """Whether a body is to be read; an empty one only where OpenAI's API requires one."""
    if event.method != _ROUTED_METHOD or mode is BodyMode.NONE:
        return False
    return not event.end_of_stream or api_of_path(event.path) is not Api.OTHER


def wrong_mode(mode: BodyMode) -> str:
    """What is wrong with the announced mode; taken for granted it would break bodies."""
    return f"request_body_mode is {mode.name}, must be FULL_DUPLEX_STREAMED, BUFFERED or NONE"


def complaint(state: State, event: Event) -> str:
    """What is wrong with an event, for the peer's operator."""
    if state is State.AWAITING_HEADERS and isinstance(event, RequestBody):
        return "a request body came without request headers: request_header_mode must be SEND"
    return f"{type(event).__name__} is not expected in state {state.value}"
