"""The router's Prometheus metrics.

Counting a pick is one dictionary look-up and one increment: children are kept, not looked up by
label. What can be read off elsewhere (ledger, snapshot) is computed when somebody scrapes.
"""

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fleet.clock import Clock
from fleet.snapshot import SnapshotHolder
from fleet.topology import Fleet
from router.decide.ledger import Ledger
from router.decide.outcome import Pick, PickReason, RejectionReason
from router.extproc.events import Immediate
from router.extproc.states import StreamOutcome

_PREFIX = "headrace_router_"
_GONE = "(gone)"  # requests that still run on replicas no longer in the fleet
_DECISION_BUCKETS_SECONDS = tuple(
    step * decade for decade in (1e-5, 1e-4, 1e-3, 1e-2) for step in (1.0, 2.0, 5.0)
)


class RouterMetrics:
    """Counts what the ext_proc shell does."""

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
        self._pick_children: dict[tuple[str, PickReason], Counter] = {}
        self._picks = Counter(
            _PREFIX + "picks_total",
            "Requests sent to a replica.",
            ["backend", "reason"],
            registry=registry,
        )
        rejections = Counter(
            _PREFIX + "rejections_total", "Requests refused.", ["reason"], registry=registry
        )
        self._rejections = {reason: rejections.labels(reason.value) for reason in RejectionReason}
        self._answers = Counter(
            _PREFIX + "immediate_replies_total",
            "Requests answered by the router itself, by HTTP status.",
            ["status"],
            registry=registry,
        )
        self._decision = Histogram(
            _PREFIX + "decision_seconds",
            "From a whole request body to a pick or a refusal, reading the body included.",
            buckets=_DECISION_BUCKETS_SECONDS,
            registry=registry,
        )
        self._open = Gauge(_PREFIX + "streams_open", "ext_proc streams open.", registry=registry)
        streams = Counter(
            _PREFIX + "streams_total", "ext_proc streams ended.", ["outcome"], registry=registry
        )
        self._streams = {outcome: streams.labels(outcome.value) for outcome in StreamOutcome}
        build = Info(_PREFIX + "build", "What is running.", registry=registry)
        build.info({"version": version("headrace")})
        registry.register(_StateCollector(ledger=ledger, snapshots=snapshots, clock=clock))

    def decided(self, seconds: float) -> None:
        """One body was decided on."""
        self._decision.observe(seconds)

    def picked(self, pick: Pick) -> None:
        """One request was sent to a replica."""
        fleet = self._snapshots.current.fleet
        if fleet is not self._fleet:  # addresses may have changed hands
            self._fleet = fleet
            self._pick_children.clear()
        key = (pick.address, pick.reason)
        child = self._pick_children.get(key)
        if child is None:
            backend = _backends(fleet).get(pick.address, _GONE)
            child = self._pick_children[key] = self._picks.labels(backend, pick.reason.value)
        child.inc()

    def answered(self, answer: Immediate) -> None:
        """One request was answered by the router itself."""
        self._answers.labels(str(answer.status)).inc()
        if answer.rejection is not None:
            self._rejections[answer.rejection].inc()

    def stream_opened(self) -> None:
        """A stream began."""
        self._open.inc()

    def stream_closed(self, outcome: StreamOutcome) -> None:
        """A stream ended."""
        self._open.dec()
        self._streams[outcome].inc()


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
