"""The part of a router that answers Envoy, put together: one of it in every process that does.

It neither reads telemetry nor caps: whoever owns it tells it of the topology, of snapshots and of
prices. So `headrace serve` runs it beside both in one process, and every worker of
`headrace serve --workers` runs it alone.
"""

import asyncio
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from fleet.price import PriceBoard
from fleet.signals import FreshnessPolicy
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from router.admission.decider import Admission
from router.admission.metrics import AdmissionCollector
from router.admission.room_listener import RoomListener
from router.admission.settings import AdmissionSettings
from router.affinity_metrics import AffinityCollector
from router.decide.picker import Picker
from router.decide.room import Room
from router.decide.settings import DecideSettings
from router.decision_metrics import DecisionCollector
from router.extproc.health import Readiness
from router.extproc.pick_log import PickLog
from router.extproc.scored import ScoredDecider
from router.extproc.server import ExtProcServer, ExtProcSettings
from router.kv_event_settings import KvEventSettings, KvEventsUnavailableError
from router.metering.intensity import StaticIntensity
from router.metering.metering import Metering, MeteringSettings
from router.metering.series import Series
from router.metrics import RouterMetrics
from router.tracing import Tracing, otlp_tracing
from telemetry.fleet_source import FleetView, rewrite

if TYPE_CHECKING:
    from router.kv_events import KvEventListener

_log = logging.getLogger(__name__)

COMMIT_INTERVAL_SECONDS = 1.0
"""DESIGN section 3: commitment is chosen about once a second."""

# A snapshot of a thousand replicas takes some 15 ms to take in; requests wait for this part of it.
_HELD_UP_SECONDS = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingPlan:
    """Where spans go (see router.tracing.otlp_tracing)."""

    endpoint: str
    service_name: str
    only_sampled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPlan:
    """Everything that a Routing is set up with; plain values, so that it can go to a worker.

    Attributes:
        decide: Of the picker.
        admission: How requests wait.
        metering: What is measured of requests.
        intensity: Carbon intensity of the grids.
        ext_proc: Where Envoy finds it.
        freshness: Of signals, for the metrics.
        tell_scores: Whether the gateway is told what candidates would have cost.
        remembered_picks: How many decisions are kept for people.
        explained_per_second: How many of them are explained at most.
        kv_events: Of the engines; None: not listened to.
        tracing: Where spans go; None: nowhere.
    """

    decide: DecideSettings
    admission: AdmissionSettings
    metering: MeteringSettings
    intensity: StaticIntensity
    ext_proc: ExtProcSettings
    freshness: FreshnessPolicy
    tell_scores: bool
    remembered_picks: int
    explained_per_second: float
    kv_events: KvEventSettings | None
    tracing: TracingPlan | None


class Routing:
    """Decides, meters and answers. It is told of the fleet, and polls nothing itself.

    Attributes:
        picker: The decision.
        admission: Lets requests wait.
        metering: What requests have taken.
        picks: The last decisions.
        ext_proc: The gRPC server; knows its actual addresses once started.
        view: The newest of the topology, with the priorities and rewrites that came with it.
    """

    def __init__(
        self,
        plan: RoutingPlan,
        fleet: Fleet,
        *,
        snapshots: SnapshotHolder,
        readiness: Readiness,
        clock: Clock,
        registry: CollectorRegistry,
        series: Series | None = None,
    ) -> None:
        """Put the parts together; nothing is opened before start().

        Args:
            plan: Settings of all parts.
            fleet: The topology until adopt() gives another.
            snapshots: Read by the metrics; written by the owner.
            readiness: Told to the data plane.
            clock: Of the process.
            registry: For metrics.
            series: Sums of ended requests, where other processes count them.

        Raises:
            KvEventsUnavailableError: When the plan wants them and their extra is not installed.
            TracingUnavailableError: Likewise.
        """
        self._clock = clock
        self._observing: asyncio.Task[None] | None = None
        self.picker = Picker(fleet, plan.decide)
        self._tracing = _tracing(plan.tracing)
        self.metering = Metering(
            self.picker,
            plan.metering,
            policy=plan.decide.policy,
            snapshots=snapshots,
            clock=clock,
            registry=registry,
            intensity=plan.intensity,
            sinks=() if self._tracing is None else (self._tracing.add,),
            series=series,
        )
        metered = self.metering.decider
        self.picks = PickLog(
            ScoredDecider(metered) if plan.tell_scores else metered,
            capacity=plan.remembered_picks,
            explained_per_second=plan.explained_per_second,
        )
        ledger = self.picker.ledger
        self.admission = Admission(
            self.picks, Room(self.picker), plan.admission, clock=clock, draw=random.random
        )
        ledger.listener = RoomListener(self.admission.room_may_be, ledger.listener)
        AdmissionCollector(self.admission, registry)
        registry.register(AffinityCollector(self.picker, clock))
        self._kv_events = _kv_events(plan.kv_events, self.picker)
        self.view = FleetView(fleet=fleet)
        self.adopt(self.view)
        metrics = RouterMetrics(registry=registry, ledger=ledger, snapshots=snapshots, clock=clock)
        registry.register(
            DecisionCollector(
                self.picker,
                self.picks.verdicts,
                snapshots=snapshots,
                freshness=plan.freshness,
                clock=clock,
            )
        )
        self.ext_proc = ExtProcServer(
            decider=self.admission,
            clock=clock,
            settings=plan.ext_proc,
            readiness=readiness,
            metrics=metrics,
            observer=self.metering.recorder,
            alias=lambda model, draw: rewrite(self.view.rewrites, model, draw=draw),
        )

    def adopt(self, view: FleetView) -> None:
        """Take the topology's names; its replicas come with the next snapshot.

        Models whose replicas sleep, or that have none, are not unknown: requests wait.
        """
        self.view = view
        models = (*view.fleet.models(), *view.absent_models)
        self.picker.known_models = frozenset(models)
        self.admission.set_view(view.priorities, models)

    def observe(self, snapshot: FleetSnapshot, seen: FleetSnapshot, prices: PriceBoard) -> None:
        """Take in a published snapshot; of a large fleet little by little, requests in between.

        One that comes before the last is taken in takes its place.

        Args:
            snapshot: All that is known.
            seen: Of it, what requests may go to: without replicas that sleep.
            prices: Of the capper.
        """
        if self._observing is not None:
            self._observing.cancel()
            self._observing = None
        steps = self._steps(snapshot, seen, prices)
        if not self._advance(steps):
            self._observing = asyncio.create_task(self._go_on(steps), name="observing")

    async def _go_on(self, steps: Iterator[None]) -> None:
        try:
            while True:
                await asyncio.sleep(0)  # others have waited: it is their turn
                if self._advance(steps):
                    return
        except Exception:  # noqa: BLE001 - supervisor: requests go on with what is known
            _log.exception("a snapshot was not taken in")

    def _advance(self, steps: Iterator[None]) -> bool:
        """Go on for as long as requests may be held up; whether the end was reached."""
        until_seconds = self._clock.monotonic_seconds() + _HELD_UP_SECONDS
        return all(self._clock.monotonic_seconds() < until_seconds for _ in steps)

    def _steps(
        self, snapshot: FleetSnapshot, seen: FleetSnapshot, prices: PriceBoard
    ) -> Iterator[None]:
        yield from self.picker.observing(seen, prices, now_seconds=self._clock.monotonic_seconds())
        if self._kv_events is not None:
            self._kv_events.follow(unit.address for unit in self.picker.units())
        self.metering.observe(snapshot)
        self.admission.room_may_be()

    def commit(self) -> Iterator[None]:
        """Choose the committed sets anew; after a fault the old ones stay in force."""
        self.metering.tick()
        yield from self.picker.committing(now_seconds=self._clock.monotonic_seconds())

    async def stop(self) -> None:
        """Drain: those who wait are refused, open requests end, then the server closes."""
        self.admission.close()
        await self.ext_proc.stop()

    async def aclose(self) -> None:
        """Let go of everything else, once nothing can end a request or bring a snapshot."""
        if self._observing is not None:
            self._observing.cancel()
            await asyncio.gather(self._observing, return_exceptions=True)
        if self._kv_events is not None:
            await self._kv_events.aclose()
        self.metering.close()
        if self._tracing is not None:
            # Sends what is held, over the network: the loop goes on meanwhile.
            await asyncio.to_thread(self._tracing.close)


def _kv_events(settings: KvEventSettings | None, picker: Picker) -> "KvEventListener | None":
    if settings is None:
        return None
    try:
        from router.kv_events import KvEventListener  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise KvEventsUnavailableError(
            "affinity.kv_events: needs the extra 'kv-events' (pip install 'headrace[kv-events]'): "
            f"{error.name} is missing."
        ) from error
    return KvEventListener(picker.affinity, settings)


def _tracing(plan: TracingPlan | None) -> Tracing | None:
    if plan is None:
        return None
    return otlp_tracing(
        plan.endpoint, service_name=plan.service_name, only_sampled=plan.only_sampled
    )
