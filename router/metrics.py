"""The router's Prometheus metrics.

Counting is an addition to a plain number: no lock and no child per label, since all is counted in
the event loop. What can be read off elsewhere (ledger, snapshot) is computed when somebody scrapes.
"""

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Info
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fleet.clock import Clock
from fleet.snapshot import SnapshotHolder
from fleet.topology import Fleet
from router.decide.ledger import Ledger
from router.decide.outcome import Pick, PickReason, RejectionReason
from router.extproc.events import Immediate
from router.extproc.states import StreamOutcome
from router.metering.series import Histogram

_PREFIX = "headrace_router_"
_GONE = "(gone)"  # requests that still run on replicas no longer in the fleet
_DECISION_BUCKETS_SECONDS = tuple(
    step * decade for decade in (1e-5, 1e-4, 1e-3, 1e-2) for step in (1.0, 2.0, 5.0)
)


class RouterMetrics(Collector):
    """Counts what the ext_proc shell does; families are made when somebody scrapes."""

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        ledger: Ledger,
        snapshots: SnapshotHolder,
        clock: Clock,
    ) -> None:
        """Register everything with `registry`.

        Args:
            registry: Where `/metrics` reads.
            ledger: For requests in flight.
            snapshots: For the backend of a replica, and the snapshot's age.
            clock: For the age.
        """
        self._snapshots = snapshots
        self._fleet: Fleet | None = None
        self._backends: dict[str, str] = {}
        self._picks: dict[tuple[str, PickReason], int] = {}
        self._rejections = dict.fromkeys(RejectionReason, 0)
        self._answers: dict[int, int] = {}
        self._decision = Histogram(_DECISION_BUCKETS_SECONDS)
        self._open = 0
        self._streams = dict.fromkeys(StreamOutcome, 0)
        registry.register(self)
        build = Info(_PREFIX + "build", "What is running.", registry=registry)
        build.info({"version": version("headrace")})
        registry.register(_StateCollector(ledger=ledger, snapshots=snapshots, clock=clock))

    def decided(self, seconds: float) -> None:
        """One body was decided on."""
        self._decision.add(seconds)

    def picked(self, pick: Pick) -> None:
        """One request was sent to a replica."""
        fleet = self._snapshots.current.fleet
        if fleet is not self._fleet:  # addresses may have changed hands
            self._fleet = fleet
            self._backends = _backends(fleet)
        key = (self._backends.get(pick.address, _GONE), pick.reason)
        self._picks[key] = self._picks.get(key, 0) + 1

    def answered(self, answer: Immediate) -> None:
        """One request was answered by the router itself."""
        self._answers[answer.status] = self._answers.get(answer.status, 0) + 1
        if answer.rejection is not None:
            self._rejections[answer.rejection] += 1

    def stream_opened(self) -> None:
        """A stream began."""
        self._open += 1

    def stream_closed(self, outcome: StreamOutcome) -> None:
        """A stream ended."""
        self._open -= 1
        self._streams[outcome] += 1

    def collect(self) -> Iterator[Metric]:
        """All families, empty ones too."""
        picks = _counter("picks", "Requests sent to a replica.", ["backend", "reason"])
        for (backend, reason), count in self._picks.items():
            picks.add_metric([backend, reason.value], count)
        rejections = _counter("rejections", "Requests refused.", ["reason"])
        for refused, count in self._rejections.items():
            rejections.add_metric([refused.value], count)
        answers = _counter(
            "immediate_replies",
            "Requests answered by the router itself, by HTTP status.",
            ["status"],
        )
        for status, count in self._answers.items():
            answers.add_metric([str(status)], count)
        streams = _counter("streams", "ext_proc streams ended.", ["outcome"])
        for outcome, count in self._streams.items():
            streams.add_metric([outcome.value], count)
        yield from (picks, rejections, answers, streams)
        yield HistogramMetricFamily(
            _PREFIX + "decision_seconds",
            "From a whole request body to a pick or a refusal, reading the body included.",
            buckets=self._decision.cumulated(),
            sum_value=self._decision.total,
        )
        yield GaugeMetricFamily(
            _PREFIX + "streams_open", "ext_proc streams open.", value=float(self._open)
        )


def _counter(name: str, text: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, text, labels=labels)


class _StateCollector(Collector):
    """Gauges that are read off when scraped."""

    def __init__(self, *, ledger: Ledger, snapshots: SnapshotHolder, clock: Clock) -> None:
        self._ledger = ledger
        self._snapshots = snapshots
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        snapshot = self._snapshots.current
        backends = _backends(snapshot.fleet)
        in_flight = dict.fromkeys((backend.name for backend in snapshot.fleet.backends), 0)
        for address, account in self._ledger:
            backend = backends.get(address, _GONE)
            if backend is not _GONE or account.running:
                in_flight[backend] = in_flight.get(backend, 0) + account.running
        family = GaugeMetricFamily(
            _PREFIX + "requests_in_flight",
            "Own requests running or queued, by backend.",
            labels=["backend"],
        )
        for backend, running in in_flight.items():
            family.add_metric([backend], running)
        yield family
        age = GaugeMetricFamily(
            _PREFIX + "snapshot_age_seconds",
            "Age of the fleet snapshot that decisions are made on; absent before the first.",
        )
        if snapshot.version > 0:
            age.add_metric([], self._clock.monotonic_seconds() - snapshot.published_seconds)
        yield age


def _backends(fleet: Fleet) -> dict[str, str]:
    """Backend by replica address."""
    return {replica.address: replica.backend for replica in fleet.replicas()}
