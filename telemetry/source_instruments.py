"""What a fleet source says about itself: Prometheus metrics, computed when somebody scrapes."""

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleet.clock import Clock
from telemetry.fleet_source import FleetSource, FleetView

_LOG = logging.getLogger(__name__)


class SourceInstruments(Collector):
    """Metrics of one source, and one log line for each change of what is wrong."""

    def __init__(self, source: FleetSource, clock: Clock, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        self._source = source
        self._clock = clock
        self._view: FleetView | None = None
        self._problems: frozenset[str] = frozenset()
        self._current = True
        self.views = Counter(
            "headrace_discovery_views_total",
            "Views of the fleet, by whether they could be used (published, rejected)",
            ["source", "result"],
            registry=registry,
        )
        self.failures = Counter(
            "headrace_discovery_failures_total",
            "Times the fleet's source could not be asked",
            ["source", "resource", "reason"],
            registry=registry,
        )
        registry.register(self)

    def note_published(self, view: FleetView) -> None:
        """Count a view, and log problems that are new or gone."""
        self.views.labels(self._source.name, "published").inc()
        self._view = view
        now = frozenset(view.problems)
        for text in sorted(now - self._problems):
            _LOG.warning("%s: %s", self._source.name, text)
        for text in sorted(self._problems - now):
            _LOG.info("%s: no longer: %s", self._source.name, text)
        self._problems = now

    def note_rejected(self, problem: str) -> None:
        """Count a view that could not be used, and say why."""
        self.views.labels(self._source.name, "rejected").inc()
        _LOG.error("%s: %s The last good view stays in force.", self._source.name, problem)

    def note_state(self) -> None:
        """Log when the source stops or begins again to be current."""
        state = self._source.state(now_seconds=self._clock.monotonic_seconds())
        if state.current != self._current:
            log = _LOG.info if state.current else _LOG.warning
            log("%s: %s", self._source.name, state.detail)
        self._current = state.current

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges of the state and of the newest view."""
        name = self._source.name
        state = self._source.state(now_seconds=self._clock.monotonic_seconds())
        view = self._view
        replicas = None if view is None else sum(1 for _ in view.fleet.replicas())
        values = {
            ("current", "1 while the view of the fleet is what its source says"): state.current,
            ("view_age_seconds", "Since the view was last known to hold"): state.age_seconds,
            ("replicas", "Replicas in the newest view"): replicas,
            ("problems", "Things that could not be used as declared"): None
            if view is None
            else len(view.problems),
        }
        for (suffix, text), value in values.items():
            gauge = GaugeMetricFamily(f"headrace_discovery_{suffix}", text, labels=["source"])
            if value is not None:
                gauge.add_metric([name], float(value))
            yield gauge
