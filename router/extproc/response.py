"""The response half of a stream: echo it untouched, learn who served, tell the observer. Pure."""

from collections.abc import Mapping

from router.decide.outcome import Pick
from router.extproc.bodies import chunks
from router.extproc.decider import Decider
from router.extproc.events import (
    BodyMode,
    Continue,
    Metadata,
    Phase,
    Reply,
    ResponseBody,
    ResponseHeaders,
)
from router.extproc.exchange import ExchangeObserver

Replies = tuple[Reply, ...]

CONTINUE: Mapping[Phase, Replies] = {phase: (Continue(phase),) for phase in Phase}
"""The replies that change nothing, made once."""


class ResponseSide:
    """Answers the parts of one response.

    Attributes:
        body_mode: How the body of the response comes, if it does.
        pick: Whose response it is; None when nothing was picked.
    """

    __slots__ = ("_decider", "_observer", "body_mode", "pick")

    def __init__(self, decider: Decider, observer: ExchangeObserver) -> None:
        """Begin without a pick."""
        self._decider = decider
        self._observer = observer
        self.body_mode = BodyMode.NONE
        self.pick: Pick | None = None

    def headers(self, event: ResponseHeaders, now_seconds: float) -> Replies:
        """A response begins; it goes on at once."""
        pick = self.pick
        if pick is None:
            return CONTINUE[Phase.RESPONSE_HEADERS]
        if event.served is not None:
            self._decider.serve(pick, event.served, now_seconds=now_seconds)
        self._observer.response_started(
            pick.ticket,
            status=event.status,
            content_type=event.content_type,
            content_encoding=event.content_encoding,
            now_seconds=now_seconds,
        )
        last = event.end_of_stream or self.body_mode is BodyMode.NONE
        return (Continue(Phase.RESPONSE_HEADERS, self._metadata(now_seconds) if last else None),)

    def body(self, event: ResponseBody, now_seconds: float) -> Replies:
        """A part of the body: echoed where Envoy expects that, else let through."""
        if self.pick is not None:
            self._observer.response_chunk(self.pick.ticket, event.body, now_seconds=now_seconds)
        metadata = self._metadata(now_seconds) if event.end_of_stream else None
        if self.body_mode is not BodyMode.FULL_DUPLEX_STREAMED:
            return (Continue(Phase.RESPONSE_BODY, metadata),)
        echo = tuple(chunks(Phase.RESPONSE_BODY, event.body, end_of_stream=event.end_of_stream))
        if metadata is None:
            return echo
        *first, last = echo
        return (*first, last._replace(metadata=metadata))

    def trailers(self, now_seconds: float) -> Replies:
        """The response ended with trailers."""
        return (Continue(Phase.RESPONSE_TRAILERS, self._metadata(now_seconds)),)

    def _metadata(self, now_seconds: float) -> Metadata | None:
        if self.pick is None:
            return None
        return self._observer.metadata(self.pick.ticket, now_seconds=now_seconds)
