"""The capper's metrics: complete in the documentation, true to the reports, gone with them."""

from dataclasses import replace

import pytest
from capper_builders import policy_of, run, seen, target
from docs_tables import described, rows
from prometheus_client import CollectorRegistry
from telemetry_harness import ManualClock

from capper.decide.observation import Observation
from capper.decide.plan import (
    Brake,
    PauseScaleOut,
    RestoreMaxReplicas,
    SetClock,
    SetMaxReplicas,
    SetPrice,
    Why,
)
from capper.decide.policy import Mode, TargetPolicy
from capper.decide.state import State, TargetState
from capper.metrics import CapperMetrics
from capper.observe.promises import Promise
from capper.operator.report import ActionResult, Outcome, TurnReport
from capper.racks.metrics import RackMetrics

WHY = Why(sentence="because")
CONFIG = {"config": "llm/row"}


def report_of(
    power=5000.0, *actions, mode=Mode.ENFORCE, now=1000.0, outcome=Outcome.APPLIED, **rest
):
    """A turn over one target of four replicas; what it did is what the test says."""
    policy = replace(policy_of(TargetPolicy(ref="a"), cap=4000.0), mode=mode)
    reading = rest.pop("reading", target(4))
    observation = Observation(targets={"a": reading}) if power is None else seen(power, a=reading)
    plan = run(policy, observation, now=now)
    results = tuple(
        ActionResult(action=action, outcome=outcome, now_seconds=now, trouble=None)
        for action in actions
    )
    return TurnReport(
        name="llm/row",
        policy=policy,
        observation=observation,
        plan=plan,
        results=results,
        **{"state": plan.state, **rest},
    )


@pytest.fixture
def clock():
    return ManualClock(epoch_seconds=1000.0)


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry, clock):
    return CapperMetrics(registry, clock)


def test_every_metric_is_documented_with_type_and_labels_and_no_other(registry, metrics):
    metrics.record(report_of(None, Brake("fleet", WHY)))
    RackMetrics(registry)
    written = {
        row.name: (row.cells[0], row.cells[1])
        for row in rows("metrics.md")
        if row.name.startswith("capper_")
    }
    # Families without a sample yet (temperatures, clocks) show no labels to compare.
    actual = {
        name: (kind, labels if labels != "none" else written[name][1])
        for name, (kind, labels) in described(registry).items()
    }
    assert written == actual


def test_every_promise_is_documented_and_no_other():
    written = [
        row.name for row in rows("metrics.md") if row.section == "capper_broken_promises_total"
    ]
    assert written == [promise.value for promise in Promise]


def test_values_are_those_of_the_report_and_unknown_ones_are_absent(registry, metrics):
    metrics.record(report_of(5000.0))
    value = registry.get_sample_value
    fleet, one = CONFIG | {"domain": "fleet"}, CONFIG | {"target": "a"}
    assert value("capper_domain_watts", fleet) == 5000.0
    assert value("capper_domain_cap_watts", fleet) == 4000.0
    assert value("capper_domain_band", fleet) == 3
    assert value("capper_target_replicas", one) == 4
    assert value("capper_target_watts", one) == 2000.0
    assert value("capper_domain_inlet_celsius", fleet) is None
    assert value("capper_target_clock_hertz", one) is None
    assert value("capper_mode", CONFIG | {"mode": "Enforce"}) == 1
    assert value("capper_mode", CONFIG | {"mode": "Observe"}) == 0
    metrics.record(report_of(None))
    assert value("capper_domain_watts", fleet) is None, "unknown is not 0"
    assert value("capper_configurations") == 1


def test_a_configuration_that_ends_takes_its_series_with_it(registry, metrics):
    metrics.record(report_of(5000.0, SetPrice("fleet", 2.0, WHY)))
    metrics.record(report_of(5000.0, ended=True))
    left = {
        sample.name
        for family in registry.collect()
        for sample in family.samples
        if sample.labels.get("config")
    }
    assert left == set()
    assert registry.get_sample_value("capper_configurations") == 0


def test_actions_are_counted_by_their_end(registry, metrics):
    action = SetMaxReplicas("a", 3, 10, WHY, 4)
    metrics.record(report_of(5000.0, action))
    metrics.record(report_of(5000.0, action, outcome=Outcome.REFUSED))
    for outcome, count in (("Applied", 1), ("Refused", 1), ("Failed", None)):
        labels = CONFIG | {"action": "SetMaxReplicas", "outcome": outcome}
        assert registry.get_sample_value("capper_actions_total", labels) == count


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        (SetMaxReplicas("a", 3, 10, WHY, 4), target(4, top=3), target(3, top=3)),
        (SetMaxReplicas("a", 4, 10, WHY, 4), target(4, top=10), target(4, top=4)),
        (RestoreMaxReplicas("a", 10, WHY), target(4, top=4), target(4, top=10)),
        (PauseScaleOut("a", WHY), target(4), target(4, scale_out_paused=True)),
        (SetClock("a", 1.2e9, WHY), target(4, clock_hertz=1.9e9), target(4, clock_hertz=1.2e9)),
    ],
)
def test_the_time_to_an_effect_is_taken_when_it_shows(
    registry, metrics, clock, action, before, after
):
    kind = {"action": type(action).__name__}

    def shown():
        return registry.get_sample_value("capper_decision_to_effect_seconds_sum", kind)

    metrics.record(report_of(5000.0, action))
    clock.advance(20)
    metrics.record(report_of(5000.0, reading=before))
    assert shown() is None
    clock.advance(25)
    metrics.record(report_of(5000.0, reading=after))
    assert shown() == 45.0
    metrics.record(report_of(5000.0, reading=after))
    assert shown() == 45.0, "once"


def test_what_is_done_to_a_domain_shows_when_it_is_under_its_cap(registry, metrics, clock):
    metrics.record(report_of(5000.0, SetPrice("fleet", 2.0, WHY)))
    clock.advance(10)
    metrics.record(report_of(4500.0, SetPrice("fleet", 3.0, WHY), now=1010.0))
    clock.advance(10)
    metrics.record(report_of(3900.0))
    kind = {"action": "SetPrice"}
    assert registry.get_sample_value("capper_decision_to_effect_seconds_sum", kind) == 20.0
    metrics.record(report_of(3000.0, SetPrice("fleet", 1.0, WHY), now=1020.0))
    metrics.record(report_of(3000.0))
    assert registry.get_sample_value("capper_decision_to_effect_seconds_count", kind) == 1


def test_an_effect_that_never_shows_is_counted(registry, metrics, clock):
    metrics.record(report_of(5000.0, SetMaxReplicas("a", 3, 10, WHY, 4)))
    clock.advance(3601)
    metrics.record(report_of(5000.0))
    kind = {"action": "SetMaxReplicas"}
    assert registry.get_sample_value("capper_effects_missing_total", kind) == 1


def breaches(registry):
    return {
        promise
        for promise in Promise
        if registry.get_sample_value("capper_broken_promises_total", {"promise": promise.value})
    }


@pytest.mark.parametrize(
    ("reports", "broken"),
    [
        ([report_of(5000.0, SetMaxReplicas("a", 3, 4, WHY, 4))], set()),
        ([report_of(5000.0, SetMaxReplicas("a", 0, 4, WHY, 4))], {Promise.FLOOR_KEPT}),
        ([report_of(None, SetMaxReplicas("a", 5, 4, WHY, 4))], {Promise.NO_GROWTH_WHILE_BLIND}),
        (
            [
                report_of(5000.0, SetMaxReplicas("a", 3, 4, WHY, 4), now=1000.0),
                report_of(5000.0, SetMaxReplicas("a", 2, 3, WHY, 3), now=1030.0),
            ],
            {Promise.SLOW_SHEDDING},
        ),
        (
            [
                report_of(5000.0, SetMaxReplicas("a", 3, 4, WHY, 4), now=1000.0),
                report_of(5000.0, SetMaxReplicas("a", 2, 3, WHY, 3), now=1060.0),
            ],
            set(),
        ),
        (
            [report_of(5000.0, Brake("fleet", WHY), mode=Mode.RECOMMEND)],
            {Promise.HANDS_OFF_UNLESS_ENFORCED},
        ),
        (
            [report_of(ended=True, state=State(targets={"a": TargetState(touched=True)}))],
            {Promise.RESTORED_AT_THE_END},
        ),
        ([report_of(ended=True, state=State(targets={"a": TargetState()}))], set()),
    ],
)
def test_broken_promises_are_found(registry, metrics, reports, broken):
    for report in reports:
        metrics.record(report)
    assert breaches(registry) == broken


def test_the_leader_is_asked_at_each_scrape(registry, metrics):
    leading = [True, False]
    metrics.watch_leader(lambda: leading.pop(0))
    assert registry.get_sample_value("capper_leader") == 1
    assert registry.get_sample_value("capper_leader") == 0
