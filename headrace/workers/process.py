"""One process of a worker, from its start to its end."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.child_process import end, send_signal, spawn
from headrace.workers import messages
from headrace.workers.channel import Channel
from headrace.workers.messages import Answer

_log = logging.getLogger(__name__)

_START_SECONDS = 60.0
_SILENT_SECONDS = 30.0
_WATCH_SECONDS = 1.0
_GRACE_SECONDS = 5.0


class WorkerStartError(Exception):
    """A worker cannot serve; the sentence says why."""


class WorkerProcess:
    """Started once, ended once.

    Attributes:
        pid: Of the process.
        channel: To it.
        listens: Whether it has opened its ports and is still there.
    """

    def __init__(
        self,
        index: int,
        process: asyncio.subprocess.Process,
        channel: Channel,
        take: Callable[[messages.Up], None],
    ) -> None:
        """Use `start`."""
        self.pid = process.pid
        self.channel = channel
        self.listens = False
        self._index = index
        self._process = process
        self._take = take
        loop = asyncio.get_running_loop()
        self._heard_seconds = loop.time()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._asked = 0
        self._reading = asyncio.create_task(self._read(), name=f"worker {index} speaks")

    @classmethod
    async def start(
        cls,
        index: int,
        *,
        board_fd: int,
        environment: Mapping[str, str],
        setup: bytes,
        take: Callable[[messages.Up], None],
    ) -> "WorkerProcess":
        """Start it; it does not listen yet.

        Args:
            index: Of the worker.
            board_fd: Of the shared memory.
            environment: On top of ours.
            setup: The first message to it.
            take: Called with everything that it says.

        Raises:
            WorkerStartError: When there can be no such process.
        """
        here, there = socket.socketpair()
        fds = there.fileno(), board_fd
        # -P: a checkout's folder `envoy/` must not be found before Envoy's own package.
        arguments = ("-P", "-m", "headrace.workers.main", *(str(fd) for fd in fds))
        with there:
            try:
                process = await spawn(
                    Path(sys.executable),
                    arguments,
                    log_path=None,
                    pass_fds=fds,
                    environment=environment,
                )
            except OSError as error:
                here.close()
                raise WorkerStartError(f"worker {index}: {error.strerror}.") from error
        channel = await Channel.over(here)
        channel.send(setup)
        return cls(index, process, channel, take)

    async def opened(self) -> None:
        """Return when it listens.

        Raises:
            WorkerStartError: When it does not come to that.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._opened
        except TimeoutError as error:
            raise WorkerStartError(
                f"worker {self._index} does not listen after {_START_SECONDS:.0f} s."
            ) from error

    async def ask(self, make: Callable[[int], messages.Wanted]) -> Answer | None:
        """Ask it; its answer carries the number that `make` is given. None: it has ended."""
        self._asked += 1
        number = self._asked
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self.channel.send(messages.encode(make(number)))
        try:
            found: Answer = await answer
        except WorkerStartError:
            return None
        finally:
            del self._answers[number]
        return found

    async def ended(self) -> int:
        """Wait for its end, which is brought about when it says nothing for long.

        Returns:
            The exit status; below zero the signal that ended it.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_SECONDS):
                    status = await self._process.wait()
                await self._forget()
                return status
            silent_seconds = asyncio.get_running_loop().time() - self._heard_seconds
            if silent_seconds > _SILENT_SECONDS:
                _log.error("worker %d says nothing; it is killed", self._index)
                send_signal(self._process, signal.SIGKILL)

    async def stop(self, *, drain_seconds: float) -> None:
        """Let it drain, and end it."""
        self.channel.send(messages.encode(messages.Stop()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds + _GRACE_SECONDS):
                await self._process.wait()
        await end(self._process, grace_seconds=_GRACE_SECONDS)
        await self._forget()

    # Inside

    async def _read(self) -> None:
        """Take what it says, up to its last word."""
        try:
            async for content in self.channel.messages():
                self._heard_seconds = asyncio.get_running_loop().time()
                self._hear(messages.decode_up(content))
        finally:
            self.listens = False
            gone = WorkerStartError(f"worker {self._index} ended before it listened; see the log.")
            _fail(self._opened, gone)
            for answer in self._answers.values():
                _fail(answer, gone)

    def _hear(self, message: messages.Up) -> None:
        if isinstance(message, messages.Refused):
            _fail(self._opened, WorkerStartError(message.sentence))
            return
        if isinstance(message, messages.Listening):
            self.listens = True
        self._take(message)
        if isinstance(message, messages.Listening) and not self._opened.done():
            self._opened.set_result(None)
        elif isinstance(message, Answer):
            answer = self._answers.get(message.number)
            if answer is not None and not answer.done():
                answer.set_result(message)

    async def _forget(self) -> None:
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.channel.aclose()
        if self._opened.done() and not self._opened.cancelled():
            self._opened.exception()  # nobody may have been there to hear of it


def _fail(future: asyncio.Future[None] | asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
