"""Asks every source at its own pace and publishes what is known by one assignment."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from fleet.signals import FreshnessPolicy
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from telemetry.assembly import Assembly, portions
from telemetry.counters import RateWindow
from telemetry.instruments import Instruments, SignalCollector
from telemetry.reading import ANSWERED, FailureReason, Outcome, Source, SourceReport

_LOG = logging.getLogger(__name__)
_ITSELF = "*"  # the target that stands for the source as a whole
_PORTION_REPLICAS = 32  # about a millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledSource:
    """A source and its pace.

    Attributes:
        source: What to ask.
        interval_seconds: From the start of one round to the start of the next; a round that takes
            longer delays the next, rounds of one source never overlap.
        deadline_seconds: After which a round is given up whole. Sources bound their targets
            themselves; this bounds the source.
    """

    source: Source
    interval_seconds: float = 1.0
    deadline_seconds: float = 10.0


class Poller:
    """Keeps a `SnapshotHolder` current. Use as an asynchronous context, or start() and stop()."""

    def __init__(
        self,
        sources: Sequence[PolledSource],
        holder: SnapshotHolder,
        clock: Clock,
        *,
        registry: CollectorRegistry,
        window: RateWindow | None = None,
        freshness: FreshnessPolicy | None = None,
    ) -> None:
        """Prepare; nothing is asked before start().

        Args:
            sources: Their names must differ; they are closed by stop().
            holder: Where snapshots are published; its topology is what is polled first.
            clock: For observation times and rounds.
            registry: Of this process's own metrics.
            window: Over what rates are taken.
            freshness: Only for the metrics that count fresh, stale and absent signals.
        """
        self._sources = tuple(sources)
        self._holder = holder
        self._clock = clock
        self._assembly = Assembly(holder.current.fleet, window or RateWindow())
        self._instruments = Instruments(registry)
        registry.register(SignalCollector(holder, clock, freshness or FreshnessPolicy()))
        self._tasks: list[asyncio.Task[None]] = []
        self._listeners: list[Callable[[FleetSnapshot], None]] = []
        self._published = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start."""
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    def start(self) -> None:
        """Begin polling, in one task per source."""
        assert not self._tasks, "started twice"
        self._tasks = [
            asyncio.create_task(self._run(polled), name=f"telemetry-{polled.source.name}")
            for polled in self._sources
        ]

    async def stop(self) -> None:
        """End all tasks and close all sources."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for polled in self._sources:
            await polled.source.aclose()

    def set_fleet(self, fleet: Fleet) -> None:
        """Change the topology at once; the next rounds ask its replicas."""
        self._assembly.replace_fleet(fleet)
        self._publish()

    def subscribe(self, listener: Callable[[FleetSnapshot], None]) -> Callable[[], None]:
        """Call `listener` with every snapshot after it is published; returns how to end that.

        It is called in the event loop and must not block. What it raises is logged.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def published(self, *, after_version: int) -> FleetSnapshot:
        """Wait for a snapshot with a version above `after_version`, and return the current one."""
        while self._holder.current.version <= after_version:
            await self._published.wait()
        return self._holder.current

    async def poll_once(self) -> FleetSnapshot:
        """Ask every source once, one after the other; for tools and tests that run no tasks."""
        for polled in self._sources:
            await self._poll(polled)
        return self._holder.current

    async def _run(self, polled: PolledSource) -> None:
        """Ask one source for ever."""
        while True:
            started_seconds = self._clock.monotonic_seconds()
            await self._poll(polled)
            spent_seconds = self._clock.monotonic_seconds() - started_seconds
            await asyncio.sleep(max(polled.interval_seconds - spent_seconds, 0.0))

    async def _poll(self, polled: PolledSource) -> None:
        """One round of one source: the supervisor that a fault of the source ends at."""
        source, fleet = polled.source, self._assembly.fleet
        started_seconds = self._clock.monotonic_seconds()
        try:
            async with asyncio.timeout(polled.deadline_seconds):
                report = await source.collect(fleet)
            outcomes = {_ITSELF: ANSWERED, **report.outcomes}
        except TimeoutError:
            report = SourceReport()
            outcomes = {_ITSELF: Outcome(FailureReason.TIMEOUT, f"{polled.deadline_seconds} s")}
        except Exception as error:  # noqa: BLE001 - supervisor: a bug in one source must not end the others
            if not self._instruments.is_down(source.name, _ITSELF):
                _LOG.exception("telemetry source %s failed", source.name)
            report = SourceReport()
            outcomes = {_ITSELF: Outcome(FailureReason.ERROR, repr(error))}
        spent_seconds = self._clock.monotonic_seconds() - started_seconds
        self._instruments.observe_poll(source.name, spent_seconds)
        self._instruments.note_outcomes(source.name, outcomes)
        if outcomes[_ITSELF] is ANSWERED:
            self._instruments.note_rejected(source.name, report.rejected)
        for number, part in enumerate(portions(report, replicas=_PORTION_REPLICAS)):
            if number:
                await asyncio.sleep(0)  # requests get their turn in between
            breaks = self._assembly.absorb(source.name, part, collected_for=fleet)
            self._instruments.count_rejected(source.name, breaks)
        self._publish()

    def _publish(self) -> None:
        """Replace the snapshot; tell everybody who waits."""
        snapshot = self._assembly.snapshot(
            now_seconds=self._clock.monotonic_seconds(), version=self._holder.current.version + 1
        )
        self._holder.current = snapshot
        self._instruments.publications.inc()
        self._published.set()
        self._published = asyncio.Event()
        for listener in tuple(self._listeners):
            try:
                listener(snapshot)
            except Exception:  # noqa: BLE001 - supervisor: a listener must not end the polling
                _LOG.exception("a listener to snapshots failed")
