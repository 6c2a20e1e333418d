"""Puts the keeper of racks together for a capper in a cluster."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from capper.loop import CappingLoop
from fleet.clock import Clock
from headrace.capping_inputs import PrometheusAccess

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient

    from capper.racks.keeper import RackKeeper


def racks_factory(
    access: PrometheusAccess, clock: Clock, registry: CollectorRegistry
) -> "Callable[[ApiClient, CappingLoop], RackKeeper]":
    """Makes the keeper once the API server's client and the loop are there.

    Args:
        access: The Prometheus that sensors are read from where a configuration names none.
        clock: Of the process.
        registry: For metrics.
    """
    # The clients of cluster and Prometheus take a second to import, which only those who use them
    # should wait for.
    from capper.racks.keeper import LoopView, RackKeeper  # noqa: PLC0415 - see above
    from capper.racks.metrics import RackMetrics  # noqa: PLC0415 - see above

    metrics = RackMetrics(registry)

    def make(client: "ApiClient", loop: CappingLoop) -> "RackKeeper":
        view = LoopView(entries=loop.entries, reports=lambda: loop.reports)
        return RackKeeper(client, view, clock=clock, prometheus=access.settings(), metrics=metrics)

    return make
