"""The parent of several workers: everything that a router does once."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from headrace.fleet_feed import FleetFeed, SourceFactory
from headrace.process_metrics import tell_of_process
from headrace.repeating import repeat
from headrace.routing import Routing
from headrace.routing_plan import routing_plan
from headrace.serve_file import ServeSection
from headrace.workers.access_logs import LogForwarder
from headrace.workers.crew import Crew
from headrace.workers.layout import plan_of_parent, with_certificate
from headrace.workers.metrics import MergedRegistry, WorkersCollector
from headrace.workers.mirror_metrics import MirrorCollector
from headrace.workers.readiness import CrewReadiness, HealthServer
from headrace.workers.series import SummedSeries
from headrace.workers.shared_port import SharedPort
from headrace.workers.told import Told
from router.admin import AdminServer
from router.metering.als import AccessLogReceiver
from router.workers.board import Board
from router.workers.joining import join
from telemetry.fleet_source import FleetView
from telemetry.system_clock import SystemClock

if TYPE_CHECKING:
    from headrace.capping import Capping

_COMMIT_INTERVAL_SECONDS = 1.0
_TICK_SECONDS = 0.02


class WorkersService:
    """A running router of several workers. start() and stop(), as headrace.service.Service.

    It has a picker of its own that answers nobody and repeats what the workers do: the capper, the
    fleet's energy and the requests in flight of all are read off it.

    Attributes:
        crew: The workers.
        admin: The admin server; knows its actual port once started.
        access_log: The access-log receiver, when there is one.
        capping: The capper, when there is one.
    """

    def __init__(
        self, config: ServeSection, fleet: Fleet, source: SourceFactory | None = None
    ) -> None:
        """Put the parts together; nothing is opened before start().

        Args:
            config: The serve file; more than one worker.
            fleet: The topology until `source` gives one.
            source: Makes what keeps the topology current; None: it stays as it is.

        Raises:
            ListenError: When the one port of all workers is not to be had.
        """
        clock = self._clock = SystemClock()
        registry = MergedRegistry()
        tell_of_process(registry)
        self._prices = PriceHolder()
        self._feed = FleetFeed(config, fleet, source, clock=clock, registry=registry)
        snapshots = self._feed.snapshots
        plan = with_certificate(routing_plan(config), clock)
        self._shared_port = SharedPort(plan.ext_proc) if config.ext_proc.shared_port else None
        if self._shared_port is not None:
            plan = self._shared_port.given_to(plan)
        board = Board.create(config.workers)
        observability = config.observability
        self.crew = registry.crew = Crew(
            plan,
            config.workers,
            log_format=observability.log_format,
            level=logging.getLogger().level,
            board=board,
        )
        readiness = self._readiness = CrewReadiness(snapshots, self.crew)
        readiness.remark = self._feed.remark
        series = SummedSeries()
        self._routing = Routing(
            plan_of_parent(plan),
            fleet,
            snapshots=snapshots,
            readiness=readiness,
            clock=clock,
            registry=registry,
            series=series,
        )
        self._mirror = join(board, None, self._routing.picker)
        registry.register(MirrorCollector(None))
        registry.register(WorkersCollector(self.crew.workers))
        forwarder = LogForwarder(self.crew)
        told = Told(self.crew, forwarder, series, self._catch_up)
        registry.counted = told.counted
        self.capping = self._capping(config, registry)
        self.admin = AdminServer(
            settings=config.admin_settings(),
            registry=registry,
            readiness=readiness,
            snapshots=snapshots,
            freshness=config.freshness_policy(),
            ledger=self._routing.picker.ledger,
            picks=self._routing.picks,
            clock=clock,
        )
        self.admin.ask_others(
            refresh=told.refresh, last_picks=self.crew.picks, explain=self.crew.explain
        )
        self.admin.show("/debug/energy", self._routing.metering.to_dict)
        self.admin.show("/debug/workers", told.workers)
        if self.capping is not None:
            self.admin.show("/debug/capping", self.capping.to_dict)
        self.access_log = (
            None
            if config.access_log is None
            else AccessLogReceiver(config.access_log.settings(), forwarder, clock)
        )
        health_port = plan.ext_proc.health_port
        self._health = (
            None
            if health_port is None
            else HealthServer(readiness, host=plan.ext_proc.host, port=health_port)
        )
        self._drain_seconds = plan.ext_proc.drain_seconds
        self._feed.subscribe(self._adopt, self._observe)
        self._tasks: list[asyncio.Task[None]] = []

    def ready(self) -> dict[str, Any]:
        """What a ready file tells, once started."""
        return {
            "pid": os.getpid(),
            "worker_pids": [worker.pid for worker in self.crew.workers],
            "ext_proc": self.crew.addresses(),
            "admin_port": self.admin.port,
            "access_log_port": None if self.access_log is None else self.access_log.port,
        }

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when something of ready() has changed."""
        self.crew.changed = listener

    async def start(self) -> None:
        """Start the workers, listen and begin to poll.

        Raises:
            WorkerStartError: When a worker cannot serve.
            ListenError: When the health port is not to be had.
            AdminListenError: When the admin port is not to be had.
            AccessLogListenError: When the access logs' port is not to be had.
            FleetSourceError: When there is no first view of the fleet, or no cluster to cap.
            CappingStartError: When the external scaler's address is not to be had.
        """
        try:
            await self.admin.start()
            if self._health is not None:
                await self._health.start()
            if self.access_log is not None:
                await self.access_log.start()
            await self.crew.start()
            await self._feed.start()
            self._tasks = [
                asyncio.create_task(repeat(work, every_seconds=seconds), name=work.__name__)
                for work, seconds in (
                    (self._catch_up, _TICK_SECONDS),
                    (self._commit, _COMMIT_INTERVAL_SECONDS),
                )
            ]
            if self.capping is not None:
                await self.capping.start()
        except Exception:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain: unready first, then the workers end their requests, then close."""
        self._readiness.drain()
        await self.crew.stop(drain_seconds=self._drain_seconds)
        if self.capping is not None:
            await self.capping.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._feed.stop()
        await self.admin.stop()
        if self.access_log is not None:
            await self.access_log.stop()
        if self._health is not None:
            await self._health.stop()
        if self._shared_port is not None:
            self._shared_port.close()
        await self._routing.aclose()

    def _capping(self, config: ServeSection, registry: MergedRegistry) -> "Capping | None":
        if config.capper is None:
            return None
        # Half a second and tens of megabytes that only those who cap should pay.
        from headrace.capping import Capping  # noqa: PLC0415 - see above

        return Capping(
            config.capper,
            prices=self._prices,
            snapshots=self._feed.snapshots,
            picker=self._routing.picker,
            clock=self._clock,
            registry=registry,
            waiting=self.crew.waiting,
        )

    # What comes in

    def _adopt(self, view: FleetView) -> None:
        self._routing.adopt(view)
        self.crew.adopt(view)

    def _observe(self, snapshot: FleetSnapshot) -> None:
        seen = snapshot if self.capping is None else self.capping.seen_by_router(snapshot)
        self.crew.publish(self._feed.view, snapshot, seen.fleet, self._prices.current)
        self._routing.observe(snapshot, seen, self._prices.current)

    def _catch_up(self) -> None:
        """Keep the ledger of all current."""
        self._mirror.tick(now_seconds=self._clock.monotonic_seconds())

    def _commit(self) -> Iterator[None]:
        """Choose the committed sets of all; the capper asks what they leave out."""
        yield from self._routing.picker.committing(now_seconds=self._clock.monotonic_seconds())
