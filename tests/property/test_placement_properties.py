"""Placement, heat budgets, learning and set-points, whatever the racks and their sensors say."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from capper.decide.cooling import CoolingLimits, SetPoint, next_set_point
from capper.decide.heat_budgets import after_poaching, budgets_watts, recirculation_factors
from capper.decide.heat_learning import HeatSample, learn
from capper.decide.observation import Sample
from capper.decide.placement import PlacementPolicy, rank
from capper.decide.rack_room import Feed, PlacementRules, Rack
from fleet.thermal import ThermalModel, rises_celsius

NAMES = tuple(f"r{number}" for number in range(5))
RULES = PlacementRules()
LIMITS = CoolingLimits()
ages = st.sampled_from([0.0, 44.0, 46.0, 299.0, 301.0, -60.0, math.nan])
wild = st.sampled_from([math.nan, math.inf, -1.0, 9e18])


def samples(low, high):
    return st.none() | st.builds(
        Sample, st.none() | wild | st.floats(low, high), st.just(5.0) | ages
    )


def known(low, high):
    return st.builds(Sample, st.floats(low, high), st.just(5.0))


POWERS, INLETS, OUTLETS = samples(0.0, 30_000.0), samples(10.0, 40.0), samples(20.0, 60.0)


@st.composite
def models(draw):
    entries = st.floats(0.0, 2e-4)
    rows = st.lists(st.tuples(*[entries] * len(NAMES)), min_size=len(NAMES), max_size=len(NAMES))
    return ThermalModel(
        racks=NAMES,
        approach_celsius=draw(st.tuples(*[st.floats(0.0, 5.0)] * len(NAMES))),
        recirculation_kelvin_per_watt=tuple(draw(rows)),
    )


@st.composite
def rack_lists(draw, power=POWERS, inlets=INLETS, outlets=OUTLETS):
    return [
        Rack(
            name=name,
            cap_watts=draw(st.floats(1000.0, 40_000.0)),
            power=draw(power),
            reserved_watts=draw(st.floats(0.0, 3000.0)),
            inlet=draw(inlets),
            outlet=draw(outlets),
            max_inlet_celsius=draw(st.none() | st.floats(20.0, 35.0)),
            domains=draw(st.sampled_from([(), ("row",), ("row", "site")])),
        )
        for name in NAMES
    ]


feed_maps = st.fixed_dictionaries(
    {
        name: st.builds(
            Feed,
            cap_watts=st.floats(5000.0, 200_000.0),
            power=samples(0.0, 150_000.0),
            reserved_watts=st.floats(0.0, 5000.0),
        )
        for name in ("row", "site")
    }
)
policies = st.sampled_from(PlacementPolicy)
replicas = st.floats(100.0, 8000.0)


def place_of(name, ranking):
    """0 for the best; infinite where it is left out."""
    order = [one.rack for one in ranking.choices]
    return order.index(name) if name in order else math.inf


@given(policies, rack_lists(), feed_maps, replicas, st.none() | models())
def test_no_choice_takes_a_rack_or_a_domain_over_its_cap(policy, racks, feeds, watts, model):
    ranking = rank(policy, racks, feeds, replica_watts=watts, model=model)
    by_name = {one.name: one for one in racks}
    assert sorted([*ranking.excluded, *(one.rack for one in ranking.choices)]) == list(NAMES)
    assert all(ranking.excluded.values())
    for choice in ranking.choices:
        rack = by_name[choice.rack]
        for limit in (rack, *(feeds[name] for name in rack.domains)):
            after = limit.power.value + limit.reserved_watts + watts
            assert after <= limit.cap_watts * (1.0 - RULES.free_ratio) * (1 + 1e-8)
            assert 0.0 <= limit.power.age_seconds + 5.0 <= 50.0
        if rack.max_inlet_celsius is not None:
            assert rack.inlet.value <= rack.max_inlet_celsius


@given(policies, rack_lists(), feed_maps, replicas, st.none() | models(), st.permutations(range(5)))
def test_the_order_in_which_racks_are_named_changes_nothing(
    policy, racks, feeds, watts, model, order
):
    one = rank(policy, racks, feeds, replica_watts=watts, model=model)
    other = rank(policy, [racks[at] for at in order], feeds, replica_watts=watts, model=model)
    assert one == other


@given(
    st.sampled_from([PlacementPolicy.HEADROOM, PlacementPolicy.COOLEST, PlacementPolicy.MIN_HR]),
    rack_lists(known(0.0, 9000.0)),
    feed_maps,
    replicas,
    models(),
    st.sampled_from(range(5)),
    st.floats(1.0, 3.0),
)
def test_more_headroom_never_makes_a_rack_a_worse_place(
    policy, racks, feeds, watts, model, at, ratio
):
    before = rank(policy, racks, feeds, replica_watts=watts, model=model)
    more = list(racks)
    more[at] = replace(racks[at], cap_watts=racks[at].cap_watts * ratio)
    # A draw far above the old cap was no draw at all, and counts in the budgets only now.
    assume(racks[at].power.value <= 2.0 * racks[at].cap_watts)
    after = rank(policy, more, feeds, replica_watts=watts, model=model)
    assert place_of(NAMES[at], after) <= place_of(NAMES[at], before)


@given(
    policies,
    rack_lists(),
    feed_maps,
    replicas,
    st.none() | models(),
    st.fixed_dictionaries(
        {
            "power": known(0.0, 30_000.0),
            "inlet": known(10.0, 40.0),
            "outlet": known(20.0, 60.0),
        }
    ),
    st.sampled_from(["power", "inlet", "outlet"]),
)
def test_losing_a_sensor_never_makes_a_rack_a_better_place(
    policy, racks, feeds, watts, model, sensors, sensor
):
    racks[2] = replace(racks[2], **sensors)
    blind = list(racks)
    blind[2] = replace(racks[2], **{sensor: None})
    before = rank(policy, racks, feeds, replica_watts=watts, model=model)
    after = rank(policy, blind, feeds, replica_watts=watts, model=model)
    assert place_of(NAMES[2], after) >= place_of(NAMES[2], before)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 100.0), st.floats(0.0, 5000.0), st.floats(0.0, 20_000.0)),
        min_size=1,
        max_size=8,
    ),
    st.floats(0.0, 1.0),
)
def test_budgets_sum_to_the_total_within_their_clamps_and_in_proportion_between(rows, part):
    factors = [factor for factor, _, _ in rows]
    least = [low for _, low, _ in rows]
    most = [low + span for _, low, span in rows]
    total = sum(least) + part * (sum(most) - sum(least))
    budgets = budgets_watts(factors, total_watts=total, least_watts=least, most_watts=most)
    assert sum(budgets) == pytest.approx(total, rel=1e-9, abs=1e-6)
    assert all(
        low <= budget <= high for low, budget, high in zip(least, budgets, most, strict=True)
    )
    scales = [
        budget / factor
        for factor, low, budget, high in zip(factors, least, budgets, most, strict=True)
        if low < budget < high
    ]
    assert scales == pytest.approx([max(scales, default=0.0)] * len(scales), rel=1e-6)


@given(models())
def test_factors_are_finite_and_fall_with_the_heat_that_a_rack_sends(model):
    factors = recirculation_factors(model)
    sent = dict(
        zip(
            NAMES,
            (sum(column) for column in zip(*model.recirculation_kelvin_per_watt, strict=True)),
            strict=True,
        )
    )
    assert all(math.isfinite(one) and one > 0 for one in factors.values())
    for one in NAMES:
        for other in NAMES:
            if sent[one] > sent[other] * (1 + 1e-9):
                assert factors[one] <= factors[other]


@given(
    st.dictionaries(st.sampled_from(NAMES), st.floats(-5000.0, 5000.0), min_size=1),
    st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), st.floats(0.0, 1.0)),
)
def test_poaching_takes_no_more_than_is_over_and_leaves_nobody_below_0(left, nearness):
    after = after_poaching(left, nearness)
    over = -sum(watts for watts in left.values() if watts < 0)
    taken = sum(left.values()) - sum(after.values())
    assert -1e-6 <= taken <= over + 1e-6
    for rack, watts in left.items():
        assert after[rack] == watts if watts < 0 else 0.0 <= after[rack] <= watts


@given(
    models(),
    st.lists(
        st.tuples(*[st.floats(0.0, 20_000.0)] * len(NAMES)), min_size=15, max_size=20, unique=True
    ),
)
def test_what_is_learned_is_a_room_that_explains_its_history_or_a_refusal(model, powers):
    history = [
        HeatSample(18.0, watts, [18.0 + rise for rise in rises_celsius(model, watts)])
        for watts in powers
    ]
    learned = learn(NAMES, history)
    assert (learned.model is None) != (learned.refusal is None)
    if learned.model is not None:
        assert learned.error_kelvin < 0.01
        for watts, one in zip(powers, history, strict=True):
            rises = rises_celsius(learned.model, watts)
            assert [18.0 + rise for rise in rises] == pytest.approx(one.inlets_celsius, abs=0.05)


@given(
    rack_lists(),
    samples(10.0, 30.0),
    st.none() | models(),
    st.floats(15.0, 27.0),
    st.floats(-10.0, 1e6),
)
def test_set_points_keep_bounds_and_ramp_and_are_safe_when_anything_is_unknown(
    racks, supply, model, before, elapsed
):
    point = next_set_point(
        LIMITS,
        {one.name: one for one in racks},
        supply=supply,
        model=model,
        before=SetPoint(supply_celsius=before, airflow_m3_per_second=None, set_seconds=0.0),
        now_seconds=elapsed,
    )
    assert LIMITS.min_supply_celsius <= point.supply_celsius <= LIMITS.max_supply_celsius
    assert point.supply_celsius <= before + LIMITS.ramp_celsius_per_minute + 1e-9
    if point.unknown is not None:
        assert point.supply_celsius == min(before, LIMITS.safe_supply_celsius)


@given(
    rack_lists(known(0.0, 1000.0), known(18.0, 30.0)),
    models(),
    st.floats(15.0, 27.0),
)
def test_inlets_settle_at_the_redline_at_most_unless_the_plant_is_at_its_coldest(
    racks, model, before
):
    point = next_set_point(
        LIMITS,
        {one.name: one for one in racks},
        supply=Sample(18.0, 1.0),
        model=model,
        before=SetPoint(supply_celsius=before, airflow_m3_per_second=None, set_seconds=0.0),
        now_seconds=60.0,
    )
    assert point.unknown is None
    rises = rises_celsius(model, [one.power.value for one in racks])
    if point.supply_celsius > LIMITS.min_supply_celsius:
        assert point.supply_celsius + max(rises) <= LIMITS.redline_celsius
