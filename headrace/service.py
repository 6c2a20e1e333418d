"""One router process put together: sources, snapshot, picker, gRPC and admin port."""

import asyncio
import logging
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.serve_file import ServeSection
from router.admin import AdminServer
from router.decide.picker import Picker
from router.extproc.health import Readiness
from router.extproc.pick_log import PickLog
from router.extproc.server import ExtProcServer
from router.metrics import RouterMetrics
from telemetry.poller import PolledSource, Poller
from telemetry.prometheus_source import PrometheusSource
from telemetry.promql import PrometheusQuerier
from telemetry.scrape import ScrapeSource
from telemetry.system_clock import SystemClock

_log = logging.getLogger(__name__)

# DESIGN section 3: commitment is chosen about once a second.
_COMMIT_INTERVAL_SECONDS = 1.0


class Service:
    """A running router. Use as an asynchronous context, or start() and stop().

    Attributes:
        picker: The decision, for those who look at it in the same process.
        ext_proc: The gRPC server; knows its actual addresses once started.
        admin: The admin server; knows its actual port once started.
    """

    def __init__(self, config: ServeSection, fleet: Fleet) -> None:
        """Put the parts together; nothing is opened before start()."""
        clock = self._clock = SystemClock()
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        freshness = config.freshness_policy()
        snapshots = self._snapshots = SnapshotHolder(
            FleetSnapshot(fleet=fleet, published_seconds=clock.monotonic_seconds())
        )
        self._prices = PriceHolder()
        self.picker = Picker(fleet, config.decide_settings())
        picks = PickLog(self.picker)
        readiness = Readiness(snapshots)
        metrics = RouterMetrics(
            registry=registry, ledger=self.picker.ledger, snapshots=snapshots, clock=clock
        )
        self.ext_proc = ExtProcServer(
            decider=picks,
            clock=clock,
            settings=config.ext_proc_settings(),
            readiness=readiness,
            metrics=metrics,
        )
        self.admin = AdminServer(
            settings=config.admin_settings(),
            registry=registry,
            readiness=readiness,
            snapshots=snapshots,
            freshness=freshness,
            ledger=self.picker.ledger,
            picks=picks,
            clock=clock,
        )
        self._querier = _querier(config, clock)
        self._poller = Poller(
            _sources(config, clock, self._querier),
            snapshots,
            clock,
            registry=registry,
            freshness=freshness,
        )
        self._poller.subscribe(self._observe)
        self._committing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    async def start(self) -> None:
        """Listen and begin to poll.

        Raises:
            ListenError: When an address is not to be had.
            AdminListenError: When the admin port is not to be had.
        """
        try:
            await self.admin.start()
            await self.ext_proc.start()
        except Exception:
            await self.stop()
            raise
        self._poller.start()
        self._committing = asyncio.create_task(self._commit_for_ever(), name="commitment")

    async def stop(self) -> None:
        """Drain: unready first, then wait for open requests, then close."""
        await self.ext_proc.stop()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
        await self._poller.stop()
        if self._querier is not None:
            await self._querier.aclose()
        await self.admin.stop()

    def _observe(self, snapshot: FleetSnapshot) -> None:
        now_seconds = self._clock.monotonic_seconds()
        self.picker.observe(snapshot, self._prices.current, now_seconds=now_seconds)

    async def _commit_for_ever(self) -> None:
        """Choose the committed sets anew, second by second."""
        while True:
            try:
                self.picker.commit(now_seconds=self._clock.monotonic_seconds())
            except Exception:  # noqa: BLE001 - supervisor: the old sets stay in force, requests go on
                _log.exception("commitment failed")
            await asyncio.sleep(_COMMIT_INTERVAL_SECONDS)


def _querier(config: ServeSection, clock: SystemClock) -> PrometheusQuerier | None:
    prometheus = config.telemetry.prometheus
    return None if prometheus is None else PrometheusQuerier(prometheus.settings(), clock)


def _sources(
    config: ServeSection, clock: SystemClock, querier: PrometheusQuerier | None
) -> list[PolledSource]:
    sources = []
    scrape, prometheus = config.telemetry.scrape, config.telemetry.prometheus
    if scrape is not None:
        sources.append(
            PolledSource(
                source=ScrapeSource(config.scrape_settings(scrape), clock),
                interval_seconds=scrape.interval_seconds,
            )
        )
    if prometheus is not None and querier is not None:
        sources.append(
            PolledSource(
                source=PrometheusSource(
                    querier,
                    clock,
                    queries=prometheus.query_set(),
                    timeout_seconds=prometheus.timeout_seconds,
                ),
                interval_seconds=prometheus.interval_seconds,
            )
        )
    return sources
