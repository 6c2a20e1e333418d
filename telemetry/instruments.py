"""What telemetry says about itself: Prometheus metrics, and one log line per change."""

import logging
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleet.clock import Clock
from fleet.signals import Freshness, FreshnessPolicy, SignalKind
from fleet.snapshot import SnapshotHolder
from telemetry.reading import ANSWERED, FailureReason, Outcome, RejectionReason

_LOG = logging.getLogger(__name__)
_NAMED_TARGETS = 5
_POLL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Instruments:
    """Metrics of the poller, and the memory of which targets are down."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        self._up = Gauge(
            "headrace_telemetry_target_up",
            "1 when the target (replica, exporter or query) answered when last asked",
            ["source", "target"],
            registry=registry,
        )
        self._failures = Counter(
            "headrace_telemetry_failures_total",
            "Times a target gave nothing",
            ["source", "target", "reason"],
            registry=registry,
        )
        self._rejected = Counter(
            "headrace_telemetry_rejected_readings_total",
            "Readings dropped as impossible or incomplete, and counters that started anew",
            ["source", "kind", "reason"],
            registry=registry,
        )
        self._poll_seconds = Histogram(
            "headrace_telemetry_poll_seconds",
            "Duration of one round over all targets of a source",
            ["source"],
            buckets=_POLL_BUCKETS,
            registry=registry,
        )
        self.publications = Counter(
            "headrace_telemetry_publications_total", "Snapshots published", registry=registry
        )
        self._last: dict[str, dict[str, Outcome]] = {}
        self._failed: dict[str, dict[str, set[str]]] = {}  # source -> target -> reasons seen
        self._rejecting: dict[str, set[tuple[SignalKind, RejectionReason]]] = {}

    def observe_poll(self, source: str, seconds: float) -> None:
        """Note how long a round took."""
        self._poll_seconds.labels(source).observe(seconds)

    def count_rejected(
        self, source: str, rejected: Mapping[tuple[SignalKind, RejectionReason], int]
    ) -> None:
        """Count dropped readings."""
        for (kind, reason), times in rejected.items():
            self._rejected.labels(source, kind, reason).inc(times)

    def note_rejected(
        self, source: str, rejected: Mapping[tuple[SignalKind, RejectionReason], int]
    ) -> None:
        """Count the readings that one round dropped, and log what has changed since last time."""
        self.count_rejected(source, rejected)
        before, now = self._rejecting.get(source, set()), set(rejected)
        self._rejecting[source] = now
        if now - before:
            _LOG.warning("%s: drops readings: %s", source, _kinds(now - before))
        if before - now:
            _LOG.info("%s: no longer drops: %s", source, _kinds(before - now))

    def is_down(self, source: str, target: str) -> bool:
        """Whether the target gave nothing when last asked."""
        return self._last.get(source, {}).get(target, ANSWERED).reason is not None

    def note_outcomes(self, source: str, outcomes: Mapping[str, Outcome]) -> None:
        """Set the targets' gauges, count failures, and log what has changed since last time."""
        before = self._last.get(source, {})
        self._last[source] = dict(outcomes)
        failed = self._failed.setdefault(source, {})
        for target, outcome in outcomes.items():
            was = before.get(target)
            if was is None or (was.reason is None) != (outcome.reason is None):
                self._up.labels(source, target).set(1.0 if outcome.reason is None else 0.0)
            if outcome.reason is not None:
                self._failures.labels(source, target, outcome.reason).inc()
                failed.setdefault(target, set()).add(outcome.reason)
        for target in before.keys() - outcomes.keys():  # pods come and go: their series go too
            self._up.remove(source, target)
            for reason in failed.pop(target, ()):
                self._failures.remove(source, target, reason)
        _log_changes(source, before, outcomes)


def _log_changes(
    source: str, before: Mapping[str, Outcome], outcomes: Mapping[str, Outcome]
) -> None:
    """One line for all that went down for one reason, one for all that came back."""
    down: dict[FailureReason, list[str]] = {}
    back: list[str] = []
    for target, outcome in outcomes.items():
        was_down = target in before and before[target].reason is not None
        if outcome.reason is not None and not was_down:
            down.setdefault(outcome.reason, []).append(target)
        elif outcome.reason is None and was_down:
            back.append(target)
    for reason, targets in down.items():
        detail = outcomes[targets[0]].detail
        cause = f"{reason}: {detail}" if detail else reason
        _LOG.warning("%s: down: %s (%s)", source, _listed(targets), cause)
    if back:
        _LOG.info("%s: back: %s", source, _listed(back))


def _kinds(rejected: Iterable[tuple[SignalKind, RejectionReason]]) -> str:
    return ", ".join(sorted(f"{kind} ({reason})" for kind, reason in rejected))


def _listed(targets: list[str]) -> str:
    named = ", ".join(targets[:_NAMED_TARGETS])
    more = len(targets) - _NAMED_TARGETS
    return f"{named} and {more} more" if more > 0 else named


class SignalCollector(Collector):
    """Ages and freshness of the current snapshot, computed when the metrics are asked for.

    Per kind, not per replica: a fleet of hundreds would otherwise make thousands of series.
    """

    def __init__(self, holder: SnapshotHolder, clock: Clock, policy: FreshnessPolicy) -> None:
        """Read `holder`; classify by `policy`."""
        self._holder = holder
        self._clock = clock
        self._policy = policy

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The age of the oldest signal of each kind, and how many are fresh, stale, absent."""
        ages = GaugeMetricFamily(
            "headrace_telemetry_signal_age_seconds",
            "Age of the oldest reading of a kind that any replica has ever had",
            labels=["kind"],
        )
        counts = GaugeMetricFamily(
            "headrace_telemetry_signals",
            "Replicas whose reading of a kind is fresh, stale or absent",
            labels=["kind", "freshness"],
        )
        snapshot, now_seconds = self._holder.current, self._clock.monotonic_seconds()
        addresses = [replica.address for replica in snapshot.fleet.replicas()]
        for kind in SignalKind:
            tally = dict.fromkeys(Freshness, 0)
            oldest_seconds: float | None = None
            for address in addresses:
                signal = snapshot.signal(address, kind)
                tally[self._policy.of(signal, now_seconds=now_seconds)] += 1
                if signal is not None:
                    age_seconds = now_seconds - signal.observed_seconds
                    oldest_seconds = max(age_seconds, oldest_seconds or 0.0)
            if oldest_seconds is not None:
                ages.add_metric([kind], oldest_seconds)
            for freshness, replicas in tally.items():
                counts.add_metric([kind, freshness.value], replicas)
        yield ages
        yield counts
