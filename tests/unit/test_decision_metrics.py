"""Metrics of the decision, read off the picker."""

import pytest
from builders import make_fleet, make_snapshot
from prometheus_client import CollectorRegistry

from fleet.price import PriceBoard
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import SnapshotHolder
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.decision_metrics import DecisionCollector

FLEET = make_fleet({"H100": 2})
BUSY = {
    SignalKind.HEALTHY_RATIO: 1.0,
    SignalKind.RUNNING_REQUESTS: 8.0,
    SignalKind.POWER_WATTS: 400.0,
}


class StoppedClock:
    seconds = 0.0

    def monotonic_seconds(self):
        return self.seconds


class Bench:
    def __init__(self):
        self.clock, self.registry, self.verdicts = StoppedClock(), CollectorRegistry(), {}
        self.holder = SnapshotHolder(make_snapshot(FLEET, default={}))
        self.picker = Picker(FLEET, DecideSettings())
        self.registry.register(
            DecisionCollector(
                self.picker,
                self.verdicts,
                snapshots=self.holder,
                freshness=FreshnessPolicy(),
                clock=self.clock,
            )
        )

    def observe(self, default):
        self.holder.current = make_snapshot(FLEET, at_seconds=self.clock.seconds, default=default)
        self.picker.observe(self.holder.current, PriceBoard(), now_seconds=self.clock.seconds)

    def value(self, name, **labels):
        return self.registry.get_sample_value(f"headrace_router_{name}", labels or None)


def test_a_model_is_degraded_until_one_of_its_replicas_is_seen():
    bench = Bench()
    assert bench.value("degraded", model="llama") == 1.0
    bench.observe(BUSY)
    assert bench.value("degraded", model="llama") == 0.0


def test_the_error_of_the_profile_is_predicted_over_measured_and_absent_when_idle_or_stale():
    bench = Bench()
    assert bench.value("power_prediction_ratio", backend="h100") is None
    bench.observe(BUSY)
    [backend] = FLEET.backends
    assert bench.value("power_prediction_ratio", backend="h100") == pytest.approx(
        backend.profile.power.decode_watts(8.0) / 400.0
    )
    assert bench.value("step_prediction_ratio", backend="h100") is None
    bench.observe(BUSY | {SignalKind.GENERATION_TOKENS_PER_SECOND: 800.0})
    assert 0.1 < bench.value("step_prediction_ratio", backend="h100") < 10.0
    bench.clock.seconds = 100.0
    assert bench.value("power_prediction_ratio", backend="h100") is None


def test_ledger_and_verdicts_are_counted():
    bench = Bench()
    ledger = bench.picker.ledger
    tickets = [
        ledger.enter("10.0.0.0:8000", resident_tokens=1.0, prefill_seconds=0.0, now_seconds=0.0)
        for _ in range(3)
    ]
    ledger.settle(tickets[0], now_seconds=1.0)
    bench.verdicts["tpot"] = 5
    assert bench.value("ledger_entered_total") == 3
    assert bench.value("ledger_settled_total") == 1
    assert bench.value("explained_candidates_total", verdict="tpot") == 5


def test_the_committed_set_is_counted():
    bench = Bench()
    bench.observe(BUSY)
    bench.picker.commit(now_seconds=0.0)
    assert 1 <= bench.value("committed_replicas", model="llama") <= 2
