"""One ext_proc stream as a state machine without I/O, clock or randomness.

Events go in, replies come out; `Session._LEGAL` says which event may come in which state. The end
of the stream is the end of the HTTP request: whatever came before, it settles the pick's ticket.

Request bodies come whole (BUFFERED: the headers are answered first, the pick goes with the body) or
in parts (FULL_DUPLEX_STREAMED: the answer to the headers is held until the body is complete, then
pick and body follow as one burst). A reply belongs to the event it answers only by order: `receive`
may return none, one or several.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

from router.decide.outcome import Pick, Rejection, RejectionReason
from router.decide.request_facts import (
    NO_HINTS,
    BadRequest,
    RequestHints,
    read_request,
)
from router.extproc.answers import local_answer, rejection_answer
from router.extproc.bodies import chunks, with_model
from router.extproc.decider import Decider, Waiting
from router.extproc.events import (
    Await,
    BodyMode,
    Decided,
    End,
    Event,
    Immediate,
    Phase,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Route,
    StreamEnded,
)
from router.extproc.exchange import NO_OBSERVER, ExchangeObserver
from router.extproc.hints import read_hints, rewritten_model
from router.extproc.response import CONTINUE, Replies, ResponseSide
from router.extproc.session_settings import SessionSettings
from router.extproc.states import (
    SERVED_BODY_MODES,
    State,
    StreamOutcome,
    complaint,
    may_name_a_model,
    wrong_mode,
)

_DEFAULTS = SessionSettings()
_NOTHING: Replies = ()
_END = End()
_LOCAL_METHODS = frozenset({"GET", "HEAD"})


class Session:
    """The state of one stream.

    Attributes:
        state: Where it stands.
        outcome: What became of it so far; final once the state is CLOSED.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_created_epoch_seconds",
        "_decider",
        "_duplex",
        "_ended_by_trailers",
        "_headers",
        "_hints",
        "_model",
        "_observer",
        "_path",
        "_request_over",
        "_response",
        "_settings",
        "_target",
        "_trailers_unanswered",
        "_waiting",
        "outcome",
        "state",
    )

    def __init__(
        self,
        decider: Decider,
        *,
        created_epoch_seconds: int,
        settings: SessionSettings = _DEFAULTS,
        observer: ExchangeObserver = NO_OBSERVER,
    ) -> None:
        """Begin a stream.

        Args:
            decider: Asked once per routed request.
            created_epoch_seconds: Creation time told of models.
            settings: How it is served.
            observer: Told of routed requests and their responses.
        """
        self.state = State.AWAITING_HEADERS
        self.outcome = StreamOutcome.ABANDONED
        self._decider = decider
        self._created_epoch_seconds = created_epoch_seconds
        self._settings = settings
        self._observer = observer
        self._path = ""
        self._headers: Mapping[str, str] = {}
        self._hints: RequestHints = NO_HINTS
        self._duplex = False
        self._response = ResponseSide(decider, observer)
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._ended_by_trailers = False
        self._trailers_unanswered = False
        self._request_over = False
        self._model = self._target = ""
        self._waiting: Waiting | None = None

    def receive(self, event: Event, *, now_seconds: float, draw: float) -> Replies:
        """Take an event and return what is to be sent, in order; nothing once closed.

        Args:
            event: What happened.
            now_seconds: Monotonic time.
            draw: Uniform in [0, 1), for the decider.
        """
        if self.state is State.CLOSED:
            return _NOTHING
        if isinstance(event, StreamEnded):
            self._close(now_seconds)
            return _NOTHING
        rule = self._LEGAL.get((self.state, type(event)))
        if rule is None:
            return self._break(complaint(self.state, event), now_seconds)
        return rule(self, event, now_seconds, draw)

    # Rules for the request: one per legal pair of state and event

    def _begin(self, event: RequestHeaders, now_seconds: float, draw: float) -> Replies:
        if not self._settings.subset_hints:
            event = event._replace(subset=None)
        mode = event.request_body_mode or self._settings.unannounced
        if mode not in SERVED_BODY_MODES:
            return self._break(wrong_mode(mode), now_seconds)
        self._duplex = mode is BodyMode.FULL_DUPLEX_STREAMED
        self._response.body_mode = event.response_body_mode or (
            self._settings.unannounced if self._duplex else BodyMode.NONE
        )
        self._headers = event.hints
        if event.method in _LOCAL_METHODS:
            answer = local_answer(
                event.path,
                self._decider.models(),
                created_epoch_seconds=self._created_epoch_seconds,
            )
            if answer is not None:
                return self._answer(answer)
        if may_name_a_model(event, mode):
            return self._begin_routed(event, now_seconds, draw)
        return self._begin_passed(event, now_seconds, draw)

    def _begin_routed(self, event: RequestHeaders, now_seconds: float, draw: float) -> Replies:
        hints = read_hints(event.hints, event.subset)
        if isinstance(hints, Rejection):
            return self._answer(rejection_answer(hints))
        self._path, self._hints = event.path, hints
        if event.end_of_stream:
            return self._decide(b"", now_seconds, draw)
        if self._duplex:
            self.state = State.COLLECTING
            return _NOTHING
        self.state = State.AWAITING_BODY
        return CONTINUE[Phase.REQUEST_HEADERS]

    def _begin_passed(self, event: RequestHeaders, now_seconds: float, draw: float) -> Replies:
        """No prompt to price: some replica that is there."""
        hints = NO_HINTS._replace(subset=event.subset)
        endpoints = self._decider.pass_on(hints, now_seconds=now_seconds, draw=draw)
        if isinstance(endpoints, Rejection):
            return self._answer(rejection_answer(endpoints))
        self._pass()
        self._request_over = event.end_of_stream
        return (Route(endpoints, Phase.REQUEST_HEADERS),)

    def _take_body(self, event: RequestBody, now_seconds: float, draw: float) -> Replies:
        return self._decide(event.body, now_seconds, draw)

    def _collect(self, event: RequestBody, now_seconds: float, draw: float) -> Replies:
        self._body_bytes += len(event.body)
        limit_bytes = self._settings.max_body_bytes
        if self._body_bytes > limit_bytes:
            message = f"The request body is larger than the limit of {limit_bytes} bytes."
            return self._answer(rejection_answer(Rejection(RejectionReason.TOO_LARGE, message)))
        self._body.append(event.body)
        if not event.end_of_stream:
            return _NOTHING
        return self._decide(self._collected(), now_seconds, draw)

    def _collect_trailers(
        self, _event: RequestTrailers, now_seconds: float, draw: float
    ) -> Replies:
        self._ended_by_trailers = self._trailers_unanswered = True
        return self._decide(self._collected(), now_seconds, draw)

    def _take_trailers_for_body(
        self, _event: RequestTrailers, now_seconds: float, draw: float
    ) -> Replies:
        """Trailers came first: the body is empty."""
        return self._decide(b"", now_seconds, draw)

    def _take_decision(self, event: Decided, _now_seconds: float, _draw: float) -> Replies:
        self._waiting = None
        if isinstance(event.result, Rejection):
            return self._answer(rejection_answer(event.result))
        return self._release(event.result, self._collected())

    def _pass_body(self, event: RequestBody, _now_seconds: float, _draw: float) -> Replies:
        if not self._duplex:
            return CONTINUE[Phase.REQUEST_BODY]
        if self._request_over:
            return _NOTHING
        self._request_over = event.end_of_stream
        phase = Phase.REQUEST_BODY
        return tuple(chunks(phase, event.body, end_of_stream=event.end_of_stream))

    def _ignore_body(self, event: RequestBody, now_seconds: float, _draw: float) -> Replies:
        """Envoy may say twice that a streamed body has ended (GIE issue 2988)."""
        if self._duplex:
            return _NOTHING
        return self._break(complaint(self.state, event), now_seconds)

    def _hold_trailers(self, _event: RequestTrailers, _now_seconds: float, _draw: float) -> Replies:
        self._trailers_unanswered = True
        return _NOTHING

    def _pass_trailers(self, _event: RequestTrailers, _now_seconds: float, _draw: float) -> Replies:
        return CONTINUE[Phase.REQUEST_TRAILERS]

    # Rules for the response

    def _respond(self, event: ResponseHeaders, now_seconds: float, _draw: float) -> Replies:
        return self._response.headers(event, now_seconds)

    def _respond_body(self, event: ResponseBody, now_seconds: float, _draw: float) -> Replies:
        return self._response.body(event, now_seconds)

    def _respond_trailers(
        self, _event: ResponseTrailers, now_seconds: float, _draw: float
    ) -> Replies:
        return self._response.trailers(now_seconds)

    def _pass_early_response(
        self, event: ResponseHeaders, now_seconds: float, _draw: float
    ) -> Replies:
        """Envoy itself answered before the request was complete: nothing is left to route."""
        self._withdraw(now_seconds)
        self._body.clear()
        self._pass()
        self._request_over = True
        return self._response.headers(event, now_seconds)

    # What rules are made of

    def _collected(self) -> bytes:
        """The body so far, which is let go of: the stream lives on without it."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return body

    def _decide(self, body: bytes, now_seconds: float, draw: float) -> Replies:
        facts = read_request(self._path, body, self._hints)
        if isinstance(facts, BadRequest):
            refusal = Rejection(
                RejectionReason.BAD_REQUEST, facts.message, param=facts.param, code=facts.code
            )
            return self._answer(rejection_answer(refusal))
        self._model = facts.model
        self._target = rewritten_model(self._headers) or self._settings.alias(facts.model, draw)
        if self._target != facts.model:
            facts = facts._replace(model=self._target)
        result = self._decider.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(result, Rejection):
            return self._answer(rejection_answer(result))
        if isinstance(result, Pick):
            return self._release(result, body)
        self._waiting = result
        self._body = [body]
        self.state = State.DECIDING
        return (Await(result),)

    def _release(self, pick: Pick, body: bytes) -> Replies:
        """The pick, and the body behind it where the body is streamed."""
        self._response.pick = pick
        self.state, self.outcome = State.ROUTED, StreamOutcome.ROUTED
        self._observer.routed(pick.ticket, self._headers)
        model = pick.model_rewrite or self._target
        rewritten = with_model(body, model) if model != self._model else None
        length = None if rewritten is None else len(rewritten)
        route = Route(
            pick.endpoints, Phase.REQUEST_BODY, model, pick, body=rewritten, content_length=length
        )
        if not self._duplex:
            return (route,)
        self._request_over = True
        content = body if rewritten is None else rewritten
        ended_by_body = not self._ended_by_trailers
        return (
            route._replace(phase=Phase.REQUEST_HEADERS, body=None),
            *chunks(Phase.REQUEST_BODY, content, end_of_stream=ended_by_body),
            *(CONTINUE[Phase.REQUEST_TRAILERS] if self._trailers_unanswered else ()),
        )

    def _pass(self) -> None:
        self.state, self.outcome = State.PASSED, StreamOutcome.PASSED

    def _answer(self, answer: Immediate) -> Replies:
        """An answer ends the HTTP request, and with it the stream; no ticket is held yet."""
        self.state = State.CLOSED
        self._body.clear()
        self.outcome = (
            StreamOutcome.ANSWERED if answer.rejection is None else StreamOutcome.REJECTED
        )
        return (answer, _END)

    def _break(self, error: str, now_seconds: float) -> Replies:
        self.outcome = StreamOutcome.PROTOCOL_ERROR
        self._close(now_seconds)
        return (End(error),)

    def _withdraw(self, now_seconds: float) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.withdraw(now_seconds=now_seconds)

    def _close(self, now_seconds: float) -> None:
        self.state = State.CLOSED
        self._body.clear()
        self._withdraw(now_seconds)
        pick, self._response.pick = self._response.pick, None
        if pick is not None:
            self._decider.settle(pick.ticket, now_seconds=now_seconds)

    _LEGAL: ClassVar[Mapping[tuple[State, type[Event]], Callable[..., Replies]]] = {
        (State.AWAITING_HEADERS, RequestHeaders): _begin,
        (State.AWAITING_HEADERS, ResponseHeaders): _pass_early_response,
        (State.AWAITING_BODY, RequestBody): _take_body,
        (State.AWAITING_BODY, RequestTrailers): _take_trailers_for_body,
        (State.AWAITING_BODY, ResponseHeaders): _pass_early_response,
        (State.COLLECTING, RequestBody): _collect,
        (State.COLLECTING, RequestTrailers): _collect_trailers,
        (State.COLLECTING, ResponseHeaders): _pass_early_response,
        (State.DECIDING, Decided): _take_decision,
        (State.DECIDING, RequestBody): _ignore_body,
        (State.DECIDING, RequestTrailers): _hold_trailers,
        (State.DECIDING, ResponseHeaders): _pass_early_response,
        (State.ROUTED, RequestBody): _ignore_body,
        (State.ROUTED, RequestTrailers): _pass_trailers,
        (State.ROUTED, ResponseHeaders): _respond,
        (State.ROUTED, ResponseBody): _respond_body,
        (State.ROUTED, ResponseTrailers): _respond_trailers,
        (State.PASSED, RequestBody): _pass_body,
        (State.PASSED, RequestTrailers): _pass_trailers,
        (State.PASSED, ResponseHeaders): _respond,
        (State.PASSED, ResponseBody): _respond_body,
        (State.PASSED, ResponseTrailers): _respond_trailers,
    }
    """All legal pairs but the end of the stream, which may come at any time. Any other pair ends
    it with a sentence to the peer."""
