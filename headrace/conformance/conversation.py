"""One ext_proc stream, with a time limit on everything that is waited for."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse

from headrace.conformance.verdicts import CaseFailedError
from headrace.conformance.wire import EXT_PROC_SERVICE

# A message that meets the end of its stream; the end's own status may then be lost to INTERNAL.
_WRITE_ERRORS = (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError)


class Conversation:
    """A stream that is cancelled when it is left.

    Replies are read in the background: cancelling a read of grpc.aio cancels the whole stream, so
    a read cannot be given a time limit itself.
    """

    def __init__(self, channel: grpc.aio.Channel, *, timeout_seconds: float) -> None:
        """Prepare; the stream opens on entering."""
        self._channel = channel
        self._timeout_seconds = timeout_seconds
        self._replies: asyncio.Queue[Any] = asyncio.Queue()  # None: the stream is over

    async def __aenter__(self) -> Self:
        """Open the stream."""
        self._call = self._channel.stream_stream(
            f"/{EXT_PROC_SERVICE}/Process",
            request_serializer=_serialized,
            response_deserializer=ProcessingResponse.FromString,
        )()
        self._pump = asyncio.create_task(self._read_all())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Reset the stream if it is open, as Envoy does when the client goes away."""
        self._call.cancel()
        await self._pump

    async def send(self, message: Any) -> bool:
        """Send a message, or bytes as they are; False when the stream is over.

        Raises:
            CaseFailedError: When the picker does not read.
        """
        try:
            await asyncio.wait_for(self._call.write(message), self._timeout_seconds)
        except _WRITE_ERRORS:
            return False
        except TimeoutError:
            raise CaseFailedError(
                f"The picker did not read a message for {self._timeout_seconds:g} s."
            ) from None
        return True

    async def receive(self, awaited: str) -> Any:
        """The next reply.

        Raises:
            CaseFailedError: When none comes in time or the stream ends instead.
        """
        reply = await self._next(awaited)
        if reply is None:
            raise CaseFailedError(
                f"The stream ended ({await self._status_text()}) where {awaited} was due."
            )
        return reply

    async def reply_or_end(self, awaited: str) -> Any:
        """The next reply, or None when the stream ends, in whatever way.

        Raises:
            CaseFailedError: When neither happens in time.
        """
        return await self._next(awaited)

    async def quiet_reply(self, seconds: float) -> Any:
        """A reply that comes within a while, or None when none does or the stream ends."""
        try:
            reply = await asyncio.wait_for(self._replies.get(), seconds)
        except TimeoutError:
            return None
        if reply is None:
            self._replies.put_nowait(None)
        return reply

    async def quiet(self, seconds: float) -> None:
        """See that no reply comes for a while.

        Raises:
            CaseFailedError: When one does.
        """
        _refuse(await self.quiet_reply(seconds))

    @property
    def over(self) -> bool:
        """Whether the stream has ended."""
        return bool(self._call.done())

    async def half_close(self) -> None:
        """Say that no more messages come."""
        with suppress(*_WRITE_ERRORS):
            await asyncio.wait_for(self._call.done_writing(), self._timeout_seconds)

    async def end(self) -> grpc.StatusCode:
        """Wait for the end of the stream and return its status; replies until then are dropped.

        Raises:
            CaseFailedError: When it does not end in time.
        """
        while await self._next("the end of the stream") is not None:
            pass
        return await self._call.code()

    async def end_well(self) -> None:
        """Half close, and see the stream end with OK and without another reply.

        Raises:
            CaseFailedError: When it does not.
        """
        await self.half_close()
        _refuse(await self._next("the end of the stream after the half close"))
        if await self._call.code() is not grpc.StatusCode.OK:
            raise CaseFailedError(
                f"The stream ended with {await self._status_text()} after a half close."
            )

    async def status_name(self) -> str:
        """The gRPC status of a stream that is over."""
        return str((await self._call.code()).name)

    async def _status_text(self) -> str:
        details = await self._call.details()
        return await self.status_name() + (f": {details}" if details else "")

    async def _next(self, awaited: str) -> Any:
        try:
            reply = await asyncio.wait_for(self._replies.get(), self._timeout_seconds)
        except TimeoutError:
            raise CaseFailedError(
                f"Nothing came for {self._timeout_seconds:g} s where {awaited} was due."
            ) from None
        if reply is None:
            self._replies.put_nowait(None)
        return reply

    async def _read_all(self) -> None:
        try:
            while (reply := await self._call.read()) is not grpc.aio.EOF:
                self._replies.put_nowait(reply)
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass  # the call's code tells why
        finally:
            self._replies.put_nowait(None)


def _refuse(reply: Any) -> None:
    if reply is not None:
        kind = reply.WhichOneof("response") or "empty"
        raise CaseFailedError(f"A {kind} message came that nothing asked for.")


def _serialized(message: Any) -> bytes:
    """A message serialized; bytes are sent as they are, to try what is no message."""
    if isinstance(message, bytes):
        return message
    encoded: bytes = message.SerializeToString()
    return encoded
