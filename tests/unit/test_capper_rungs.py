"""Prices, clocks, brakes, heat, pauses, other writers and overlaps, by example."""

from dataclasses import replace

from capper_builders import bounds, conditions, policy_of, run, seen, target, watts

from capper.decide.board import price_board
from capper.decide.clock_model import ClockCurve
from capper.decide.memory import applied, reserve, restore_all
from capper.decide.observation import DomainReading, Observation, RouterForecast, Sample
from capper.decide.overlap import resolve
from capper.decide.plan import (
    Brake,
    ConditionType,
    PauseScaleOut,
    ReleaseClock,
    RestoreMaxReplicas,
    ResumeScaleOut,
    SetClock,
    SetMaxReplicas,
    SetPrice,
    SetShed,
    ShedLevel,
)
from capper.decide.policy import DomainPolicy, NamedCap, Rung, TargetPolicy
from capper.decide.state import Band, Reservation, State

CURVE = ClockCurve(base_hertz=1.98e9, knee_hertz=1.2e9, static_watts=50.0)
RACK = DomainPolicy(
    name="r1",
    parent="fleet",
    caps=(NamedCap(source="maxPower", watts=4000.0),),
    max_inlet_celsius=35.0,
)


def of(plan, kind):
    return [action for action in plan.actions if isinstance(action, kind)]


def act(plan, *, now):
    state = plan.state
    for action in plan.actions:
        state = applied(state, action, now_seconds=now)
    return state


def in_rack(power, celsius, **targets):
    rack = DomainReading(
        power=watts(power).power,
        inlet_celsius=() if celsius is None else (Sample(celsius, 5.0),),
    )
    return Observation(domains={"fleet": watts(5000.0), "r1": rack}, targets=targets)


# Price


def test_the_price_rises_at_once_to_its_highest_at_the_cap_and_falls_step_by_step():
    policy = policy_of(rungs=frozenset({Rung.PRICE}))
    plan = run(policy, seen(10_000.0, a=target(6)))
    assert [action.ratio for action in of(plan, SetPrice)] == [4.0]
    state = act(plan, now=1000.0)
    calm = seen(3000.0, a=target(6))
    assert run(policy, calm, state, now=1015.0).actions == ()
    [falling] = of(run(policy, calm, state, now=1030.0), SetPrice)
    assert falling.ratio == 3.75
    blind = run(policy, seen(None, a=target(6)), state, now=1100.0)
    assert blind.actions == ()
    assert blind.domains[0].price_ratio == 4.0


def test_a_leaf_pays_for_the_worst_domain_on_its_way_and_the_board_carries_it():
    policy = policy_of(domains=(RACK,), rungs=frozenset({Rung.PRICE}))
    plan = run(policy, in_rack(4000.0, 20.0, a=target(6)))
    assert [(one.domain, one.ratio) for one in of(plan, SetPrice)] == [("r1", 4.0)]
    board = price_board([(policy, act(plan, now=1000.0))], expires_seconds=50.0)
    assert board.ratio("r1", now_seconds=49.0) == 4.0
    assert board.ratio("r1", now_seconds=51.0) == 1.0


# Clocks


def clocked(current, **rest):
    policies = (
        TargetPolicy(ref="low", clocks=CURVE),
        TargetPolicy(ref="high", clocks=CURVE, priority=1),
    )
    reading = target(current, **rest)
    return policy_of(*policies, rungs=frozenset({Rung.CLOCKS})), {"low": reading, "high": reading}


def test_above_the_lower_threshold_only_low_priority_gives_and_only_what_is_needed():
    policy, targets = clocked(8)
    plan = run(policy, seen(8300.0, **targets))
    [action] = of(plan, SetClock)
    assert action.target == "low"
    saved = 8 * (500.0 - CURVE.watts(action.hertz, base_watts=500.0))
    one_step_higher = 8 * (500.0 - CURVE.watts(action.hertz + 15e6, base_watts=500.0))
    assert one_step_higher < 300.0 <= saved


def test_above_the_upper_threshold_high_priority_gives_what_low_could_not_and_none_below_the_knee():
    policy, targets = clocked(8)
    plan = run(policy, seen(11_000.0, **targets))
    locks = {action.target: action.hertz for action in of(plan, SetClock)}
    assert locks["low"] == CURVE.knee_hertz
    assert CURVE.knee_hertz <= locks["high"] < CURVE.base_hertz


def test_what_the_knee_does_not_save_of_the_cap_is_taken_below_it_but_not_below_the_floor():
    policy, targets = clocked(8)
    for drawn_watts in (12_000.0, 20_000.0):
        plan = run(policy, seen(drawn_watts, **targets))
        locks = {action.target: action.hertz for action in of(plan, SetClock)}
        assert min(locks.values()) < CURVE.knee_hertz
        assert all(hertz >= max(1e9, 0.5 * CURVE.base_hertz) for hertz in locks.values())
    tuning = replace(policy.clocks, min_hertz=0.0)
    plan = run(replace(policy, clocks=tuning), seen(20_000.0, **targets))
    assert {action.hertz for action in of(plan, SetClock)} == {0.5 * CURVE.base_hertz}


def test_a_cap_that_falls_while_a_lock_is_too_new_to_show_is_followed_at_once():
    policy, targets = clocked(8)
    plan = run(policy, seen(8300.0, **targets))
    state = act(plan, now=1000.0)
    lower = policy_of(*policy.targets, cap=8000.0)
    later = run(replace(lower, rungs=policy.rungs), seen(8300.0, **targets), state, now=1001.0)
    [first] = of(plan, SetClock)
    locks = {one.target: one.hertz for one in of(later, SetClock)}
    assert locks.keys() == {"low", "high"}
    assert locks["low"] < first.hertz


def test_clocks_below_their_knee_are_let_go_for_replicas_that_the_router_does_not_need():
    needed = {"forecast": RouterForecast(unneeded_replicas=0)}
    spare = {"forecast": RouterForecast(unneeded_replicas=3)}
    for forecast, bound in ((needed, None), (spare, 7)):
        policy, targets = clocked(8, **forecast)
        policy = replace(policy, rungs=frozenset({Rung.CLOCKS, Rung.REPLICAS}))
        plan = run(policy, seen(13_000.0, **targets))
        state = act(plan, now=1000.0)
        assert state.targets["low"].clock_hertz < CURVE.knee_hertz
        # They brought the watts under the cap, so nothing but the strain asks for fewer replicas.
        later = run(policy, seen(9_900.0, **targets), state, now=1060.0)
        cut = [one for one in of(later, SetMaxReplicas) if one.replicas < 8]
        assert [one.replicas for one in cut] == ([] if bound is None else [bound] * len(cut))
        assert bool(cut) is (bound is not None)


def test_clocks_are_not_lowered_twice_for_the_same_watts_and_rise_in_steps():
    policy, targets = clocked(8)
    plan = run(policy, seen(8300.0, **targets))
    state = act(plan, now=1000.0)
    assert run(policy, seen(8300.0, **targets), state, now=1030.0).actions == ()
    rising = run(policy, seen(4000.0, **targets), state, now=1060.0)
    [action] = [*of(rising, SetClock), *of(rising, ReleaseClock)]
    assert isinstance(action, ReleaseClock)
    deep = applied(state, SetClock("low", 1.2e9, plan.actions[0].why), now_seconds=1060.0)
    [first] = of(run(policy, seen(4000.0, **targets), deep, now=1120.0), SetClock)
    assert first.hertz == 1.2e9 + 0.25 * (1.98e9 - 1.2e9)


def test_a_cap_step_of_30_percent_is_met_by_one_setting_of_clocks():
    compute_bound = replace(CURVE, power_share=0.8)
    policy, targets = clocked(9)
    policy = replace(
        policy_of(*(replace(one, clocks=compute_bound) for one in policy.targets), cap=7000.0),
        rungs=frozenset(Rung),
    )
    plan = run(policy, seen(9000.0, **targets))
    locks = {action.target: action.hertz for action in of(plan, SetClock)}
    after = sum(9 * compute_bound.watts(locks[ref], base_watts=500.0) for ref in targets)
    assert after <= 0.89 * 7000.0 + 1e-6
    assert set(bounds(plan).values()) == {9}
    assert plan.domains[0].shed is ShedLevel.NOTHING


def test_clocks_act_before_replicas():
    policy, targets = clocked(9)
    policy = replace(policy, rungs=frozenset({Rung.CLOCKS, Rung.REPLICAS}))
    plan = run(policy, seen(10_500.0, **targets))
    assert of(plan, SetClock)
    assert set(bounds(plan).values()) == {9}
    still = run(policy, seen(10_500.0, **targets), act(plan, now=1000.0), now=1045.0)
    assert min(bounds(still).values()) == 8


# Brake


def test_the_brake_refuses_sheddable_then_all_work_and_lets_go_one_level_at_a_time():
    policy, state = policy_of(rungs=frozenset({Rung.BRAKE})), State()
    seen_levels = []
    for turn, power in enumerate([10_600.0] * 6 + [8000.0] * 12):
        now = 1000.0 + 15.0 * turn
        plan = run(policy, seen(power, a=target(8)), state, now=now)
        state = act(plan, now=now)
        seen_levels.append(state.domains["fleet"].shed_level)
    assert seen_levels == [0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0]
    assert price_board([(policy, state)], expires_seconds=1.0).shedding == frozenset()


def test_blindness_holds_the_brake_but_refuses_all_work_no_longer_than_five_minutes():
    policy = policy_of(rungs=frozenset({Rung.BRAKE}))
    plan = run(policy, seen(10_600.0, a=target(8)))
    state = applied(plan.state, Brake("fleet", plan.targets[0].why), now_seconds=1000.0)
    assert run(policy, seen(None, a=target(8)), state, now=1100.0).actions == ()
    [action] = run(policy, seen(None, a=target(8)), state, now=1400.0).actions
    assert action == SetShed("fleet", ShedLevel.SHEDDABLE, action.why)


# Racks


def test_a_racks_watts_and_temperature_have_the_same_bands():
    policy = policy_of(TargetPolicy(ref="a", domain="r1"), domains=(RACK,))
    light = target(4, each=100.0)
    assert bounds(run(policy, in_rack(3250.0, 20.0, a=light))) == {"a": 5}
    assert bounds(run(policy, in_rack(1000.0, 29.0, a=light))) == {"a": 5}
    assert bounds(run(policy, in_rack(1000.0, 33.5, a=light))) == {"a": 4}


def test_too_hot_a_rack_gives_replicas_and_says_so():
    policy = policy_of(TargetPolicy(ref="a", domain="r1"), domains=(RACK,))
    plan = run(policy, in_rack(2000.0, 36.0, a=target(4)))
    assert bounds(plan) == {"a": 3}
    assert ConditionType.INLET_HOT in conditions(plan)


def test_a_rack_that_lost_its_thermometer_holds_and_then_grows_no_more():
    policy = policy_of(TargetPolicy(ref="a", domain="r1"), domains=(RACK,))
    plan = run(policy, in_rack(1000.0, None, a=target(2)))
    assert plan.actions == ()
    plan = run(policy, in_rack(1000.0, None, a=target(2)), plan.state, now=1400.0)
    assert bounds(plan) == {"a": 2}


def test_reservations_and_replicas_on_their_way_count_against_growth():
    policy = policy_of()
    calm = seen(7000.0, a=target(5))
    held = reserve(State(), "pod", Reservation(domain="fleet", watts=600.0, until_seconds=1100.0))
    assert bounds(run(policy, calm, held)) == {"a": 7}
    assert bounds(run(policy, calm, held, now=1101.0)) == {"a": 8}
    coming = seen(7000.0, a=target(6, ready_replicas=5, watts=2500.0))
    assert bounds(run(policy, coming)) == {"a": 8}


def test_children_that_may_draw_more_than_their_parent_are_named():
    row = replace(RACK, name="r2", caps=(NamedCap(source="maxPower", watts=7000.0),))
    plan = run(policy_of(domains=(RACK, row)), in_rack(1000.0, 20.0, a=target(2)))
    assert ConditionType.BUDGET_OVER_ALLOCATED in conditions(plan)


def test_the_lowest_cap_counts_and_names_itself():
    caps = (NamedCap(source="powerCapLimit", watts=9000.0), NamedCap(source="carbon", watts=500.0))
    policy = replace(policy_of(), domains=(DomainPolicy(name="fleet", caps=caps),))
    decision = run(policy, seen(3000.0, a=target(6))).domains[0]
    assert (decision.cap_watts, decision.cap_source, decision.band) == (500.0, "carbon", Band.SHED)


# Writers


def test_growth_is_paused_where_that_is_supported_and_resumed_with_the_bound():
    policy = policy_of(TargetPolicy(ref="a", prefers_pause=True))
    free = target(6, scale_out_paused=False)
    plan = run(policy, seen(9600.0, a=free))
    assert [type(action) for action in plan.actions] == [PauseScaleOut]
    state = act(plan, now=1000.0)
    paused = target(6, scale_out_paused=True)
    for turn in range(24):
        plan = run(policy, seen(3000.0, a=paused), state, now=1015.0 + 15.0 * turn)
        if plan.actions:
            break
        state = plan.state
    assert turn == 20  # Restrict is left after 300 s of dwell.
    assert [type(action) for action in plan.actions] == [SetMaxReplicas, ResumeScaleOut]
    assert plan.actions[0].replicas == 7


def test_a_bound_that_is_undone_three_times_is_left_alone_and_tried_again_after_half_an_hour():
    policy, state, writes = policy_of(), State(), []
    for turn in range(20):
        now = 1000.0 + 60.0 * turn
        plan = run(policy, seen(9600.0, a=target(6)), state, now=now)
        writes += [now for _ in of(plan, SetMaxReplicas)]
        state = act(plan, now=now)
    assert len(writes) == 3
    assert ConditionType.REVERT_FIGHT in conditions(plan)
    later = run(policy, seen(9600.0, a=target(6)), state, now=1000.0 + 60.0 * 3 + 1800.0)
    assert len(of(later, SetMaxReplicas)) == 1


def test_what_was_there_is_put_back_also_by_the_finalizer():
    policy = policy_of()
    state = act(run(policy, seen(7000.0, a=target(5))), now=1000.0)
    assert [(one.target, one.replicas) for one in restore_all(state)] == [("a", 10)]
    plan = run(policy, seen(1000.0, a=target(2, top=8)), state, now=2000.0)
    [action] = of(plan, RestoreMaxReplicas)
    assert action.replicas == 10
    state = act(plan, now=2000.0)
    assert restore_all(state) == ()


def test_a_target_that_is_no_longer_named_and_a_rung_that_is_switched_off_give_all_back():
    both = policy_of(TargetPolicy(ref="a"), TargetPolicy(ref="b"))
    observation = seen(9600.0, a=target(6), b=target(6))
    state = act(run(both, observation), now=1000.0)
    plan = run(policy_of(TargetPolicy(ref="b")), observation, state)
    assert [(one.target, one.replicas) for one in of(plan, RestoreMaxReplicas)] == [("a", 10)]
    after = run(policy_of(TargetPolicy(ref="b")), observation, act(plan, now=1001.0), now=1015.0)
    assert "a" not in after.state.targets
    off = replace(both, rungs=frozenset({Rung.PRICE}))
    plan = run(off, observation, state)
    assert [one.target for one in of(plan, RestoreMaxReplicas)] == ["a", "b"]


def test_a_bound_that_follows_the_autoscaler_is_no_oscillation():
    policy, state, top = policy_of(), State(), 10
    for turn in range(20):
        now, current = 1000.0 + 150.0 * turn, 5 + turn % 2
        plan = run(policy, seen(8200.0, a=target(current, each=100.0, top=top)), state, now=now)
        state = act(plan, now=now)
        [top] = bounds(plan).values() or [top]
        assert top == current + 1
    assert ConditionType.OSCILLATION not in conditions(plan)


def test_too_many_turns_shut_the_way_up():
    policy, state, ups = policy_of(), State(), 0
    top = 10
    for turn in range(18):
        now = 1000.0 + 130.0 * turn
        power = 7000.0 if turn % 2 == 0 else 4000.0
        plan = run(policy, seen(power, a=target(5, top=top)), state, now=now)
        for action in plan.actions:
            ups += action.replicas > top
            top = action.replicas
        state = act(plan, now=now)
    assert ConditionType.OSCILLATION in conditions(plan)
    assert ups == 3


def test_two_configurations_on_one_target_the_lower_bound_wins_and_both_are_told():
    tight, loose = policy_of(cap=5000.0), policy_of(cap=20_000.0)
    observation = seen(4900.0, a=target(6))
    plans = resolve({"tight": run(tight, observation), "loose": run(loose, observation)})
    assert bounds(plans["tight"]) == {"a": 6}
    assert plans["loose"].actions == ()
    assert all(ConditionType.OVERLAP in conditions(plan) for plan in plans.values())
    held = act(plans["tight"], now=1000.0)
    loosened = run(loose, seen(4900.0, a=target(6, top=6)), held, now=3000.0)
    assert resolve({"tight": plans["tight"], "loose": loosened})["loose"].actions == ()
