"""Listens to the KV events that vLLM engines publish over ZeroMQ (extra `kv-events`).

One subscription per replica. Batches are numbered: what was missed is asked for again where the
engine offers a replay, and an engine whose events were missed for good is known to be incomplete.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from router.decide.affinity import Affinity
from router.decide.affinity_events import AllCleared
from router.kv_event_settings import KvEventSettings
from router.kv_event_wire import KvEventError, decode_batch

_log = logging.getLogger(__name__)

_NUMBER_BYTES = 8
_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class KvEventCounts:
    """What was heard.

    Attributes:
        batches: Applied.
        replayed: The part of them that a replay brought.
        gaps: How often batches were missed and no replay had them.
        malformed: Batches that could not be read.
    """

    batches: int = 0
    replayed: int = 0
    gaps: int = 0
    malformed: int = 0


class KvEventListener:
    """Keeps an index of what engines have cached, as they tell.

    Attributes:
        counts: Of all engines.
    """

    def __init__(self, affinity: Affinity, settings: KvEventSettings) -> None:
        """Listen to nobody yet; `affinity` is told of all events."""
        self._affinity = affinity
        self._settings = settings
        self._context = zmq.asyncio.Context()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.counts = KvEventCounts()

    def follow(self, addresses: Iterable[str]) -> None:
        """Listen to these replicas, and to no other from now on."""
        wanted = set(addresses)
        for address in set(self._tasks) - wanted:
            self._tasks.pop(address).cancel()
        for address in sorted(wanted - set(self._tasks)):
            self._tasks[address] = asyncio.create_task(
                self._listen(address), name=f"kv-events {address}"
            )

    async def aclose(self) -> None:
        """Stop listening."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._context.destroy(linger=0)

    async def _listen(self, address: str) -> None:
        while True:
            engine = _Engine(self._affinity, address, self.counts)
            try:
                await _follow(engine, self._context, self._settings)
            except zmq.ZMQError as error:
                _log.warning("KV events of %s: %s; listening anew", address, error)
            finally:
                engine.lose()
            await asyncio.sleep(_RETRY_SECONDS)


class _Engine:
    """One engine's batches, put in order."""

    def __init__(self, affinity: Affinity, address: str, counts: KvEventCounts) -> None:
        self.address = address
        self._affinity, self._counts = affinity, counts
        self._live: int | None = None
        self._applied = -1

    def missing_before(self, number: int) -> range:
        """A live batch came; the numbers that are still needed before it."""
        if self._live is None or number <= self._live:  # we are new here, or the engine is
            self._applied = -1
            self._affinity.events.begin(self.address, complete=True)
        self._live = number
        return range(self._applied + 1, number)

    def apply(self, number: int, payload: bytes) -> None:
        """Take in a batch, unless it is known; a hole before it makes the engine incomplete."""
        if number <= self._applied:
            return
        events = self._affinity.events
        if number > self._applied + 1:
            self._counts.gaps += 1
            events.begin(self.address, complete=False)
        self._applied = number
        try:
            batch = decode_batch(payload)
        except KvEventError as error:
            self._counts.malformed += 1
            _log.warning("KV events of %s: %s", self.address, error)
            events.begin(self.address, complete=False)
            return
        for event in batch:
            events.apply(self.address, event)
            if isinstance(event, AllCleared):
                self._affinity.forget(self.address)
        self._counts.batches += 1

    def replayed(self) -> None:
        """The batch that was just applied came from a replay."""
        self._counts.replayed += 1

    def garbled(self) -> None:
        """Something came that is no batch."""
        self._counts.malformed += 1

    def lose(self) -> None:
        """The connection is gone, and with it what was known."""
        self._live, self._applied = None, -1
        self._affinity.events.lose(self.address)


async def _follow(engine: _Engine, context: zmq.asyncio.Context, settings: KvEventSettings) -> None:
    """Apply an engine's batches for ever."""
    endpoint, replay_endpoint = settings.endpoints(engine.address)
    live = context.socket(zmq.SUB)
    monitor = live.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    live.setsockopt(zmq.SUBSCRIBE, settings.topic.encode())
    live.connect(endpoint)
    watching = asyncio.create_task(_watch(engine, monitor))
    try:
        while True:
            numbered = _numbered(await live.recv_multipart())
            if numbered is None:
                engine.garbled()
                continue
            number, payload = numbered
            missing = engine.missing_before(number)
            if missing and replay_endpoint is not None:
                await _replay(engine, context, settings, replay_endpoint, missing)
            engine.apply(number, payload)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        live.disable_monitor()
        monitor.close(linger=0)
        live.close(linger=0)


async def _watch(engine: _Engine, monitor: zmq.asyncio.Socket) -> None:
    """A publisher that goes away comes back as another engine, or with batches in between."""
    while True:
        await recv_monitor_message(monitor)
        engine.lose()


async def _replay(
    engine: _Engine,
    context: zmq.asyncio.Context,
    settings: KvEventSettings,
    endpoint: str,
    missing: range,
) -> None:
    """Ask for what was missed, as far as the engine still has it."""
    socket = context.socket(zmq.DEALER)
    try:
        socket.connect(endpoint)
        await socket.send_multipart([b"", missing.start.to_bytes(_NUMBER_BYTES, "big")])
        while True:
            frames = await asyncio.wait_for(
                socket.recv_multipart(), settings.replay_timeout_seconds
            )
            numbered = _numbered(frames)
            if numbered is None or not numbered[1] or numbered[0] >= missing.stop:
                return
            engine.apply(*numbered)
            engine.replayed()
    except TimeoutError:
        _log.warning("KV events of %s: no replay came", engine.address)
    finally:
        socket.close(linger=0)


def _numbered(frames: list[bytes]) -> tuple[int, bytes] | None:
    """(number, payload), the last two frames; before them a topic, an empty frame, or both."""
    if len(frames) not in (3, 4) or len(frames[-2]) != _NUMBER_BYTES:
        return None
    return int.from_bytes(frames[-2], "big"), frames[-1]
