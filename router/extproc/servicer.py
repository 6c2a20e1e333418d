"""The ext_proc service on grpc.aio: one task per stream, one session per task."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from google.protobuf.message import DecodeError

from fleet.clock import Clock
from router.extproc.decider import Decider
from router.extproc.encoder import Encoder, patience
from router.extproc.events import Await, End, Event, Immediate, Route, StreamEnded
from router.extproc.exchange import NO_OBSERVER, ExchangeObserver
from router.extproc.health import EXT_PROC_SERVICE
from router.extproc.inbox import Inbox
from router.extproc.session import Session
from router.extproc.session_settings import SessionSettings
from router.extproc.states import State, StreamOutcome
from router.metrics import RouterMetrics

_log = logging.getLogger(__name__)
_LOG_INTERVAL_SECONDS = 10.0
_STREAM_ENDED = StreamEnded()
_DEFAULTS = SessionSettings()
_UNDECIDED = frozenset({State.AWAITING_BODY, State.COLLECTING})


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
            self.process, request_deserializer=ProcessingRequest.FromString
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
            verdict = await self._supervise(session, inbox, context)
        finally:
            self._finish(session, inbox)
        if verdict is not None:
            await context.abort(*verdict)

    async def _supervise(
        self, session: Session, inbox: Inbox, context: grpc.aio.ServicerContext
    ) -> tuple[grpc.StatusCode, str] | None:
        """Converse; return the status to end with when it is not OK."""
        try:
            error = await self._converse(session, inbox, context)
        except DecodeError:
            session.outcome = StreamOutcome.PROTOCOL_ERROR
            error = "a message is not a ProcessingRequest"
        except grpc.aio.BaseError:
            return None  # no wire any more: the server was stopped under the stream
        except Exception:  # noqa: BLE001 - supervises one stream: a defect must end only that one
            session.outcome = StreamOutcome.FAILED
            self._complain("an ext_proc stream failed", exc_info=True)
            return grpc.StatusCode.INTERNAL, "internal error"
        if error is None:
            return None
        self._complain(f"an ext_proc peer broke the protocol: {error}")
        return grpc.StatusCode.INVALID_ARGUMENT, error

    async def _converse(
        self, session: Session, inbox: Inbox, context: grpc.aio.ServicerContext
    ) -> str | None:
        """Read and answer until either side ends the stream; return what the peer did wrong."""
        while True:
            event = await inbox.next()
            if event is None:
                return None
            replies = self._answer(session, event)
            # Let go of the event: the stream lives as long as the answer to its prompt, and a
            # body of 200 KB held for minutes by thousands of streams would be the memory we use.
            del event
            if session.state is not State.DECIDING:
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

    def _answer(self, session: Session, event: Event) -> list[bytes | End | Await]:
        """Decide without giving way, count, and serialize."""
        undecided = session.state in _UNDECIDED
        started_seconds = self._clock.monotonic_seconds()
        replies = session.receive(event, now_seconds=started_seconds, draw=self._draw())
        if undecided and session.state not in _UNDECIDED:
            self._metrics.decided(self._clock.monotonic_seconds() - started_seconds)
        encoded: list[bytes | End | Await] = []
        for reply in replies:
            if isinstance(reply, (End, Await)):
                encoded.append(reply)
                continue
            if isinstance(reply, Route) and reply.pick is not None:
                self._metrics.picked(reply.pick)
            elif isinstance(reply, Immediate):
                self._metrics.answered(reply)
            encoded.append(self._encoder.encode(reply))
        return encoded

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
