"""The placer's Prometheus metrics."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from capper.decide.gates import Fate
from capper.racks.looks import RackLook

_GATE_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


class RackMetrics:
    """Counts placements and shows what is gated and reserved."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        self._gates = Counter(
            "capper_gates_total",
            "Pods whose gate was lifted, by how.",
            ["config", "how"],
            registry=registry,
        )
        self._gate_seconds = Histogram(
            "capper_gate_seconds",
            "From a pod's creation until its gate was lifted.",
            ["how"],
            buckets=_GATE_BUCKETS_SECONDS,
            registry=registry,
        )
        self._placements = Counter(
            "capper_placements_total",
            "Pods that got a rack.",
            ["config", "rack"],
            registry=registry,
        )
        self._evictions = Counter(
            "capper_evictions_total",
            "Evictions that were asked for to empty a rack, by how they ended.",
            ["config", "outcome"],
            registry=registry,
        )
        self._gated = Gauge(
            "capper_gated_pods", "Pods that wait for a rack.", ["config"], registry=registry
        )
        self._reserved = Gauge(
            "capper_rack_reserved_watts",
            "Set aside for pods that were placed and do not draw yet.",
            ["config", "rack"],
            registry=registry,
        )
        self._left = Gauge(
            "capper_rack_left_watts",
            "What is left of a rack's cap for one more replica; absent while unknown.",
            ["config", "rack"],
            registry=registry,
        )
        self._doubted = Gauge(
            "capper_rack_sensors_doubted",
            "Sensors of racks that are not believed.",
            ["config"],
            registry=registry,
        )
        self._cooling = Gauge(
            "capper_cooling_watts",
            "Power that cooling draws, where a sensor tells.",
            ["config"],
            registry=registry,
        )
        self._shown: dict[str, set[str]] = {}

    def lifted(self, config: str, fate: Fate, *, rack: str | None, gate_seconds: float) -> None:
        """A gate was lifted."""
        self._gates.labels(config, fate.value).inc()
        self._gate_seconds.labels(fate.value).observe(gate_seconds)
        if rack is not None:
            self._placements.labels(config, rack).inc()

    def evicted(self, config: str, *, done: bool) -> None:
        """An eviction was asked for."""
        self._evictions.labels(config, "evicted" if done else "budget").inc()

    def show(self, config: str, look: RackLook, doubts: int) -> None:
        """What a configuration's racks are like now."""
        self._gated.labels(config).set(look.gated)
        self._doubted.labels(config).set(doubts)
        if look.cooling_watts is None:
            self._cooling.remove_by_labels({"config": config})
        else:
            self._cooling.labels(config).set(look.cooling_watts)
        left = {one.rack_id: one.left_watts for one in look.racks}
        for rack in self._shown.get(config, set()) - left.keys():
            self._forget(config, [rack])
        for one in look.racks:
            self._reserved.labels(config, one.rack_id).set(one.reserved_watts)
            if one.left_watts is None:
                self._left.remove_by_labels({"config": config, "rack": one.rack_id})
            else:
                self._left.labels(config, one.rack_id).set(one.left_watts)
        self._shown[config] = set(left)

    def keep(self, configs: Mapping[str, object]) -> None:
        """Forget all other configurations."""
        for config in [*self._shown]:
            if config not in configs:
                self._forget(config, self._shown.pop(config))
                for gauge in (self._gated, self._doubted, self._cooling):
                    gauge.remove_by_labels({"config": config})

    def _forget(self, config: str, racks: Iterable[str]) -> None:
        for rack in racks:
            for gauge in (self._reserved, self._left):
                gauge.remove_by_labels({"config": config, "rack": rack})
