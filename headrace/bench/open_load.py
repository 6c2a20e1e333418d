"""An open-loop HTTP/1.1 load: requests begin when their time has come, whatever the answers do.

`extproc_load` has the closed loop.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from headrace.bench.http_messages import MessageReader

Parts = Sequence[bytes]
"""One request, in pieces that are written one after the other."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time.

    `on_end` is called with the connection and whether the answer was whole and 200; `is_lost`
    says that the connection is of no more use.
    """

    def __init__(self, on_end: Callable[["Connection", bool], None]) -> None:
        self._on_end = on_end
        self._transport: asyncio.WriteTransport
        self._reader: MessageReader | None = None
        self.began_seconds = 0.0
        self.is_lost = False
        self.head_came = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        # uvloop's transports do not say that they are of the type that they are like.
        self._transport = cast("asyncio.WriteTransport", transport)

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return self._reader is not None

    def send(self, parts: Parts, now_seconds: float) -> None:
        """Begin a request.

        Args:
            parts: Of it.
            now_seconds: By `time.perf_counter`: uvloop's own clock counts milliseconds.
        """
        self._reader, self.began_seconds = MessageReader(), now_seconds
        self._transport.writelines(parts)

    def close(self) -> None:
        """Hang up, whatever is under way."""
        self.is_lost = True
        self._reader = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        if self._reader is None:
            return
        is_whole = self._reader.feed(data)
        if self._reader.head:
            self.head_came.set()
        if is_whole:
            is_ok, self._reader = self._reader.is_ok, None
            self._on_end(self, is_ok)

    def connection_lost(self, _error: Exception | None) -> None:
        """Of asyncio."""
        self.is_lost = True
        self.head_came.set()
        if self._reader is not None:
            self._reader = None
            self._on_end(self, False)


@dataclass(slots=True, kw_only=True)
class Counts:
    """Of one load so far; what is open has neither been answered, failed, nor hung up.

    Attributes:
        failed: Answered otherwise than 200, or cut off.
        hung_up: Given up by the client on purpose.
        late_seconds: How late requests began.
        latencies_seconds: Of the answered ones, to their last byte.
    """

    sent: int = 0
    answered: int = 0
    failed: int = 0
    hung_up: int = 0
    late_seconds: list[float] = field(default_factory=list)
    latencies_seconds: list[float] = field(default_factory=list)

    @property
    def open(self) -> int:
        """Requests under way."""
        return self.sent - self.answered - self.failed - self.hung_up


class OpenLoad:
    """Requests to one listener.

    Args:
        requests: Endless; what to send.
        gaps_seconds: Endless; between one begin and the next.
        hang_up_ratio: Of requests whose client hangs up within `hang_up_seconds`.
        keep_times: Whether to keep latencies and lateness, which grow with the requests.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        requests: Iterator[Parts],
        gaps_seconds: Iterator[float],
        draws: random.Random,
        hang_up_ratio: float = 0.0,
        hang_up_seconds: float = 1.0,
        keep_times: bool = False,
    ) -> None:
        self._address = address
        self._requests, self._gaps_seconds, self._draws = requests, gaps_seconds, draws
        self._hang_up_ratio, self._hang_up_seconds = hang_up_ratio, hang_up_seconds
        self._keep_times = keep_times
        self._idle: deque[Connection] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._an_end = asyncio.Event()
        self.counts = Counts()

    async def run(self, seconds: float) -> None:
        """Begin requests for `seconds`; those under way go on."""
        due_seconds = time.perf_counter()
        ends_seconds = due_seconds + seconds
        while due_seconds < ends_seconds:
            late_seconds = time.perf_counter() - due_seconds
            if late_seconds < 0:
                await asyncio.sleep(-late_seconds)
                continue
            if self._keep_times:
                self.counts.late_seconds.append(late_seconds)
            self._begin()
            due_seconds += next(self._gaps_seconds)

    async def drain(self, seconds: float) -> None:
        """Wait until nothing is open, `seconds` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.counts.open:
                    self._an_end.clear()
                    await self._an_end.wait()

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _begin(self) -> None:
        self.counts.sent += 1
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost:
                self._send(connection)
                return
        task = asyncio.get_running_loop().create_task(self._open())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._ended), *self._address
            )
        except OSError:
            self.counts.failed += 1
            self._an_end.set()
            return
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.send(next(self._requests), time.perf_counter())
        if self._draws.random() < self._hang_up_ratio:
            delay_seconds = self._draws.uniform(0.0, self._hang_up_seconds)
            loop.call_later(delay_seconds, self._hang_up, connection, connection.began_seconds)

    def _hang_up(self, connection: Connection, began_seconds: float) -> None:
        """Unless that request has ended and another may be under way."""
        if connection.is_busy and connection.began_seconds == began_seconds:
            connection.close()
            self.counts.hung_up += 1
            self._an_end.set()

    def _ended(self, connection: Connection, is_ok: bool) -> None:
        if is_ok:
            self.counts.answered += 1
        else:
            self.counts.failed += 1
        self._an_end.set()
        if self._keep_times and is_ok:
            taken_seconds = time.perf_counter() - connection.began_seconds
            self.counts.latencies_seconds.append(taken_seconds)
        if not connection.is_lost:
            self._idle.append(connection)
