"""What comes to a stream next while it waits: a message of the peer, or the decision."""

import asyncio
from typing import Any

import grpc

from router.decide.outcome import Pick, Rejection
from router.extproc.decider import Waiting
from router.extproc.events import Decided, Event
from router.extproc.to_its_end import to_its_end


class Inbox:
    """The events of one stream, one at a time.

    Asked only while it is busy: else the context is read without a task. A read is never cancelled
    while the stream goes on, since that would cancel the stream: one that a decision overtook is
    kept for later.

    Attributes:
        busy: Whether a decision or a read is under way.
    """

    __slots__ = ("_context", "_decision", "_read", "busy")

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        """Read from `context`."""
        self._context = context
        self._read: asyncio.Task[Any] | None = None
        self._decision: asyncio.Task[Pick | Rejection] | None = None
        self.busy = False

    def expect(self, waiting: Waiting) -> None:
        """Bring the decision too, once it is made."""
        self._decision = asyncio.ensure_future(waiting.decided())
        self.busy = True

    def forget(self) -> None:
        """Wait for a decision no longer."""
        decision, self._decision = self._decision, None
        if decision is not None:
            decision.cancel()
        self.busy = self._read is not None

    async def next(self) -> Event | Any:
        """The next event, or grpc.aio.EOF when the peer has closed its side."""
        if self._read is None:
            self._read = asyncio.ensure_future(to_its_end(self._context.read()))
        if self._decision is not None:
            await asyncio.wait((self._read, self._decision), return_when=asyncio.FIRST_COMPLETED)
            if self._decision.done():
                decision, self._decision = self._decision, None
                return Decided(decision.result())
        event, self._read = await self._read, None
        self.busy = self._decision is not None
        return event

    def close(self) -> None:
        """The stream is over: leave no task behind."""
        self.forget()
        if self._read is not None:
            self._read.cancel()
