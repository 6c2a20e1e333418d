"""What affinity remembers and how far it is believed, as Prometheus metrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fleet.clock import Clock
from router.decide.affinity_sessions import SessionVerdict
from router.decide.picker import Picker


class AffinityCollector(Collector):
    """Reads a picker's affinity."""

    def __init__(self, picker: Picker, clock: Clock) -> None:
        """Of this picker."""
        self._picker = picker
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """As of now."""
        affinity, now_seconds = self._picker.affinity, self._clock.monotonic_seconds()
        yield GaugeMetricFamily(
            "headrace_router_affinity_blocks",
            "Prompt blocks remembered of all replicas together.",
            value=len(affinity.prefixes),
        )
        yield GaugeMetricFamily(
            "headrace_router_affinity_event_blocks",
            "Prompt blocks that engines have, as their KV events tell.",
            value=len(affinity.events),
        )
        yield GaugeMetricFamily(
            "headrace_router_affinity_sessions",
            "Sessions whose last replica is remembered.",
            value=len(affinity.sessions),
        )
        sessions = CounterMetricFamily(
            "headrace_router_session_picks",
            "Picks of requests with a session, by what became of it.",
            labels=["verdict"],
        )
        for verdict in SessionVerdict:
            sessions.add_metric([verdict.value], affinity.verdicts[verdict])
        yield sessions
        yield from self._by_backend(now_seconds)

    def _by_backend(self, now_seconds: float) -> Iterator[Metric]:
        """Means over replicas: as many series as there are backends."""
        affinity = self._picker.affinity
        ratios: dict[str, list[tuple[float, float]]] = {}
        for unit in self._picker.units():
            trust_ratio = affinity.trust_ratio(unit.address, now_seconds=now_seconds)
            ratios.setdefault(unit.backend.name, []).append((trust_ratio, unit.fleet_ratio))
        trust = GaugeMetricFamily(
            "headrace_router_affinity_trust_ratio",
            "Mean by which predictions of cached tokens are multiplied: hits found over predicted.",
            labels=["backend"],
        )
        load = GaugeMetricFamily(
            "headrace_router_fleet_load_ratio",
            "Requests in flight of all routers over this router's own, as inferred.",
            labels=["backend"],
        )
        for backend, pairs in ratios.items():
            trust.add_metric([backend], sum(pair[0] for pair in pairs) / len(pairs))
            load.add_metric([backend], sum(pair[1] for pair in pairs) / len(pairs))
        yield trust
        yield load
