"""A sweep at work: locks through the agents, windows through telemetry."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

from prometheus_client import CollectorRegistry

from capper.clocks.clock_board import ClockedFleet
from capper.clocks.prediction import predicted
from capper.clocks.sweep import Point, Verdict, best_of, point_of
from capper.clocks.targets import TargetLock
from capper.decide.clocks import ClockChoice
from fleet.clock import Clock
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet
from headrace.serve_file import TelemetrySection
from headrace.tune_file import TuneSection
from telemetry.poller import PolledSource, Poller
from telemetry.prometheus_source import PrometheusSource
from telemetry.promql import PrometheusQuerier
from telemetry.scrape import ScrapeSettings, ScrapeSource

_LOOK_SECONDS = 1.0
_LOOKS = 10
# Telemetry that is slower than this many windows has nothing to say.
_PATIENCE = 3.0
# A fall takes half a second, a rise to full clock four steps of 30 s.
_REACH_SECONDS = 180.0


class TuneError(Exception):
    """The sweep cannot go on; the sentence says why. Clocks are given back."""


@dataclass(frozen=True, slots=True)
class Swept:
    """A whole sweep.

    Attributes:
        points: In the order in which they were measured.
        best: To be held; None: no lock is better.
        model: What the model says.
    """

    points: tuple[Point, ...]
    best: Point | None
    model: ClockChoice | None


class Tuner:
    """Sweeps the clocks of one backend; use as an asynchronous context.

    When the context ends, everything is given back, unless `keep` was said.
    """

    def __init__(self, section: TuneSection, fleet: Fleet, backend: Backend, clock: Clock) -> None:
        """Put the parts together; nothing is touched yet."""
        self._section = section
        self._backend = backend
        self._clock = clock
        self._limits = section.limits(backend)
        self._holder = f"tune/{backend.name}"
        self._locks = section.agents.locks(lambda: fleet, ClockedFleet(), clock)
        self._snapshots = SnapshotHolder(
            FleetSnapshot(fleet=fleet, published_seconds=clock.monotonic_seconds())
        )
        self._kept = False

    async def __aenter__(self) -> Self:
        """Begin to measure."""
        self._leaving = contextlib.AsyncExitStack()
        await self._leaving.enter_async_context(self._measuring())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give back what is held."""
        await self._leaving.aclose()
        await self._locks.aclose(release=not self._kept)

    async def sweep(self) -> Swept:
        """Measure every clock, the highest first; stop where the objective is not kept any more.

        Raises:
            TuneError: A clock does not hold.
        """
        points: list[Point] = []
        model = None
        for hertz in self._section.sweep.clocks():
            async with self._held(hertz):
                await asyncio.sleep(self._section.sweep.settle_seconds)
                window = await self._window()
            if not points:
                model = predicted(self._backend, self._section.curve(), window, self._limits)
            addresses = [one.address for one in self._backend.replicas]
            points.append(point_of(hertz, window, addresses, self._limits))
            if points[-1].verdict is Verdict.TPOT:
                break  # a lower clock is slower still
        return Swept(tuple(points), best_of(points, self._limits), model)

    async def hold(self, hertz: float | None, *, seconds: float) -> None:
        """Hold a clock by one lease of this length; None: give everything back.

        Raises:
            TuneError: It does not hold.
        """
        if hertz is None:
            await self._locks.forget(self._holder)
            return
        await self._claim(hertz, seconds)

    def keep(self) -> None:
        """Leave the last lease to run out by itself."""
        self._kept = True

    @contextlib.asynccontextmanager
    async def _held(self, hertz: float) -> AsyncIterator[None]:
        """A clock, once it is reached, renewed until the block ends."""
        lease_seconds = self._section.lease_seconds
        await self._claim(hertz, lease_seconds)
        deadline = self._clock.monotonic_seconds() + _REACH_SECONDS
        while not self._locks.settled(self._holder):
            if self._clock.monotonic_seconds() > deadline:
                raise TuneError(f"{self._backend.name}: does not reach {hertz / 1e6:.0f} MHz.")
            await asyncio.sleep(min(_LOOK_SECONDS, lease_seconds / 3.0))
            await self._claim(hertz, lease_seconds)
        renewing = asyncio.create_task(self._renew(hertz, lease_seconds))
        try:
            yield
        finally:
            renewing.cancel()
            (ended,) = await asyncio.gather(renewing, return_exceptions=True)
        if isinstance(ended, TuneError):
            raise ended

    async def _renew(self, hertz: float, lease_seconds: float) -> None:
        while True:
            await asyncio.sleep(lease_seconds / 3.0)
            await self._claim(hertz, lease_seconds)

    async def _claim(self, hertz: float, lease_seconds: float) -> None:
        name = self._backend.name
        lock = TargetLock(ref=name, backend=name, hertz=hertz)
        await self._locks.keep(self._holder, [lock], self._section.terms(lease_seconds))
        problems = self._locks.problems(self._holder)
        if problems:
            raise TuneError(" ".join(problems))

    async def _window(self) -> list[FleetSnapshot]:
        """Snapshots until the last is a window younger than the first; not for ever."""
        seconds = self._section.sweep.window_seconds
        found = [self._snapshots.current]
        deadline = self._clock.monotonic_seconds() + _PATIENCE * seconds + _LOOK_SECONDS
        while found[-1].published_seconds - found[0].published_seconds < seconds:
            if self._clock.monotonic_seconds() > deadline:
                break
            await asyncio.sleep(min(_LOOK_SECONDS, seconds / _LOOKS))
            if self._snapshots.current is not found[-1]:
                found.append(self._snapshots.current)
        return found

    @contextlib.asynccontextmanager
    async def _measuring(self) -> AsyncIterator[None]:
        telemetry, registry = self._section.telemetry, CollectorRegistry()
        prometheus = telemetry.prometheus
        querier = None
        if prometheus is not None:
            querier = PrometheusQuerier(prometheus.settings(), self._clock)
        sources = _sources(telemetry, self._clock, querier)
        async with Poller(sources, self._snapshots, self._clock, registry=registry):
            yield
        if querier is not None:
            await querier.aclose()


def _sources(
    telemetry: TelemetrySection, clock: Clock, querier: PrometheusQuerier | None
) -> list[PolledSource]:
    sources = []
    scrape, prometheus = telemetry.scrape, telemetry.prometheus
    if scrape is not None:
        settings = ScrapeSettings(
            metrics_path=scrape.metrics_path,
            scheme=scrape.scheme,
            timeout_seconds=scrape.timeout_seconds,
            silent_seconds=scrape.silent_seconds,
            exporter_urls=tuple(str(url) for url in scrape.exporter_urls),
        )
        source = ScrapeSource(settings, clock)
        sources.append(PolledSource(source=source, interval_seconds=scrape.interval_seconds))
    if prometheus is not None and querier is not None:
        asked = PrometheusSource(
            querier,
            clock,
            queries=prometheus.query_set(),
            timeout_seconds=prometheus.timeout_seconds,
        )
        sources.append(PolledSource(source=asked, interval_seconds=prometheus.interval_seconds))
    return sources
