"""One router process put together: sources, snapshot, picker, gRPC and admin port."""

import asyncio
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from headrace.fleet_feed import FleetFeed, SourceFactory
from headrace.process_metrics import tell_of_process
from headrace.repeating import repeat
from headrace.routing import Routing
from headrace.routing_plan import routing_plan
from headrace.serve_file import ServeSection
from router.admin import AdminServer
from router.admission.decider import Admission
from router.decide.picker import Picker
from router.extproc.health import Readiness
from router.extproc.server import ExtProcServer
from router.metering.als import AccessLogReceiver
from router.metering.metering import Metering
from telemetry.fleet_source import FleetView
from telemetry.system_clock import SystemClock

if TYPE_CHECKING:
    from headrace.capping import Capping

__all__ = ["Service", "SourceFactory"]


# DESIGN section 3: commitment is chosen about once a second.
_COMMIT_INTERVAL_SECONDS = 1.0


class Service:
    """A running router. Use as an asynchronous context, or start() and stop().

    Attributes:
        routing: What answers Envoy.
        snapshots: The newest of what is known of the fleet.
        access_log: The access-log receiver, when there is one.
        admin: The admin server; knows its actual port once started.
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
        tell_of_process(registry)
        self._prices = PriceHolder()
        self._feed = FleetFeed(config, fleet, source, clock=clock, registry=registry)
        snapshots = self.snapshots = self._feed.snapshots
        readiness = Readiness(snapshots)
        readiness.remark = self._feed.remark
        self.routing = Routing(
            routing_plan(config),
            fleet,
            snapshots=snapshots,
            readiness=readiness,
            clock=clock,
            registry=registry,
        )
        self.capping: Capping | None = None
        if config.capper is not None:
            # Twenty megabytes, which a process that only routes should not hold.
            from headrace import capping  # noqa: PLC0415 - see above

            self.capping = capping.Capping(
                config.capper,
                prices=self._prices,
                snapshots=snapshots,
                picker=self.picker,
                clock=clock,
                registry=registry,
                waiting=self.admission.waiting,
            )
        self.admin = AdminServer(
            settings=config.admin_settings(),
            registry=registry,
            readiness=readiness,
            snapshots=snapshots,
            freshness=config.freshness_policy(),
            ledger=self.picker.ledger,
            picks=self.routing.picks,
            clock=clock,
        )
        self.admin.show("/debug/energy", self.metering.to_dict)
        if self.capping is not None:
            self.admin.show("/debug/capping", self.capping.to_dict)
        self.access_log = access_log_receiver(config, self.metering, clock)
        self._feed.subscribe(self.routing.adopt, self._observe)
        self._committing: asyncio.Task[None] | None = None

    @property
    def picker(self) -> Picker:
        """The decision, for those who look at it in the same process."""
        return self.routing.picker

    @property
    def admission(self) -> Admission:
        """Lets requests wait; `admission.waiting()` tells who wants which model."""
        return self.routing.admission

    @property
    def metering(self) -> Metering:
        """What its requests have taken."""
        return self.routing.metering

    @property
    def ext_proc(self) -> ExtProcServer:
        """The gRPC server; knows its actual addresses once started."""
        return self.routing.ext_proc

    @property
    def view(self) -> FleetView:
        """The newest of the topology, with the priorities and rewrites that came with it."""
        return self.routing.view

    def ready(self) -> dict[str, Any]:
        """What a ready file tells, once started."""
        return {
            "pid": os.getpid(),
            "worker_pids": [os.getpid()],
            "ext_proc": list(self.ext_proc.addresses()),
            "admin_port": self.admin.port,
            "access_log_port": None if self.access_log is None else self.access_log.port,
        }

    def on_change(self, listener: Callable[[], None]) -> None:
        """Nothing of ready() ever changes in one process."""

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
            await self._feed.start()
            self._committing = asyncio.create_task(
                repeat(self._commit, every_seconds=_COMMIT_INTERVAL_SECONDS), name="commitment"
            )
            if self.capping is not None:
                await self.capping.start()
        except Exception:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain: unready first, then wait for open requests, then close."""
        await self.routing.stop()
        if self.capping is not None:
            await self.capping.stop()
        if self._committing is not None:
            self._committing.cancel()
            await asyncio.gather(self._committing, return_exceptions=True)
        await self._feed.stop()
        await self.admin.stop()
        if self.access_log is not None:
            await self.access_log.stop()
        await self.routing.aclose()

    def _observe(self, snapshot: FleetSnapshot) -> None:
        seen = snapshot if self.capping is None else self.capping.seen_by_router(snapshot)
        self.routing.observe(snapshot, seen, self._prices.current)

    def _commit(self) -> Iterator[None]:
        """Choose the committed sets anew; after a fault the old ones stay in force."""
        self.metering.tick()
        yield from self.picker.committing(now_seconds=self._clock.monotonic_seconds())


def access_log_receiver(
    config: ServeSection, metering: Metering, clock: Clock
) -> AccessLogReceiver | None:
    """The receiver of the proxy's access logs, when the serve file wants one."""
    if config.access_log is None or metering.completions is None:
        return None
    return AccessLogReceiver(config.access_log.settings(), metering.completions, clock)
