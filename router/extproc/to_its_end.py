"""What a cancelled task still brings to its end."""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

_LIMIT_SECONDS = 5.0
"""After which what has not ended is cancelled all the same: a loop that closes waits for it."""


class _Deaf:
    """Futures in turn, which a task that waits for them does not cancel at once.

    A task takes all that looks like a future. `asyncio.shield` does the same with one more turn of
    the loop for each.
    """

    __slots__ = ("_asyncio_future_blocking", "_future", "add_done_callback")

    get_loop = staticmethod(asyncio.get_running_loop)

    def now(self, future: asyncio.Future[Any]) -> "_Deaf":
        """Itself, waiting for `future`."""
        self._future = future
        self.add_done_callback = future.add_done_callback
        self._asyncio_future_blocking = True
        return self

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - the name that tasks give it
        """Refuse: the task is told as soon as it wakes."""
        self.get_loop().call_later(_LIMIT_SECONDS, self._future.cancel)
        return False


@coroutine
def to_its_end(operation: Awaitable[_T]) -> Generator[Any, Any, _T]:
    """Await `operation`, which should end soon after its stream does, and be cancelled only then.

    grpc.aio frees what a read or a write took from C when that has ended. It cancels the handler of
    a stream that the peer resets, and what is cancelled in the middle is never freed: 80 bytes for
    a read (a `grpc_op`), twice that and the message for a write (grpc issue 43360; grpcio 1.85).

    Raises:
        asyncio.CancelledError: In place of the result, when the task was cancelled meanwhile.
    """
    steps = operation.__await__()
    deaf = _Deaf()
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            future = steps.send(None)
        except Exception as end:  # StopIteration, which brings the result, or its own
            if cancelled is not None:
                raise cancelled from None
            if isinstance(end, StopIteration):
                result: _T = end.value
                return result
            raise
        try:
            yield None if future is None else deaf.now(future)  # None only gives way
        except asyncio.CancelledError as error:
            cancelled = error
