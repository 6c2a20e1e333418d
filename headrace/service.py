"""One router process put together: sources, snapshot, picker, gRPC and admin port."""

import asyncio
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.capping import Capping
from headrace.serve_file import ServeSection
from router.admin import AdminServer
from router.admission.decider import Admission
from router.admission.demand import WaitingDemand
from router.admission.metrics import AdmissionCollector
from router.admission.room_listener import RoomListener
from router.affinity_metrics import AffinityCollector
from router.decide.picker import Picker
from router.decide.room import Room
from router.decision_metrics import DecisionCollector
from router.extproc.health import Readiness
from router.extproc.pick_log import PickLog
from router.extproc.scored import ScoredDecider
from router.extproc.server import ExtProcServer
from router.kv_event_settings import KvEventsUnavailableError
from router.metering.als import AccessLogReceiver
from router.metering.metering import Metering
from router.metrics import RouterMetrics
from router.tracing import Tracing, otlp_tracing
from telemetry.fleet_source import FleetSource, FleetView, rewrite
from telemetry.poller import PolledSource, Poller
from telemetry.prometheus_source import PrometheusSource
from telemetry.promql import PrometheusQuerier
from telemetry.scrape import ScrapeSource
from telemetry.system_clock import SystemClock

if TYPE_CHECKING:
    from router.kv_events import KvEventListener

_log = logging.getLogger(__name__)

# DESIGN section 3: commitment is chosen about once a second.
_COMMIT_INTERVAL_SECONDS = 1.0


SourceFactory = Callable[[Clock, CollectorRegistry], FleetSource]
"""Makes the source of the topology from the service's clock and registry of metrics."""


class Service:
    """A running router. Use as an asynchronous context, or start() and stop().

    Attributes:
        picker: The decision, for those who look at it in the same process.
        admission: Lets requests wait; `admission.waiting()` tells who wants which model.
        metering: What its requests have taken.
        access_log: The access-log receiver, when there is one.
        ext_proc: The gRPC server; knows its actual addresses once started.
        admin: The admin server; knows its actual port once started.
        view: The newest of the topology, with the priorities and rewrites that came with it.
        capping: The capper of this process, when there is one.
    """

    def __init__(
        self, config: ServeSection, fleet: Fleet, source: SourceFactory | None = None
    ) -> None:
        """Put the parts together; nothing is opened before start().

        Args:
            config: The serve file.
            fleet: The topology until `source` gives one.
            source: Makes what keeps the topology current; None: it stays as it is.
        """
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
        self.capping: Capping | None = None
        if config.capper is not None:
            self.capping = Capping(
                config.capper,
                prices=self._prices,
                snapshots=snapshots,
                picker=self.picker,
                clock=clock,
                registry=registry,
                waiting=self._waiting,
            )
        tracing = self._tracing = _tracing(config)
        self.metering = Metering(
            self.picker,
            config.metering_settings(),
            policy=config.router.policy,
            snapshots=snapshots,
            clock=clock,
            registry=registry,
            intensity=config.metering.intensity(),
            sinks=() if tracing is None else (tracing.add,),
        )
        observability, metered = config.observability, self.metering.decider
        picks = PickLog(
            ScoredDecider(metered) if observability.emit_endpoint_scores else metered,
            capacity=observability.remembered_picks,
            explained_per_second=observability.explained_per_second,
        )
        ledger = self.picker.ledger
        self.admission = Admission(
            picks,
            Room(self.picker),
            config.admission.settings(),
            clock=clock,
            draw=random.random,
        )
        ledger.listener = RoomListener(self.admission.room_may_be, ledger.listener)
        AdmissionCollector(self.admission, registry)
        registry.register(AffinityCollector(self.picker, clock))
        self._kv_events = _kv_events(config, self.picker)
        readiness = Readiness(snapshots)
        self.view = FleetView(fleet=fleet)
        self._know(self.view)
        self._source = None if source is None else source(clock, registry)
        readiness.remark = self._remark
        metrics = RouterMetrics(
            registry=registry, ledger=self.picker.ledger, snapshots=snapshots, clock=clock
        )
        registry.register(
            DecisionCollector(
                self.picker,
                picks.verdicts,
                snapshots=snapshots,
                freshness=freshness,
                clock=clock,
            )
        )
        self.ext_proc = ExtProcServer(
            decider=self.admission,
            clock=clock,
            settings=config.ext_proc_settings(),
            readiness=readiness,
            metrics=metrics,
            observer=self.metering.recorder,
            alias=lambda model, draw: rewrite(self.view.rewrites, model, draw=draw),
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
        self.admin.show("/debug/energy", self.metering.to_dict)
        if self.capping is not None:
            self.admin.show("/debug/capping", self.capping.to_dict)
        self.access_log = _access_log_receiver(config, self.metering, clock)
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
            FleetSourceError: When there is no first view of the fleet, or no cluster to cap.
            CappingStartError: When the external scaler's address is not to be had.
        """
        try:
            await self.admin.start()
            await self.ext_proc.start()
            if self.access_log is not None:
                await self.access_log.start()
        except Exception:
            await self.stop()
            raise
        if self._source is not None:
            await self._follow(self._source)
        self._poller.start()
        self._committing = asyncio.create_task(self._commit_for_ever(), name="commitment")
        if self.capping is not None:
            try:
                await self.capping.start()
            except Exception:
                await self.stop()
                raise

    async def stop(self) -> None:
        """Drain: unready first, then wait for open requests, then close."""
        self.admission.close()
        await self.ext_proc.stop()
        if self.capping is not None:
            await self.capping.stop()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
        if self._source is not None:
            await self._source.stop()
        await self._poller.stop()
        if self._kv_events is not None:
            await self._kv_events.aclose()
        if self._querier is not None:
            await self._querier.aclose()
        await self.admin.stop()
        if self.access_log is not None:
            await self.access_log.stop()
        self.metering.close()
        if self._tracing is not None:
            # Sends what is held, over the network: the loop goes on meanwhile.
            await asyncio.to_thread(self._tracing.close)

    async def _follow(self, source: FleetSource) -> None:
        """Take the topology from `source` from now on."""
        try:
            self._adopt(await source.start(self._adopt))
        except Exception:
            await self.stop()
            raise

    def _adopt(self, view: FleetView) -> None:
        changed = view.fleet != self.view.fleet
        self.view = view
        self._know(view)
        if changed:
            self._poller.set_fleet(view.fleet)

    def _know(self, view: FleetView) -> None:
        """Models whose replicas sleep, or that have none, are not unknown: requests wait."""
        models = (*view.fleet.models(), *view.absent_models)
        self.picker.known_models = frozenset(models)
        self.admission.set_view(view.priorities, models)

    def _waiting(self) -> dict[str, WaitingDemand]:
        return self.admission.waiting()

    def _remark(self) -> str | None:
        """What is to be said of the topology though requests may come."""
        if self._source is None:
            return None
        state = self._source.state(now_seconds=self._clock.monotonic_seconds())
        return None if state.current else state.detail

    def _observe(self, snapshot: FleetSnapshot) -> None:
        now_seconds = self._clock.monotonic_seconds()
        seen = snapshot if self.capping is None else self.capping.seen_by_router(snapshot)
        self.picker.observe(seen, self._prices.current, now_seconds=now_seconds)
        if self._kv_events is not None:
            self._kv_events.follow(unit.address for unit in self.picker.units())
        self.metering.observe(snapshot)
        self.admission.room_may_be()

    async def _commit_for_ever(self) -> None:
        """Choose the committed sets anew, second by second."""
        while True:
            try:
                self.picker.commit(now_seconds=self._clock.monotonic_seconds())
            except Exception:  # noqa: BLE001 - supervisor: the old sets stay in force, requests go on
                _log.exception("commitment failed")
            self.metering.tick()
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


def _access_log_receiver(
    config: ServeSection, metering: Metering, clock: SystemClock
) -> AccessLogReceiver | None:
    if config.access_log is None or metering.completions is None:
        return None
    return AccessLogReceiver(config.access_log.settings(), metering.completions, clock)


def _kv_events(config: ServeSection, picker: Picker) -> "KvEventListener | None":
    section = config.affinity.kv_events
    if section is None:
        return None
    try:
        from router.kv_events import KvEventListener  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise KvEventsUnavailableError(
            "affinity.kv_events: needs the extra 'kv-events' (pip install 'headrace[kv-events]'): "
            f"{error.name} is missing."
        ) from error
    return KvEventListener(picker.affinity, section.settings())


def _tracing(config: ServeSection) -> Tracing | None:
    tracing = config.tracing
    if tracing is None:
        return None
    return otlp_tracing(
        tracing.otlp_endpoint,
        service_name=tracing.service_name,
        only_sampled=tracing.only_sampled,
    )
