"""One worker over all processes that it is: started again whenever one has ended."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.workers import messages
from headrace.workers.channel import Channel
from headrace.workers.messages import Answer
from headrace.workers.process import WorkerProcess, WorkerStartError
from headrace.workers.tally import Tally

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 60.0
_NOWHERE = messages.Standing(ready=False, version=0, own=0, known=0, waiting={})


class Crewed(Protocol):
    """What a worker needs of those who run all of them."""

    board_fd: int
    environment: Mapping[str, str]

    def setup(self, index: int, port: int | None) -> bytes:
        """The first message to a worker, `port` being the one it had before."""
        ...

    def joined(self, worker: "Supervised") -> None:
        """It listens: tell it what is known."""
        ...

    def gone(self, worker: "Supervised") -> None:
        """Its process has ended."""
        ...


class Supervised:
    """One worker.

    Attributes:
        index: Which one.
        addresses: Where it listens.
        standing: Its last sign of life.
        restarts_total: How often its process was started again.
        tally: What it has counted.
        spared: Whether it was too slow to be sent the last snapshot.
    """

    def __init__(self, index: int, crew: Crewed) -> None:
        """Prepare; nothing is started."""
        self.index = index
        self.addresses: tuple[str, ...] = ()
        self.standing = _NOWHERE
        self.restarts_total = 0
        self.tally = Tally()
        self.spared = False
        self._crew = crew
        self._port: int | None = None
        self._process: WorkerProcess | None = None

    @property
    def pid(self) -> int | None:
        """Of its process, while there is one."""
        return None if self._process is None else self._process.pid

    @property
    def channel(self) -> Channel | None:
        """To its process, while that listens."""
        process = self._process
        return process.channel if process is not None and process.listens else None

    async def start(self) -> None:
        """Start its process; returns when it listens.

        Raises:
            WorkerStartError: When it does not come to that.
        """
        self._process = await WorkerProcess.start(
            self.index,
            board_fd=self._crew.board_fd,
            environment=self._crew.environment,
            setup=self._crew.setup(self.index, self._port),
            take=self._take,
        )
        try:
            await self._process.opened()
        except WorkerStartError:
            await self.stop(drain_seconds=0.0)
            raise

    async def keep(self) -> None:
        """For ever: when its process ends, start another, soon at first and then less often."""
        pause_seconds, loop = _FIRST_PAUSE_SECONDS, asyncio.get_running_loop()
        while True:
            began_seconds = loop.time()
            how = await self._ended()
            if loop.time() - began_seconds > _STEADY_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            _log.warning("worker %d %s; started again in %.1f s", self.index, how, pause_seconds)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(2.0 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            self.restarts_total += 1
            try:
                await self.start()
            except WorkerStartError as error:
                _log.error("worker %d: %s", self.index, error)
            else:
                _log.info("worker %d is back as process %s", self.index, self.pid)

    async def ask(self, make: Callable[[int], messages.Wanted]) -> Answer | None:
        """Ask its process, if that listens; see WorkerProcess.ask."""
        process = self._process
        return await process.ask(make) if process is not None and process.listens else None

    async def stop(self, *, drain_seconds: float) -> None:
        """Drain it, then end it."""
        if self._process is not None:
            await self._process.stop(drain_seconds=drain_seconds)
            self._bury()

    # Inside

    def _take(self, message: messages.Up) -> None:
        match message:
            case messages.Standing():
                self.standing = message
            case messages.Page():
                self.tally.take(message)
            case messages.Listening():
                self.addresses, self._port = tuple(message.addresses), message.port
                self._crew.joined(self)

    async def _ended(self) -> str:
        """Wait for the end of its process; how it came."""
        process = self._process
        if process is None:
            return "could not be started"
        status = await process.ended()
        self._bury()
        return f"has ended (signal {-status})" if status < 0 else f"has ended (status {status})"

    def _bury(self) -> None:
        """The process is gone; what it had told stays."""
        self._process = None
        self.standing = _NOWHERE
        self.tally.end()
        self._crew.gone(self)
