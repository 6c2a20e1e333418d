"""The ext_proc service on grpc.aio: one task per stream, one session per task."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from fleet.clock import Clock
from router.extproc.codec import read_event
from router.extproc.decider import Decider
from router.extproc.encoder import Encoder, patience
from router.extproc.events import Await, End, Event, Immediate, Reply, Route, StreamEnded
from router.extproc.exchange import NO_OBSERVER, ExchangeObserver
from router.extproc.health import EXT_PROC_SERVICE
from router.extproc.inbox import Inbox
from router.extproc.session import Session
from router.extproc.session_settings import SessionSettings
from router.extproc.states import State, StreamOutcome
from router.extproc.to_its_end import to_its_end
from router.metrics import RouterMetrics

_log = logging.getLogger(__name__)
_LOG_INTERVAL_SECONDS = 10.0
_STREAM_ENDED = StreamEnded()
_DEFAULTS = SessionSettings()
_UNDECIDED = frozenset({State.AWAITING_BODY, State.COLLECTING})

_RESET_SECONDS = 0.001  # after the end of a stream, in which gRPC tells that it was reset


class ExtProcServicer:
    """Serves streams; what one does, sends or suffers never reaches another.

    Attributes:
        open_streams: Streams that are being served.
    """

    def __init__(
        self,
        *,
        decider: Decider,
        clock: Clock,
        metrics: RouterMetrics,
        draw: Callable[[], float],
        settings: SessionSettings = _DEFAULTS,
        observer: ExchangeObserver = NO_OBSERVER,
    ) -> None:
        """Serve with `decider`; `draw` gives uniform numbers in [0, 1). The rest: see Session."""
        self._decider = decider
        self._clock = clock
        self._metrics = metrics
        self._draw = draw
        self._encoder = Encoder()
        self._session_arguments: dict[str, Any] = {
            "created_epoch_seconds": int(clock.epoch_seconds()),
            "settings": settings,
            "observer": observer,
        }
        self._idle = asyncio.Event()
        self._idle.set()
        self._complaints = _LogLimit(_LOG_INTERVAL_SECONDS)
        self.open_streams = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for a server. Replies are bytes already."""
        process = grpc.stream_stream_rpc_method_handler(
            self.process, request_deserializer=read_event
        )
        return grpc.method_handlers_generic_handler(EXT_PROC_SERVICE, {"Process": process})

    async def idle(self) -> None:
        """Return when no stream is open."""
        await self._idle.wait()

    async def process(self, _requests: object, context: grpc.aio.ServicerContext) -> None:
        """Serve one stream from its first message to its end, whoever ends it."""
        session = Session(self._decider, **self._session_arguments)
        inbox = Inbox(context)
        self._open()
        try:
            error = await to_its_end(self._converse(session, inbox, context))
            verdict = None if error is None else self._refuse(error)
        except Exception as error:  # noqa: BLE001 - supervises one stream: a defect must end only that one
            verdict = self._verdict(session, error)
        finally:
            self._finish(session, inbox)
        if verdict is not None:
            await to_its_end(context.abort(*verdict))
        await _let_resets_be_seen()

    async def _converse(
        self, session: Session, inbox: Inbox, context: grpc.aio.ServicerContext
    ) -> str | None:
        """Read and answer until either side ends the stream; return what the peer did wrong."""
        while True:
            # One coroutine less on the way of all messages but those that come during a wait.
            event = await (inbox.next() if inbox.busy else context.read())
            if event is grpc.aio.EOF:
                return None
            replies = self._answer(session, event)
            # Let go of the event, and of the replies below: the stream lives as long as the answer
            # to its prompt, and a body of 200 KB held for minutes by thousands of streams would be
            # the memory we use.
            del event
            if inbox.busy and session.state is not State.DECIDING:
                inbox.forget()
            for reply in replies:
                if isinstance(reply, bytes):
                    await context.write(reply)
                elif isinstance(reply, End):
                    return reply.error
                else:
                    limit_seconds = reply.waiting.limit_seconds
                    if limit_seconds is not None:
                        await context.write(patience(limit_seconds))
                    inbox.expect(reply.waiting)
            del replies
            reply = b""

    def _answer(self, session: Session, event: Event) -> list[bytes | End | Await]:
        """Decide without giving way, count, and serialize."""
        undecided = session.state in _UNDECIDED
        started_seconds = self._clock.monotonic_seconds()
        replies = session.receive(event, now_seconds=started_seconds, draw=self._draw())
        if undecided and session.state not in _UNDECIDED:
            self._metrics.decided(self._clock.monotonic_seconds() - started_seconds)
        return [self._serialized(reply) for reply in replies]

    def _serialized(self, reply: Reply) -> bytes | End | Await:
        """What is sent; what is not sent stays as it is."""
        if isinstance(reply, (End, Await)):
            return reply
        if isinstance(reply, Route):
            if reply.pick is not None:
                self._metrics.picked(reply.pick)
        elif isinstance(reply, Immediate):
            self._metrics.answered(reply)
        return self._encoder.encode(reply)

    def _verdict(self, session: Session, error: Exception) -> tuple[grpc.StatusCode, str] | None:
        """The status to end with after an error; None where there is no wire any more."""
        if isinstance(error, DecodeError):
            session.outcome = StreamOutcome.PROTOCOL_ERROR
            return self._refuse("a message is not a ProcessingRequest")
        if isinstance(error, grpc.aio.BaseError):
            return None  # the server was stopped under the stream
        session.outcome = StreamOutcome.FAILED
        self._complain("an ext_proc stream failed", exc_info=error)
        return grpc.StatusCode.INTERNAL, "internal error"

    def _refuse(self, error: str) -> tuple[grpc.StatusCode, str]:
        self._complain(f"an ext_proc peer broke the protocol: {error}")
        return grpc.StatusCode.INVALID_ARGUMENT, error

    def _finish(self, session: Session, inbox: Inbox) -> None:
        """Settle, on cancellation too; nothing here waits, so no other stream decides before."""
        now_seconds = self._clock.monotonic_seconds()
        try:
            session.receive(_STREAM_ENDED, now_seconds=now_seconds, draw=0.0)
        finally:
            inbox.close()
            self._close(session)

    def _open(self) -> None:
        self.open_streams += 1
        self._idle.clear()
        self._metrics.stream_opened()

    def _close(self, session: Session) -> None:
        self.open_streams -= 1
        if not self.open_streams:
            self._idle.set()
        self._metrics.stream_closed(session.outcome)

    def _complain(self, message: str, **extra: Any) -> None:
        suppressed = self._complaints.admit(self._clock.monotonic_seconds())
        if suppressed is not None:
            _log.warning("%s (%d like it not shown)", message, suppressed, **extra)


async def _let_resets_be_seen() -> None:
    """Let gRPC notice a stream that the peer has reset.

    Envoy ends a stream by closing its side and resetting the rest. grpc.aio tells of both in turn,
    and a handler that returns in between answers a dead stream with a status; the memory of that
    answer, 115 bytes a stream, is never freed (grpc issue 43360). Cancelled here, it sends none.
    """
    await asyncio.sleep(_RESET_SECONDS)


class _LogLimit:
    """Lets one line through per interval and counts the others."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._next_seconds = float("-inf")
        self._suppressed = 0

    def admit(self, now_seconds: float) -> int | None:
        """How many lines were held back since the last, or None to hold this one back too."""
        if now_seconds < self._next_seconds:
            self._suppressed += 1
            return None
        suppressed, self._suppressed = self._suppressed, 0
        self._next_seconds = now_seconds + self._interval_seconds
        return suppressed
