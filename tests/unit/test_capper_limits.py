"""Power limits under a cap, by example: what is dealt, what rises when, what sleeps for it."""

from dataclasses import replace

import pytest
from capper_builders import bounds, conditions, policy_of, run, seen, target, watts

from capper.api import API_VERSION, KIND
from capper.api.files import InvalidConfigError, parse
from capper.api.translate import policy_of as of_resource
from capper.decide.clock_model import ClockCurve
from capper.decide.clocked import PhaseClocks, packed_tokens_per_joule, profile_at_clock
from capper.decide.memory import applied, restore_all
from capper.decide.observation import DomainReading, Observation, RouterForecast, Sample
from capper.decide.overlap import resolve
from capper.decide.plan import (
    ConditionType,
    ReleasePowerLimit,
    SetClock,
    SetPowerLimit,
)
from capper.decide.policy import DomainPolicy, LimitRange, NamedCap, Rung, TargetPolicy
from fleet.physics import Mix
from fleet.priors import prior_profile

CURVE = ClockCurve(base_hertz=1.98e9, knee_hertz=1.5e9, static_watts=70.0)
RANGE = LimitRange(300.0, 700.0)
WITH_LIMITS = frozenset({Rung.LIMITS, Rung.REPLICAS})


def limited(ref, **changes):
    return replace(
        TargetPolicy(ref=ref, clocks=CURVE, limit_range=RANGE, min_replicas=0), **changes
    )


def of(plan, kind):
    return [action for action in plan.actions if isinstance(action, kind)]


def limits(plan):
    return {one.target: one.watts for one in of(plan, SetPowerLimit)}


def act(plan, *, now=1000.0):
    state = plan.state
    for action in plan.actions:
        state = applied(state, action, now_seconds=now)
    return state


def policy(*targets, cap=4000.0, rungs=WITH_LIMITS, **rest):
    return policy_of(*targets, cap=cap, rungs=rungs, **rest)


def test_limits_add_up_to_no_more_than_the_cap_less_what_draws_without_one():
    fleet = policy(limited("a"), limited("b"))
    plan = run(fleet, seen(3500.0, a=target(4, each=400.0), b=target(4, each=400.0)))
    assert limits(plan) == {"a": 462.0, "b": 462.0}  # 8 x 462 <= 4000 - (3500 - 3200)
    assert plan.targets[0].limit_watts == 462.0


def test_no_limit_is_set_where_all_boards_at_their_highest_fit():
    fleet = policy(limited("a"), cap=6000.0)
    assert of(run(fleet, seen(3200.0, a=target(8, each=400.0))), SetPowerLimit) == []
    tight = run(replace(fleet, domains=policy(limited("a")).domains), seen(3200.0, a=target(8)))
    later = run(fleet, seen(3200.0, a=target(8, each=400.0)), act(tight), now=1002.0)
    assert [one.target for one in of(later, ReleasePowerLimit)] == ["a"]


def test_higher_priority_keeps_its_watts_while_the_lower_gets_its_lowest():
    fleet = policy(limited("a", priority=1), limited("b"))
    plan = run(fleet, seen(3200.0, a=target(4, each=400.0), b=target(4, each=400.0)))
    assert limits(plan) == {"b": 300.0}
    assert plan.targets[0].limit_watts is None


def test_limits_fall_at_once_and_rise_by_what_those_in_force_leave():
    fleet = policy(limited("a"), limited("b"))
    both = {"a": target(4, each=400.0), "b": target(4, each=400.0)}
    state = act(run(fleet, seen(3200.0, **both)))
    assert state.targets["a"].limit_watts == 500.0
    # One replica of a is gone: its watts go to the others, not in the turn of a change ...
    fewer = {"a": target(3, each=400.0), "b": target(4, each=400.0)}
    assert limits(run(fleet, seen(2800.0, **fewer), state, now=1000.5)) == {}
    plan = run(fleet, seen(2800.0, **fewer), state, now=1001.0)
    assert limits(plan) == {"a": 571.0, "b": 571.0}
    # ... and never more than the cap together with what is in force while another falls.
    dearer = replace(fleet, targets=(limited("a"), limited("b", priority=1)))
    plan = run(dearer, seen(2800.0, **fewer), state, now=1001.0)
    held = {one.ref: one.limit_watts for one in plan.targets}
    assert 3 * 500.0 + 4 * held["b"] <= 4000.0
    assert held["a"] < 500.0 < held["b"]


def test_a_cap_that_falls_is_followed_at_once_even_while_blind_and_nothing_rises_then():
    fleet = policy(limited("a"), cap=4800.0)
    state = act(run(fleet, seen(3200.0, a=target(8, each=400.0))))
    assert state.targets["a"].limit_watts == 600.0
    lower = policy(limited("a"), cap=4000.0)
    assert limits(run(lower, seen(None, a=target(8)), state, now=1001.0)) == {"a": 500.0}
    higher = policy(limited("a"), cap=9000.0)
    assert run(higher, seen(None, a=target(8)), state, now=1001.0).actions == ()


def test_the_watts_of_a_rack_and_of_the_fleet_both_hold():
    rack = DomainPolicy(
        name="r1", parent="fleet", caps=(NamedCap(source="maxPower", watts=1600.0),)
    )
    fleet = policy(limited("a", domain="r1"), limited("b"), domains=(rack,))
    observation = Observation(
        domains={"fleet": watts(3200.0), "r1": watts(1600.0)},
        targets={"a": target(4, each=400.0), "b": target(4, each=400.0)},
    )
    assert limits(run(fleet, observation)) == {"a": 400.0, "b": 600.0}


def test_clocks_are_left_alone_where_limits_keep_the_cap_but_not_where_it_is_too_hot():
    rack = DomainPolicy(
        name="r1",
        parent="fleet",
        caps=(NamedCap(source="maxPower", watts=3000.0),),
        max_inlet_celsius=30.0,
    )
    rungs = frozenset({Rung.LIMITS, Rung.CLOCKS})
    fleet = policy(limited("a", domain="r1"), cap=3000.0, domains=(rack,), rungs=rungs)

    def at(celsius):
        hot = replace(watts(2900.0), inlet_celsius=(Sample(celsius, 1.0),))
        return Observation(
            domains={"fleet": watts(2900.0), "r1": hot}, targets={"a": target(6, each=480.0)}
        )

    cool = run(fleet, at(25.0))
    assert of(cool, SetClock) == []
    assert limits(cool) == {"a": 496.0}
    assert len(of(run(fleet, at(33.0)), SetClock)) == 1


def test_idle_replicas_sleep_while_limits_hold_boards_at_work_below_their_knee():
    knee_watts = 70.0 + 630.0 * replace(CURVE, power_share=1.0).power_ratio(1.5e9)
    assert 370.0 < knee_watts < 390.0
    fleet = policy(limited("busy"), limited("idle"), cap=2800.0)
    fleet = replace(fleet, pacing=replace(fleet.pacing, escalate_after_seconds=0.0))
    busy = target(4, each=340.0, output_tokens_per_second=9000.0, tokens_per_joule=5.0)
    packed = RouterForecast(packed_tokens_per_joule=2.0)
    idle = target(4, each=90.0, output_tokens_per_second=0.0, forecast=packed)
    assert bounds(run(fleet, seen(1720.0, busy=busy, idle=idle)))["idle"] == 3
    # Those at work are not touched, however little they are worth, nor are idle ones elsewhere.
    working = replace(idle, output_tokens_per_second=50.0, tokens_per_joule=0.5)
    assert bounds(run(fleet, seen(1720.0, busy=busy, idle=working)))["idle"] >= 4
    roomy = replace(fleet, domains=policy(cap=3400.0).domains)
    assert bounds(run(roomy, seen(1720.0, busy=busy, idle=idle)))["idle"] >= 4


def test_replicas_at_work_go_only_where_not_even_the_lowest_limits_fit():
    fleet = policy(limited("a"), limited("b"), cap=2000.0)
    fleet = replace(fleet, pacing=replace(fleet.pacing, escalate_after_seconds=0.0))
    both = {
        "a": target(4, each=250.0, output_tokens_per_second=900.0, tokens_per_joule=5.0),
        "b": target(4, each=250.0, output_tokens_per_second=900.0, tokens_per_joule=2.0),
    }
    plan = run(fleet, seen(2000.0, **both))
    assert limits(plan) == {"a": 300.0, "b": 300.0}
    assert bounds(plan) == {"a": 4, "b": 3}
    assert ConditionType.CAP_UNREACHABLE in conditions(plan)
    assert ConditionType.CAP_UNREACHABLE not in conditions(
        run(policy(limited("a"), limited("b")), seen(2000.0, **both))
    )


def test_everything_is_put_back_when_the_rung_or_the_configuration_ends():
    fleet = policy(limited("a"))
    state = act(run(fleet, seen(3200.0, a=target(8, each=400.0))))
    assert next(type(one) for one in restore_all(state)) is ReleasePowerLimit
    off = replace(fleet, rungs=frozenset({Rung.PRICE}))
    assert len(of(run(off, seen(3200.0, a=target(8)), state), ReleasePowerLimit)) == 1
    gone = replace(fleet, targets=(limited("other"),))
    assert [
        one.target for one in of(run(gone, seen(3200.0, other=target(1)), state), ReleasePowerLimit)
    ] == ["a"]


def test_of_two_configurations_the_lower_limit_wins():
    observation = seen(3200.0, a=target(8, each=400.0))
    plans = {"tight": policy(limited("a")), "loose": policy(limited("a"), cap=5000.0)}
    both = resolve({name: run(one, observation) for name, one in plans.items()})
    assert limits(both["tight"]) == {"a": 500.0}
    assert limits(both["loose"]) == {}


H100 = PhaseClocks(base_hertz=1.98e9, knee_hertz=1.54e9, static_watts=70.0)


def test_a_limit_slows_down_the_phases_that_it_holds_and_bounds_the_watts():
    profile = prior_profile("H100", parameters=8.03e9)
    told = profile_at_clock(profile, H100, 1.98e9, limit_watts=500.0)
    assert told.power.prefill_watts == 500.0
    assert told.power.floor_watts + told.power.span_watts == pytest.approx(500.0)
    assert told.step.per_prompt_token_seconds > 1.1 * profile.step.per_prompt_token_seconds
    assert 1.0 < told.step.base_seconds / profile.step.base_seconds < 1.1
    free = profile_at_clock(profile, H100, 1.98e9, limit_watts=701.0)
    assert free == profile_at_clock(profile, H100, 1.98e9)
    assert free.step == profile.step


def test_a_better_board_is_worth_more_filled_whatever_it_happens_to_do():
    mix = Mix(prompt_tokens=1000.0, computed_prompt_tokens=1000.0, output_tokens=200.0)
    worths = {
        name: packed_tokens_per_joule(
            prior_profile(name, parameters=8.03e9), mix, tpot_limit_seconds=0.03
        )
        for name in ("A100", "H100", "B200")
    }
    assert worths["A100"] < worths["H100"] < worths["B200"]


def test_a_domain_without_a_reading_of_its_own_is_no_room():
    fleet = policy(limited("a"))
    observation = Observation(domains={"fleet": DomainReading()}, targets={"a": target(8)})
    assert limits(run(fleet, observation)) == {"a": 500.0}


def resource(**clocks):
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "row"},
        "spec": {
            "powerCapLimit": 4000,
            "deploymentName": "llm",
            "mode": "Enforce",
            "gpuClocks": {"enabled": True, "baseMHz": 1980, **clocks},
        },
    }


def test_the_resource_switches_limits_on_with_the_range_of_a_replica():
    both = {"lowestLimitWatts": 300, "highestLimitWatts": 700, "limitMarginRatio": 0.05}
    given = of_resource(parse(resource(**both)))
    assert Rung.LIMITS in given.rungs
    assert {one.limit_range for one in given.targets} == {RANGE}
    assert given.limits.margin_ratio == 0.05
    plain = of_resource(parse(resource()))
    assert Rung.LIMITS not in plain.rungs
    assert {one.limit_range for one in plain.targets} == {None}
    off = of_resource(parse(resource(**both, enabled=False)))
    assert Rung.LIMITS not in off.rungs


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lowestLimitWatts": 300}, "goes with highestLimitWatts: give both or none"),
        ({"highestLimitWatts": 700}, "goes with highestLimitWatts: give both or none"),
        (
            {"lowestLimitWatts": 800, "highestLimitWatts": 700},
            "must not be above highestLimitWatts",
        ),
    ],
)
def test_half_a_range_is_refused_with_its_field(changes, problem):
    with pytest.raises(InvalidConfigError) as raised:
        parse(resource(**changes))
    [sentence] = raised.value.problems
    assert "lowestLimitWatts" in sentence
    assert problem in sentence
