"""What a router does once, however many processes answer Envoy."""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import CollectorRegistry

from fleet.price import PriceBoard, PriceHolder
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.fleet_feed import FleetFeed, SourceFactory
from headrace.process_metrics import tell_of_process
from headrace.repeating import Work, end_tasks, start_repeating
from headrace.routing import COMMIT_INTERVAL_SECONDS, Routing, RoutingPlan
from headrace.serve_file import ServeSection
from router.admin import AdminServer
from router.admission.demand import WaitingDemand
from router.extproc.health import Readiness
from router.metering.als import AccessLogReceiver, Completer
from router.metering.series import Series
from telemetry.fleet_source import FleetView
from telemetry.system_clock import SystemClock

if TYPE_CHECKING:
    from headrace.capping import Capping


class Centre(ABC):
    """Sources, snapshot, capper, admin port and access logs; a subclass answers Envoy.

    Use as an asynchronous context, or start() and stop().

    Attributes:
        routing: A decision of this process, whether it answers Envoy or repeats what others do.
        snapshots: The newest of what is known of the fleet.
        access_log: The access-log receiver, when there is one.
        admin: The admin server; knows its actual port once started.
        capping: The capper of this process, when there is one.
    """

    def __init__(  # noqa: PLR0913 - puts the router together, all by name
        self,
        config: ServeSection,
        fleet: Fleet,
        source: SourceFactory | None,
        *,
        plan: RoutingPlan,
        registry: CollectorRegistry,
        make_readiness: Callable[[SnapshotHolder], Readiness],
        series: Series | None = None,
        waiting: Callable[[], Mapping[str, WaitingDemand]] | None = None,
        completer: Completer | None = None,
    ) -> None:
        """Put the parts together; nothing is opened before start().

        Args:
            config: The serve file.
            fleet: The topology until `source` gives one.
            source: Makes what keeps the topology current; None: it stays as it is.
            plan: Of the routing.
            registry: For metrics.
            make_readiness: Makes what health checks are answered from.
            series: Sums of ended requests, where other processes count them.
            waiting: Requests that wait, by model; None: those that wait in this process.
            completer: Takes access-log entries; None: this process does.
        """
        clock = self._clock = SystemClock()
        tell_of_process(registry)
        self._prices = PriceHolder()
        self._feed = FleetFeed(config, fleet, source, clock=clock, registry=registry)
        snapshots = self.snapshots = self._feed.snapshots
        readiness = self._readiness = make_readiness(snapshots)
        readiness.remark = self._feed.remark
        routing = self.routing = Routing(
            plan,
            fleet,
            snapshots=snapshots,
            readiness=readiness,
            clock=clock,
            registry=registry,
            series=series,
        )
        self.capping: Capping | None = None
        if config.capper is not None:
            # Half a second and twenty megabytes that only those who cap should pay.
            from headrace import capping  # noqa: PLC0415 - see above

            self.capping = capping.Capping(
                config.capper,
                prices=self._prices,
                snapshots=snapshots,
                picker=routing.picker,
                clock=clock,
                registry=registry,
                waiting=waiting or routing.admission.waiting,
            )
        self.admin = AdminServer(
            settings=config.admin_settings(),
            registry=registry,
            readiness=readiness,
            snapshots=snapshots,
            freshness=config.freshness_policy(),
            ledger=routing.picker.ledger,
            picks=routing.picks,
            clock=clock,
        )
        self.admin.show("/debug/energy", routing.metering.to_dict)
        if self.capping is not None:
            self.admin.show("/debug/capping", self.capping.to_dict)
        completer = completer or routing.metering.completions
        self.access_log: AccessLogReceiver | None = None
        if config.access_log is not None and completer is not None:
            self.access_log = AccessLogReceiver(config.access_log.settings(), completer, clock)
        self._feed.subscribe(self._adopt, self._observe)
        self._repeated: list[tuple[Work, float]] = [(routing.commit, COMMIT_INTERVAL_SECONDS)]
        self._tasks: list[asyncio.Task[None]] = []

    @abstractmethod
    def addresses(self) -> list[str]:
        """Where Envoy finds the router, as gRPC targets, once started."""

    @abstractmethod
    def worker_pids(self) -> list[int | None]:
        """The processes that answer Envoy."""

    @abstractmethod
    async def _open(self) -> None:
        """Begin to answer Envoy."""

    @abstractmethod
    async def _drain(self) -> None:
        """Unready first, then wait for open requests, then answer no more."""

    def ready(self) -> dict[str, Any]:
        """What a ready file tells, once started."""
        return {
            "pid": os.getpid(),
            "worker_pids": self.worker_pids(),
            "ext_proc": self.addresses(),
            "admin_port": self.admin.port,
            "access_log_port": None if self.access_log is None else self.access_log.port,
        }

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
            AdminListenError: When the admin port is not to be had.
            AccessLogListenError: When the access logs' port is not to be had.
            ListenError: When an address that Envoy or health checks use is not to be had.
            WorkerStartError: When a worker cannot serve.
            FleetSourceError: When there is no first view of the fleet, or no cluster to cap.
            CappingStartError: When the external scaler's address is not to be had.
        """
        try:
            await self.admin.start()
            if self.access_log is not None:
                await self.access_log.start()
            await self._open()
            await self._feed.start()
            self._tasks = start_repeating(*self._repeated)
            if self.capping is not None:
                await self.capping.start()
        except Exception:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain, then close."""
        await self._drain()
        if self.capping is not None:
            await self.capping.stop()
        await end_tasks(self._tasks)
        await self._feed.stop()
        await self.admin.stop()
        if self.access_log is not None:
            await self.access_log.stop()
        await self.routing.aclose()

    def _adopt(self, view: FleetView) -> None:
        self.routing.adopt(view)

    def _observe(self, snapshot: FleetSnapshot) -> None:
        seen = snapshot if self.capping is None else self.capping.seen_by_router(snapshot)
        self._publish(snapshot, seen, self._prices.current)

    def _publish(self, snapshot: FleetSnapshot, seen: FleetSnapshot, prices: PriceBoard) -> None:
        self.routing.observe(snapshot, seen, prices)
