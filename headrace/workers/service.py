"""A router of several workers: the parent does everything that a router does once."""

import logging
from collections.abc import Callable
from functools import partial

from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from headrace.centre import Centre
from headrace.fleet_feed import SourceFactory
from headrace.routing_plan import routing_plan
from headrace.serve_file import ServeSection
from headrace.workers.access_logs import LogForwarder
from headrace.workers.crew import Crew
from headrace.workers.layout import plan_of_parent, with_certificate
from headrace.workers.metrics import MergedRegistry, WorkersCollector
from headrace.workers.mirror_metrics import MirrorCollector
from headrace.workers.readiness import CrewReadiness
from headrace.workers.series import SummedSeries
from headrace.workers.shared_port import SharedPort
from headrace.workers.told import Told
from router.extproc.health import HealthServer
from router.workers.board import Board
from router.workers.joining import TICK_SECONDS, join
from telemetry.fleet_source import FleetView
from telemetry.system_clock import SystemClock


class WorkersService(Centre):
    """A running router of several workers. start() and stop(), as headrace.service.Service.

    It has a picker of its own that answers nobody and repeats what the workers do: the capper, the
    fleet's energy and the requests in flight of all are read off it.

    Attributes:
        crew: The workers.
    """

    def __init__(
        self, config: ServeSection, fleet: Fleet, source: SourceFactory | None = None
    ) -> None:
        """Put the parts together, as Centre does; more than one worker.

        Raises:
            ListenError: When the one port of all workers is not to be had.
        """
        plan = with_certificate(routing_plan(config), SystemClock())
        self._shared_port = SharedPort(plan.ext_proc) if config.ext_proc.shared_port else None
        if self._shared_port is not None:
            plan = self._shared_port.given_to(plan)
        board = Board.create(config.workers)
        crew = self.crew = Crew(
            plan,
            config.workers,
            log_format=config.observability.log_format,
            level=logging.getLogger().level,
            board=board,
        )
        registry = MergedRegistry(crew.workers)
        series, forwarder = SummedSeries(), LogForwarder(crew)
        super().__init__(
            config,
            fleet,
            source,
            plan=plan_of_parent(plan),
            registry=registry,
            make_readiness=partial(CrewReadiness, crew=crew),
            series=series,
            waiting=crew.waiting,
            completer=forwarder,
        )
        self._mirror = join(board, None, self.routing.picker)
        self._repeated.append((self._catch_up, TICK_SECONDS))
        registry.register(MirrorCollector(None))
        registry.register(WorkersCollector(crew.workers))
        told = Told(crew, forwarder, series, self._catch_up)
        registry.counted = told.counted
        self.admin.ask_others(refresh=told.refresh, last_picks=crew.picks, explain=crew.explain)
        self.admin.show("/debug/workers", told.workers)
        settings = plan.ext_proc
        self._health = HealthServer(self._readiness, host=settings.host, port=settings.health_port)
        self._drain_seconds = settings.drain_seconds

    def addresses(self) -> list[str]:
        """Where Envoy finds the router, as gRPC targets, once started."""
        return self.crew.addresses()

    def worker_pids(self) -> list[int | None]:
        """The workers; None while one is started again."""
        return [worker.pid for worker in self.crew.workers]

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` when something of ready() has changed."""
        self.crew.changed = listener

    async def _open(self) -> None:
        await self._health.start()
        await self.crew.start()

    async def _drain(self) -> None:
        self._readiness.drain()
        await self.crew.stop(drain_seconds=self._drain_seconds)
        await self._health.stop()
        if self._shared_port is not None:
            self._shared_port.close()

    def _adopt(self, view: FleetView) -> None:
        super()._adopt(view)
        self.crew.adopt(view)

    def _publish(self, snapshot: FleetSnapshot, seen: FleetSnapshot, prices: PriceBoard) -> None:
        self.crew.publish(self._feed.view, snapshot, seen.fleet, prices)
        super()._publish(snapshot, seen, prices)

    def _catch_up(self) -> None:
        """Keep the ledger of all current."""
        self._mirror.tick(now_seconds=self._clock.monotonic_seconds())
