"""A router in one process, which answers Envoy itself."""

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from fleet.topology import Fleet
from headrace.centre import Centre
from headrace.fleet_feed import SourceFactory
from headrace.routing_plan import routing_plan
from headrace.serve_file import ServeSection
from router.admission.decider import Admission
from router.decide.picker import Picker
from router.extproc.health import Readiness
from router.metering.metering import Metering


class Service(Centre):
    """A running router. Use as an asynchronous context, or start() and stop()."""

    def __init__(
        self, config: ServeSection, fleet: Fleet, source: SourceFactory | None = None
    ) -> None:
        """Put the parts together, as Centre does; nothing is opened before start()."""
        super().__init__(
            config,
            fleet,
            source,
            plan=routing_plan(config),
            registry=CollectorRegistry(),
            make_readiness=Readiness,
        )

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

    def addresses(self) -> list[str]:
        """Where Envoy finds the router, as gRPC targets, once started."""
        return list(self.routing.ext_proc.addresses())

    def worker_pids(self) -> list[int | None]:
        """This process."""
        return [os.getpid()]

    def on_change(self, listener: Callable[[], None]) -> None:
        """Nothing of ready() ever changes in one process."""

    async def _open(self) -> None:
        await self.routing.ext_proc.start()

    async def _drain(self) -> None:
        await self.routing.stop()
