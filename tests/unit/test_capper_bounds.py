"""The bounds that the capper decides on, by example; the original project's defects among them."""

import math
from dataclasses import replace

import pytest
from capper_builders import bounds, conditions, policy_of, run, seen, target, watts

from capper.decide.memory import applied
from capper.decide.observation import (
    DomainReading,
    Observation,
    PowerReading,
    PowerSource,
    RouterForecast,
    Sample,
)
from capper.decide.plan import ConditionType
from capper.decide.policy import DomainPolicy, NamedCap, TargetPolicy
from capper.decide.state import Band, State
from capper.decide.tuning import Freshness


def test_below_the_bands_with_room_nothing_is_written():
    plan = run(policy_of(), seen(3000.0, a=target(6)))
    assert plan.actions == ()
    assert plan.targets[0].bound == 10


def test_at_80_percent_one_more_is_allowed_if_it_fits_with_the_spike_margin():
    light = target(6, each=100.0)
    assert bounds(run(policy_of(), seen(8000.0, a=light))) == {"a": 7}
    assert bounds(run(policy_of(), seen(8750.0, a=light))) == {"a": 6}


def test_at_95_percent_no_growth():
    plan = run(policy_of(), seen(9500.0, a=target(6)))
    assert bounds(plan) == {"a": 6}
    assert plan.domains[0].band is Band.RESTRICT


def test_growth_below_the_bands_is_what_fits_with_the_margin():
    # 8800 W may be used, 7000 are: three more of 500 W.
    assert bounds(run(policy_of(), seen(7000.0, a=target(5)))) == {"a": 8}


def test_current_is_the_largest_of_spec_status_and_wish():
    reading = target(5, status_replicas=6, desired_replicas=7, ready_replicas=5)
    assert bounds(run(policy_of(), seen(9600.0, a=reading))) == {"a": 7}


def test_over_the_cap_one_replica_goes_a_minute():
    policy, observation = policy_of(), seen(11_000.0, a=target(8))
    plan = run(policy, observation)
    assert bounds(plan) == {"a": 7}
    state = applied(plan.state, plan.actions[0], now_seconds=1000.0)
    now_seven = seen(11_000.0, a=target(7, top=7))
    assert bounds(run(policy, now_seven, state, now=1059.0)) == {}
    assert bounds(run(policy, now_seven, state, now=1060.0)) == {"a": 6}


def test_a_replica_that_is_still_ending_is_not_followed_by_a_second():
    policy = policy_of()
    plan = run(policy, seen(11_000.0, a=target(8)))
    state = applied(plan.state, plan.actions[0], now_seconds=1000.0)
    ending = seen(11_000.0, a=target(8, spec_replicas=7, top=7))
    assert bounds(run(policy, ending, state, now=1200.0)) == {}


def test_the_worth_of_a_joule_decides_who_gives():
    good = target(6, tokens_per_joule=4.0)
    poor = target(6, tokens_per_joule=1.0)
    policy = policy_of(TargetPolicy(ref="good"), TargetPolicy(ref="poor"))
    assert bounds(run(policy, seen(10_400.0, good=good, poor=poor))) == {"good": 6, "poor": 5}


def test_priority_comes_before_worth_and_unneeded_replicas_before_both():
    policy = policy_of(TargetPolicy(ref="a"), TargetPolicy(ref="b", priority=5))
    a, b = target(6, tokens_per_joule=4.0), target(6, tokens_per_joule=1.0)
    assert bounds(run(policy, seen(10_400.0, a=a, b=b)))["a"] == 5
    spare = replace(b, forecast=RouterForecast(unneeded_replicas=2))
    assert bounds(run(policy, seen(10_400.0, a=a, b=spare))) == {"a": 6, "b": 5}


# The original project's defects


@pytest.mark.parametrize("value", [0.0, math.nan, -5.0, 9223372036854775794.0, None, math.inf])
def test_an_outage_is_neither_zero_watts_nor_headroom(value):
    policy = policy_of()
    held = target(6, top=6)
    plan = run(policy, seen(value, a=held))
    assert plan.actions == ()
    assert plan.domains[0].watts is None
    assert ConditionType.TELEMETRY_STALE in conditions(plan)
    # After five minutes: static, at what there was, never one.
    later = run(policy, seen(value, a=target(6)), plan.state, now=1301.0)
    assert bounds(later) == {"a": 6}


def test_zero_watts_of_a_target_divide_nothing():
    reading = target(6, watts=0.0, replica_watts_p95=0.0)
    assert bounds(run(policy_of(), seen(8200.0, a=reading))) == {"a": 7}


def test_the_cap_is_shared_and_not_given_to_each():
    policy = policy_of(TargetPolicy(ref="a"), TargetPolicy(ref="b"), TargetPolicy(ref="c"))
    a = target(2, each=1000.0)
    plan = run(policy, seen(6000.0, a=a, b=a, c=a))
    assert sum(bounds(plan).values()) * 1000.0 <= 8800.0
    assert sum(bounds(plan).values()) == 8


def test_the_cap_counts_replicas_and_not_deployments():
    # int(cap / deployment_power) would be 3.
    assert bounds(run(policy_of(), seen(3000.0, a=target(6)))) == {}


def test_watts_are_not_percent():
    policy = policy_of(cap=90.0)
    assert run(policy, seen(50.0, a=target(1, each=50.0, top=2))).domains[0].band is Band.NORMAL
    assert run(policy, seen(80.0, a=target(1, each=80.0))).domains[0].band is Band.WATCH


def test_the_worst_of_the_last_three_samples_counts_in_any_order():
    plan = run(policy_of(), seen(watts(7000.0, 9600.0, 7000.0), a=target(6)))
    assert plan.domains[0].watts == 9600.0
    old = run(policy_of(), seen(watts(7000.0, 7000.0, 7000.0, 9600.0), a=target(6)))
    assert old.domains[0].watts == 7000.0


def test_the_first_source_that_can_be_used_is_used():
    boards = PowerReading(source=PowerSource.BOARDS, samples=(Sample(3000.0, 1.0),), host_ratio=2.0)
    pdu = PowerReading(source=PowerSource.PDU, samples=(Sample(6500.0, 1.0),))
    dead = replace(pdu, samples=(Sample(6500.0, 100.0),))
    both = DomainReading(power=(boards, pdu))
    assert run(policy_of(), seen(both, a=target(6))).domains[0].watts == 6500.0
    assert (
        run(policy_of(), seen(DomainReading(power=(dead, boards)), a=target(6))).domains[0].watts
        == 6000.0
    )


def test_partial_coverage_is_stale_and_named():
    plan = run(policy_of(), seen(watts(3000.0, coverage_ratio=0.5), a=target(6)))
    assert plan.domains[0].watts is None
    assert {ConditionType.COVERAGE_LOW, ConditionType.TELEMETRY_STALE} <= conditions(plan)


def test_more_than_the_boards_can_draw_is_not_believed():
    plan = run(policy_of(), seen(watts(9001.0, 3000.0, limit_watts=7500.0), a=target(6)))
    assert plan.domains[0].watts == 3000.0
    assert ConditionType.SENSOR_IMPLAUSIBLE in conditions(plan)


def test_a_frozen_sensor_is_blind_and_a_constant_load_is_not():
    policy, state = policy_of(), State()
    for turn in range(40):
        busy = target(6, output_tokens_per_second=1000.0)
        plan = run(policy, seen(5000.0, a=busy), state, now=1000.0 + 15.0 * turn)
        state = plan.state
    assert plan.domains[0].watts == 5000.0
    busier = target(6, output_tokens_per_second=3000.0)
    plan = run(policy, seen(5000.0, a=busier), state, now=1600.0)
    assert plan.domains[0].watts is None
    plan = run(policy, seen(5001.0, a=busier), plan.state, now=1615.0)
    assert plan.domains[0].watts == 5001.0


def test_blind_holds_then_is_static_and_a_declared_safe_bound_is_reached_one_by_one():
    policy = policy_of(freshness=Freshness(safe_max_replicas=4))
    dark = watts(5000.0, age=100.0)
    state = run(policy, seen(5000.0, a=target(6))).state
    plan = run(policy, seen(dark, a=target(6)), state, now=1200.0)
    assert plan.actions == ()
    plan = run(policy, seen(dark, a=target(6)), plan.state, now=1301.0)
    assert bounds(plan) == {"a": 5}
    state = applied(plan.state, plan.actions[0], now_seconds=1301.0)
    assert bounds(run(policy, seen(dark, a=target(5, top=5)), state, now=1330.0)) == {}
    assert bounds(run(policy, seen(dark, a=target(5, top=5)), state, now=1361.0)) == {"a": 4}
    assert bounds(run(policy, seen(dark, a=target(3, top=4)), state, now=1500.0)) == {}


def test_a_blind_turn_leaves_no_band_and_the_way_out_begins_anew():
    policy, state = policy_of(), run(policy_of(), seen(9600.0, a=target(6))).state
    for turn in range(19):
        dark = turn == 10
        power = None if dark else 8500.0
        state = run(policy, seen(power, a=target(6)), state, now=1020.0 + 20.0 * turn).state
    # 300 s below the way out have passed in all, not in a row.
    plan = run(policy, seen(8500.0, a=target(6)), state, now=1400.0)
    assert plan.domains[0].band is Band.RESTRICT


def test_floors_that_do_not_fit_in_one_rack_are_not_at_the_cost_of_another():
    racks = tuple(
        DomainPolicy(name=name, parent="fleet", caps=(NamedCap(source="maxPower", watts=cap),))
        for name, cap in (("r1", 100.0), ("r2", 2000.0))
    )
    policy = policy_of(
        TargetPolicy(ref="both", min_replicas=4),
        TargetPolicy(ref="here", domain="r2", min_replicas=0),
        domains=racks,
    )
    both = target(4, domain_shares={"r1": 0.5, "r2": 0.5})
    observation = Observation(
        domains={"fleet": watts(3500.0), "r1": watts(1000.0), "r2": watts(2500.0)},
        targets={"both": both, "here": target(3)},
    )
    decisions = {one.ref: one.goal for one in run(policy, observation).targets}
    assert decisions == {"both": 4, "here": 2}


def test_bounds_never_go_below_the_floor_of_policy_workload_and_disruption_budget():
    reading = target(4, min_replicas=2, disruption_floor=3)
    state, policy = State(), policy_of(TargetPolicy(ref="a", min_replicas=1))
    written = []
    for turn in range(10):
        now = 1000.0 + 100.0 * turn
        plan = run(policy, seen(20_000.0, a=reading), state, now=now)
        state = plan.state
        for action in plan.actions:
            state = applied(state, action, now_seconds=now)
            written.append(action.replicas)
            reading = target(
                action.replicas, top=action.replicas, min_replicas=2, disruption_floor=3
            )
    assert written == [3]
    assert ConditionType.CAP_UNREACHABLE in conditions(plan)
