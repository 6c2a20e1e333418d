"""What comes to a stream next: a message of the peer, or the decision that it waits for."""

import asyncio
from typing import Any

import grpc

from router.decide.outcome import Pick, Rejection
from router.extproc.codec import decode
from router.extproc.decider import Waiting
from router.extproc.events import Decided, Event


class Inbox:
    """The events of one stream, one at a time.

    While nothing is waited for, reading costs no task. A read is never cancelled while the stream
    goes on, since that would cancel the stream: one that a decision overtook is kept for later.
    """

    __slots__ = ("_context", "_decision", "_read")

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        """Read from `context`."""
        self._context = context
        self._read: asyncio.Task[Any] | None = None
        self._decision: asyncio.Task[Pick | Rejection] | None = None

    def expect(self, waiting: Waiting) -> None:
        """Bring the decision too, once it is made."""
        self._decision = asyncio.ensure_future(waiting.decided())

    def forget(self) -> None:
        """Wait for a decision no longer."""
        decision, self._decision = self._decision, None
        if decision is not None:
            decision.cancel()

    async def next(self) -> Event | None:
        """The next event, or None when the peer has closed its side."""
        if self._decision is not None:
            if self._read is None:
                self._read = asyncio.ensure_future(self._context.read())
            await asyncio.wait((self._read, self._decision), return_when=asyncio.FIRST_COMPLETED)
            if self._decision.done():
                decision, self._decision = self._decision, None
                return Decided(decision.result())
        if self._read is None:
            message = await self._context.read()
        else:
            message, self._read = await self._read, None
        return None if message is grpc.aio.EOF else decode(message)

    def close(self) -> None:
        """The stream is over: leave no task behind."""
        self.forget()
        if self._read is not None:
            self._read.cancel()
