"""What a router knows of its fleet, kept current: topology, telemetry and the snapshots of both."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.serve_file import ServeSection
from telemetry.fleet_source import FleetSource, FleetView
from telemetry.poller import PolledSource, Poller
from telemetry.scrape import ScrapeSource

if TYPE_CHECKING:
    from telemetry.promql import PrometheusQuerier

SourceFactory = Callable[[Clock, CollectorRegistry], FleetSource]
"""Makes the source of the topology from the service's clock and registry of metrics."""


class FleetFeed:
    """Polls, and follows the topology. Start once, stop once.

    Attributes:
        snapshots: The newest of everything.
        view: The newest of the topology, with the priorities and rewrites that came with it.
    """

    def __init__(
        self,
        config: ServeSection,
        fleet: Fleet,
        make_source: SourceFactory | None,
        *,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        """Prepare; nothing is asked before start().

        Args:
            config: The serve file.
            fleet: The topology until the source gives one.
            make_source: Makes what keeps the topology current; None: it stays as it is.
            clock: Of the process.
            registry: For metrics.
        """
        self._clock = clock
        self.view = FleetView(fleet=fleet)
        self.snapshots = SnapshotHolder(
            FleetSnapshot(fleet=fleet, published_seconds=clock.monotonic_seconds())
        )
        self._source = None if make_source is None else make_source(clock, registry)
        self._querier = _querier(config, clock)
        self._poller = Poller(
            _sources(config, clock, self._querier),
            self.snapshots,
            clock,
            registry=registry,
            freshness=config.freshness_policy(),
        )
        self._on_view: Callable[[FleetView], None] | None = None

    def subscribe(
        self,
        on_view: Callable[[FleetView], None],
        on_snapshot: Callable[[FleetSnapshot], None],
    ) -> None:
        """Tell of views, before the snapshot that first has their replicas, and of snapshots."""
        self._on_view = on_view
        self._poller.subscribe(on_snapshot)

    async def start(self) -> None:
        """Take the first view and begin to poll.

        Raises:
            FleetSourceError: When there is no first view of the fleet.
        """
        if self._source is not None:
            self._adopt(await self._source.start(self._adopt))
        self._poller.start()

    async def stop(self) -> None:
        """End."""
        if self._source is not None:
            await self._source.stop()
        await self._poller.stop()
        if self._querier is not None:
            await self._querier.aclose()

    def remark(self) -> str | None:
        """What is to be said of the topology though requests may come."""
        if self._source is None:
            return None
        state = self._source.state(now_seconds=self._clock.monotonic_seconds())
        return None if state.current else state.detail

    def _adopt(self, view: FleetView) -> None:
        changed = view.fleet != self.view.fleet
        self.view = view
        if self._on_view is not None:
            self._on_view(view)
        if changed:
            self._poller.set_fleet(view.fleet)


def _querier(config: ServeSection, clock: Clock) -> "PrometheusQuerier | None":
    prometheus = config.telemetry.prometheus
    if prometheus is None:
        return None
    # Several megabytes of clients, which those without a Prometheus should not hold.
    from telemetry.promql import PrometheusQuerier  # noqa: PLC0415 - see above

    return PrometheusQuerier(prometheus.settings(), clock)


def _sources(
    config: ServeSection, clock: Clock, querier: "PrometheusQuerier | None"
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
        from telemetry.prometheus_source import PrometheusSource  # noqa: PLC0415 - as in _querier

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
