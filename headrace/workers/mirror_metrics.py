"""How well a worker keeps up with the others, as Prometheus metrics."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from router.workers.mirror import Mirror

_COUNTERS = (
    ("repeated", "Requests' starts, moves and ends of other workers taken into the ledger."),
    ("laps", "Times that a worker was so late that events of another had been overwritten."),
    ("torn", "Events whose checksum did not hold in time."),
    ("resyncs", "Times that another worker's open requests were taken in as a whole."),
)


class MirrorCollector(Collector):
    """Reads a mirror."""

    def __init__(self, mirror: Mirror | None) -> None:
        """Of this mirror; None tells zeros, for a process that others' figures are added to."""
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        """All families."""
        for name, text in _COUNTERS:
            value = 0 if self._mirror is None else getattr(self._mirror, f"{name}_total")
            yield CounterMetricFamily(f"headrace_router_mirror_{name}", text, value=value)
