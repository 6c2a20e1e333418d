"""The router's metrics."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from fleet.priors import prior_profile
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet, Replica
from router.decide.ledger import Ledger
from router.decide.outcome import Pick, PickReason, Rejection, RejectionReason
from router.extproc.answers import rejection_answer
from router.extproc.states import StreamOutcome
from router.metrics import RouterMetrics

ADDRESS = "10.0.0.1:8000"


class StoppedClock:
    def monotonic_seconds(self):
        return 50.0

    def epoch_seconds(self):
        return 1_700_000_000.0


def backend_named(name):
    return Backend(
        name=name,
        accelerator="H100",
        parameters=8.03e9,
        profile=prior_profile("H100", parameters=8.03e9),
        replicas=(Replica(address=ADDRESS, backend=name, models=("llama",)),),
    )


class Bench:
    def __init__(self):
        self.registry, self.ledger = CollectorRegistry(), Ledger()
        self.snapshots = SnapshotHolder(
            FleetSnapshot(fleet=Fleet((backend_named("h100"),)), published_seconds=0.0)
        )
        self.metrics = RouterMetrics(
            registry=self.registry,
            ledger=self.ledger,
            snapshots=self.snapshots,
            clock=StoppedClock(),
        )

    def pick(self, address=ADDRESS):
        ticket = self.ledger.enter(
            address, resident_tokens=1.0, prefill_seconds=0.0, now_seconds=0.0
        )
        return Pick(address, PickReason.COMMITTED, ticket, 1.0)

    def value(self, name, **labels):
        return self.registry.get_sample_value(f"headrace_router_{name}", labels or None)


@pytest.fixture
def bench():
    return Bench()


def test_picks_are_counted_by_backend_and_reason(bench):
    for _ in range(3):
        bench.metrics.picked(bench.pick())
    assert bench.value("picks_total", backend="h100", reason="committed") == 3


def test_an_address_that_changes_hands_is_counted_for_its_new_backend(bench):
    bench.metrics.picked(bench.pick())
    bench.snapshots.current = replace(
        bench.snapshots.current, fleet=Fleet((backend_named("h200"),)), version=1
    )
    bench.metrics.picked(bench.pick())
    assert bench.value("picks_total", backend="h100", reason="committed") == 1
    assert bench.value("picks_total", backend="h200", reason="committed") == 1


def test_refusals_are_counted_by_reason_and_status(bench):
    bench.metrics.answered(rejection_answer(Rejection(RejectionReason.SHED, "Sorry.")))
    assert bench.value("rejections_total", reason="shed") == 1
    assert bench.value("immediate_replies_total", status="429") == 1


def test_every_reason_and_outcome_is_shown_before_it_happens(bench):
    assert all(bench.value("rejections_total", reason=r.value) == 0 for r in RejectionReason)
    assert all(bench.value("streams_total", outcome=o.value) == 0 for o in StreamOutcome)


def test_open_streams_return_to_zero(bench):
    bench.metrics.stream_opened()
    bench.metrics.stream_opened()
    assert bench.value("streams_open") == 2
    bench.metrics.stream_closed(StreamOutcome.ROUTED)
    bench.metrics.stream_closed(StreamOutcome.ABANDONED)
    assert bench.value("streams_open") == 0
    assert bench.value("streams_total", outcome="routed") == 1


def test_requests_in_flight_are_read_off_the_ledger(bench):
    assert bench.value("requests_in_flight", backend="h100") == 0
    pick = bench.pick()
    assert bench.value("requests_in_flight", backend="h100") == 1
    bench.ledger.settle(pick.ticket, now_seconds=1.0)
    assert bench.value("requests_in_flight", backend="h100") == 0


def test_requests_on_replicas_that_are_gone_stay_visible_until_they_end(bench):
    pick = bench.pick("10.9.9.9:8000")
    assert bench.value("requests_in_flight", backend="(gone)") == 1
    bench.ledger.settle(pick.ticket, now_seconds=1.0)
    assert bench.value("requests_in_flight", backend="(gone)") is None


def test_the_snapshot_has_an_age_only_once_there_is_one(bench):
    assert bench.value("snapshot_age_seconds") is None
    bench.snapshots.current = replace(bench.snapshots.current, published_seconds=48.0, version=1)
    assert bench.value("snapshot_age_seconds") == 2.0


def test_decisions_of_tens_of_microseconds_are_told_apart(bench):
    for seconds in (8e-6, 15e-6, 40e-6):
        bench.metrics.decided(seconds)
    assert bench.value("decision_seconds_bucket", le="1e-05") == 1
    assert bench.value("decision_seconds_bucket", le="2e-05") == 2
    assert bench.value("decision_seconds_bucket", le="5e-05") == 3


def test_the_build_is_named(bench):
    [family] = [f for f in bench.registry.collect() if f.name == "headrace_router_build"]
    assert family.samples[0].labels["version"]
