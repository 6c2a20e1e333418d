"""One ext_proc stream as a state machine without I/O, clock or randomness.

Events go in, replies come out; `Session._LEGAL` says which event may come in which state. The end
of the stream is the end of the HTTP request: whatever came before, it settles the pick's ticket.

A reply belongs to the event it answers only by order: `receive` may return none, one or several.
Request bodies come whole (BUFFERED). FULL_DUPLEX_STREAMED, where the answer to the headers is held
until the body is complete, needs a new state between the two and its own replies, nothing else.
"""

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, ClassVar

from router.decide.outcome import Rejection, RejectionReason
from router.decide.request_facts import (
    NO_HINTS,
    Api,
    BadRequest,
    RequestHints,
    api_of_path,
    read_request,
)
from router.extproc.answers import local_answer, rejection_answer
from router.extproc.decider import Decider
from router.extproc.events import (
    BodyMode,
    Continue,
    End,
    Event,
    Immediate,
    Phase,
    Reply,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponsePart,
    Route,
    StreamEnded,
)
from router.extproc.hints import read_hints

if TYPE_CHECKING:
    from router.decide.ledger import Ticket

Replies = tuple[Reply, ...]


class State(Enum):
    """What has been seen and said on the stream."""

    AWAITING_HEADERS = "awaiting_headers"
    AWAITING_BODY = "awaiting_body"
    ROUTED = "routed"  # a ticket is held
    PASSED = "passed"  # goes on without a pick; Envoy's fallback chooses
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


_CONTINUE: Mapping[Phase, Replies] = {phase: (Continue(phase),) for phase in Phase}
_NOTHING: Replies = ()
_END = End()
_REQUEST_BODY_MODES = frozenset({BodyMode.NONE, BodyMode.BUFFERED})
_LOCAL_METHODS = frozenset({"GET", "HEAD"})
_ROUTED_METHOD = "POST"


class Session:
    """The state of one stream.

    Attributes:
        state: Where it stands.
        outcome: What became of it so far; final once the state is CLOSED.
    """

    __slots__ = (
        "_created_epoch_seconds",
        "_decider",
        "_hints",
        "_path",
        "_ticket",
        "outcome",
        "state",
    )

    def __init__(self, decider: Decider, *, created_epoch_seconds: int) -> None:
        """Begin a stream.

        Args:
            decider: Asked once per routed request.
            created_epoch_seconds: Creation time told of models.
        """
        self.state = State.AWAITING_HEADERS
        self.outcome = StreamOutcome.ABANDONED
        self._decider = decider
        self._created_epoch_seconds = created_epoch_seconds
        self._path = ""
        self._hints: RequestHints = NO_HINTS
        self._ticket: Ticket | None = None

    def receive(self, event: Event, *, now_seconds: float, draw: float) -> Replies:
        """Take an event and return what is to be sent, in order; nothing once closed.

        Args:
            event: What happened.
            now_seconds: Monotonic time.
            draw: Uniform in [0, 1), for the decider.
        """
        if self.state is State.CLOSED:
            return _NOTHING
        rule = self._LEGAL.get((self.state, type(event)))
        if rule is None:
            return self._break(_complaint(self.state, event), now_seconds)
        return rule(self, event, now_seconds, draw)

    # Rules: one per legal pair of state and event

    def _begin(self, event: RequestHeaders, now_seconds: float, draw: float) -> Replies:
        wrong_mode = _wrong_mode(event)
        if wrong_mode is not None:
            return self._break(wrong_mode, now_seconds)
        if event.method in _LOCAL_METHODS:
            return self._begin_local(event)
        if _may_name_a_model(event):
            return self._begin_routed(event, now_seconds, draw)
        return self._pass(Phase.REQUEST_HEADERS)

    def _begin_local(self, event: RequestHeaders) -> Replies:
        answer = local_answer(
            event.path,
            self._decider.models(),
            created_epoch_seconds=self._created_epoch_seconds,
        )
        return self._pass(Phase.REQUEST_HEADERS) if answer is None else self._answer(answer)

    def _begin_routed(self, event: RequestHeaders, now_seconds: float, draw: float) -> Replies:
        hints = read_hints(event.hints, event.subset)
        if isinstance(hints, Rejection):
            return self._answer(rejection_answer(hints))
        self._path, self._hints = event.path, hints
        if event.end_of_stream:
            return self._route(b"", now_seconds, draw)
        self.state = State.AWAITING_BODY
        return _CONTINUE[Phase.REQUEST_HEADERS]

    def _take_body(self, event: RequestBody, now_seconds: float, draw: float) -> Replies:
        return self._route(event.body, now_seconds, draw)

    def _take_trailers_for_body(
        self, _event: RequestTrailers, now_seconds: float, draw: float
    ) -> Replies:
        """Trailers came first: the body is empty."""
        return self._route(b"", now_seconds, draw)

    def _pass_body(self, _event: RequestBody, _now_seconds: float, _draw: float) -> Replies:
        return _CONTINUE[Phase.REQUEST_BODY]

    def _pass_trailers(self, _event: RequestTrailers, _now_seconds: float, _draw: float) -> Replies:
        return _CONTINUE[Phase.REQUEST_TRAILERS]

    def _pass_response(self, event: ResponsePart, _now_seconds: float, _draw: float) -> Replies:
        return _CONTINUE[event.phase]

    def _pass_early_response(
        self, event: ResponsePart, _now_seconds: float, _draw: float
    ) -> Replies:
        """Envoy itself answered before the request was complete: nothing is left to route."""
        return self._pass(event.phase)

    def _finish(self, _event: StreamEnded, now_seconds: float, _draw: float) -> Replies:
        self._close(now_seconds)
        return _NOTHING

    # What rules are made of

    def _route(self, body: bytes, now_seconds: float, draw: float) -> Replies:
        facts = read_request(self._path, body, self._hints)
        if isinstance(facts, BadRequest):
            refusal = Rejection(
                RejectionReason.BAD_REQUEST, facts.message, param=facts.param, code=facts.code
            )
            return self._answer(rejection_answer(refusal))
        pick = self._decider.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(pick, Rejection):
            return self._answer(rejection_answer(pick))
        self._ticket = pick.ticket
        self.state, self.outcome = State.ROUTED, StreamOutcome.ROUTED
        return (Route(pick, facts.model),)

    def _pass(self, phase: Phase) -> Replies:
        self.state, self.outcome = State.PASSED, StreamOutcome.PASSED
        return _CONTINUE[phase]

    def _answer(self, answer: Immediate) -> Replies:
        """An answer ends the HTTP request, and with it the stream; no ticket is held yet."""
        self.state = State.CLOSED
        self.outcome = (
            StreamOutcome.ANSWERED if answer.rejection is None else StreamOutcome.REJECTED
        )
        return (answer, _END)

    def _break(self, error: str, now_seconds: float) -> Replies:
        self.outcome = StreamOutcome.PROTOCOL_ERROR
        self._close(now_seconds)
        return (End(error),)

    def _close(self, now_seconds: float) -> None:
        self.state = State.CLOSED
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._decider.settle(ticket, now_seconds=now_seconds)

    _LEGAL: ClassVar[Mapping[tuple[State, type[Event]], Callable[..., Replies]]] = {
        (State.AWAITING_HEADERS, RequestHeaders): _begin,
        (State.AWAITING_HEADERS, ResponsePart): _pass_early_response,
        (State.AWAITING_HEADERS, StreamEnded): _finish,
        (State.AWAITING_BODY, RequestBody): _take_body,
        (State.AWAITING_BODY, RequestTrailers): _take_trailers_for_body,
        (State.AWAITING_BODY, ResponsePart): _pass_early_response,
        (State.AWAITING_BODY, StreamEnded): _finish,
        (State.ROUTED, RequestTrailers): _pass_trailers,
        (State.ROUTED, ResponsePart): _pass_response,
        (State.ROUTED, StreamEnded): _finish,
        (State.PASSED, RequestBody): _pass_body,
        (State.PASSED, RequestTrailers): _pass_trailers,
        (State.PASSED, ResponsePart): _pass_response,
        (State.PASSED, StreamEnded): _finish,
    }
    """All legal pairs of an open stream; any other ends it with a sentence to the peer."""


def _may_name_a_model(event: RequestHeaders) -> bool:
    """Whether a body is to be read; an empty one only where OpenAI's API requires one."""
    if event.method != _ROUTED_METHOD or event.request_body_mode is BodyMode.NONE:
        return False
    return not event.end_of_stream or api_of_path(event.path) is not Api.OTHER


def _wrong_mode(event: RequestHeaders) -> str | None:
    """What is wrong with the announced modes; taken for granted they would break bodies."""
    if event.request_body_mode not in _REQUEST_BODY_MODES:
        return f"request_body_mode is {event.request_body_mode.name}, must be BUFFERED or NONE"
    if event.response_body_mode is BodyMode.FULL_DUPLEX_STREAMED:
        return "response_body_mode is FULL_DUPLEX_STREAMED, must be NONE, STREAMED or BUFFERED"
    return None


def _complaint(state: State, event: Event) -> str:
    if state is State.AWAITING_HEADERS and isinstance(event, RequestBody):
        return "a request body came without request headers: request_header_mode must be SEND"
    return f"{type(event).__name__} is not expected in state {state.value}"
