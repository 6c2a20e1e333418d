"""Metrics of the decision, read off the picker when somebody scrapes."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fleet.clock import Clock
from fleet.physics import interference_seconds_per_request
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import SnapshotHolder
from router.decide.picker import Picker
from router.decide.unit import Unit

_PREFIX = "headrace_router_"


class DecisionCollector(Collector):
    """Degraded models, committed replicas, what explained picks excluded, profile error."""

    def __init__(
        self,
        picker: Picker,
        verdicts: Mapping[str, int],
        *,
        snapshots: SnapshotHolder,
        freshness: FreshnessPolicy,
        clock: Clock,
    ) -> None:
        """Read from these.

        Args:
            picker: The decision.
            verdicts: Candidates of explained picks, counted by verdict.
            snapshots: For what was measured.
            freshness: Which of it counts.
            clock: For its age.
        """
        self._picker = picker
        self._verdicts = verdicts
        self._snapshots = snapshots
        self._freshness = freshness
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """All families, empty ones too."""
        yield self._degraded()
        yield self._committed()
        yield from self._stalls()
        yield from self._ledger()
        candidates = CounterMetricFamily(
            _PREFIX + "explained_candidates",
            "Candidates of the picks that were explained (a sample), by verdict.",
            labels=["verdict"],
        )
        for verdict, count in self._verdicts.items():
            candidates.add_metric([verdict], count)
        yield candidates
        yield from self._profile_error()

    def _degraded(self) -> Metric:
        family = GaugeMetricFamily(
            _PREFIX + "degraded",
            "1 while no replica of the model has fresh telemetry: the ledger alone decides.",
            labels=["model"],
        )
        units = self._picker.units()
        for model in self._picker.models():
            seen = any(unit.observed for unit in units if model in unit.replica.models)
            family.add_metric([model], 0.0 if seen else 1.0)
        return family

    def _committed(self) -> Metric:
        family = GaugeMetricFamily(
            _PREFIX + "committed_replicas",
            "Replicas that are to carry the model's load.",
            labels=["model"],
        )
        for model, commitment in self._picker.commitments().items():
            family.add_metric([model], len(commitment.addresses))
        return family

    def _stalls(self) -> Iterator[Metric]:
        stalls, units = self._picker.stalls, self._picker.units()
        family = GaugeMetricFamily(
            _PREFIX + "stalled_replicas",
            "Replicas that take requests and end none.",
            labels=["model"],
        )
        for model in self._picker.models():
            members = [unit for unit in units if model in unit.replica.models]
            stalled = sum(unit.address in stalls.addresses for unit in members)
            family.add_metric([model], float(stalled))
        yield family
        text = "Replicas that were found stalled so far."
        yield CounterMetricFamily(_PREFIX + "stalls", text, value=stalls.found_total)

    def _ledger(self) -> Iterator[Metric]:
        ledger = self._picker.ledger
        for name, text, value in (
            ("ledger_entered", "Requests entered in the ledger.", ledger.entered_total),
            ("ledger_settled", "Requests settled in the ledger.", ledger.settled_total),
        ):
            yield CounterMetricFamily(_PREFIX + name, text, value=value)

    def _profile_error(self) -> Iterator[Metric]:
        """Sums over a backend's busy replicas, so that one odd board does not speak for all."""
        watts: dict[str, list[tuple[float, float]]] = {}
        steps: dict[str, list[tuple[float, float]]] = {}
        now_seconds = self._clock.monotonic_seconds()
        for unit in self._picker.units():
            name, batch = unit.backend.name, self._fresh(unit, SignalKind.RUNNING_REQUESTS)
            if not batch:
                continue
            measured = self._fresh(unit, SignalKind.POWER_WATTS)
            if measured:
                predicted = unit.profile.power.decode_watts(batch)
                watts.setdefault(name, []).append((predicted, measured))
            rate = self._fresh(unit, SignalKind.GENERATION_TOKENS_PER_SECOND)
            if rate:
                mix = self._picker.workload.of(unit.replica.models[0]).mix(now_seconds=now_seconds)
                predicted = unit.profile.step.decode_seconds(batch, unit.resident_tokens)
                predicted += batch * interference_seconds_per_request(unit.profile, mix)
                steps.setdefault(name, []).append((predicted, batch / rate))
        for name, text, found in (
            ("power_prediction_ratio", "Predicted over measured watts of busy replicas.", watts),
            ("step_prediction_ratio", "Predicted over measured time of a busy step.", steps),
        ):
            family = GaugeMetricFamily(_PREFIX + name, text, labels=["backend"])
            for backend, pairs in found.items():
                family.add_metric([backend], sum(p for p, _ in pairs) / sum(m for _, m in pairs))
            yield family

    def _fresh(self, unit: Unit, kind: SignalKind) -> float | None:
        signal = self._snapshots.current.signal(unit.address, kind)
        return self._freshness.fresh_value(signal, now_seconds=self._clock.monotonic_seconds())
