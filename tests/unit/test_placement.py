"""Racks for a new replica: each policy by example, what is excluded and why, and one experiment."""

import math
from dataclasses import replace

import pytest

from capper.decide.heat_budgets import (
    HeatRun,
    after_poaching,
    budgets_watts,
    nearness_of,
    recirculation_factor,
    recirculation_factors,
)
from capper.decide.observation import Sample
from capper.decide.placement import PlacementPolicy, rank
from capper.decide.rack_room import Feed, PlacementRules, Rack
from fleet.thermal import ThermalModel, cooling_watts, highest_supply_celsius
from loadtest.simulator.racks import recirculation, synthetic_room

PLAIN = PlacementRules(free_ratio=0.0)
PAIR = ThermalModel(
    racks=("a", "b"),
    approach_celsius=(1.0, 1.0),
    recirculation_kelvin_per_watt=((0.0003, 0.0), (0.0, 0.0001)),
)


def rack(name, watts=1000.0, *, inlet=None, outlet=None, cap=10_000.0, **more):
    def sample(value):
        return None if value is None else Sample(value, 10.0)

    return Rack(
        name=name,
        cap_watts=cap,
        power=sample(watts),
        inlet=sample(inlet),
        outlet=sample(outlet),
        **more,
    )


def names(ranking):
    return [one.rack for one in ranking.choices]


def ranked(policy, racks, feeds=None, *, watts=1000.0, model=None, rules=PLAIN):
    return rank(policy, racks, feeds or {}, replica_watts=watts, model=model, rules=rules)


def test_headroom_counts_reservations_and_every_domain_above():
    racks = [
        rack("a", 4000.0, domains=("row", "site")),
        rack("b", 3000.0, reserved_watts=2000.0, domains=("row", "site")),
        rack("c", 1000.0, domains=("tight", "site")),
    ]
    feeds = {
        "row": Feed(cap_watts=50_000.0, power=Sample(7000.0, 5.0)),
        "tight": Feed(cap_watts=3000.0, power=Sample(1000.0, 5.0), reserved_watts=500.0),
        "site": Feed(cap_watts=90_000.0, power=Sample(8000.0, 5.0)),
    }
    ranking = ranked(PlacementPolicy.HEADROOM, racks, feeds)
    assert [(one.rack, one.left_watts) for one in ranking.choices] == [
        ("a", 5000.0),
        ("b", 4000.0),
        ("c", 500.0),
    ]
    assert ranking.choices[0].reason == "5000 W left after the replica"
    full = ranked(PlacementPolicy.HEADROOM, racks, feeds, watts=1501.0)
    assert names(full) == ["a", "b"]
    assert full.excluded == {"c": "domain tight lacks 1 W for a replica of 1501 W"}


def test_the_spike_margin_stays_free():
    racks = [rack("a", 7800.0)]
    assert names(ranked(PlacementPolicy.HEADROOM, racks)) == ["a"]
    assert names(ranked(PlacementPolicy.HEADROOM, racks, rules=PlacementRules())) == ["a"]
    assert names(ranked(PlacementPolicy.HEADROOM, [rack("a", 7801.0)], rules=None)) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"power": None}, "the power of rack x is unknown, stale or impossible"),
        ({"power": Sample(1000.0, 46.0)}, "the power of rack x is unknown, stale or impossible"),
        ({"power": Sample(-1.0, 1.0)}, "the power of rack x is unknown, stale or impossible"),
        ({"power": Sample(9e18, 1.0)}, "the power of rack x is unknown, stale or impossible"),
        ({"power": Sample(math.nan, 1.0)}, "the power of rack x is unknown, stale or impossible"),
        ({"power": Sample(1.0, math.nan)}, "the power of rack x is unknown, stale or impossible"),
        (
            {"power": Sample(10_400.0, 1.0)},
            "rack x draws 10400 W of 10000 W, reservations included",
        ),
        ({"inlet": Sample(31.0, 1.0)}, "rack x takes in 31.0 C, its limit is 27.0 C"),
        (
            {"inlet": Sample(20.0, 301.0)},
            "the inlet temperature of rack x is stale or impossible",
        ),
        ({"inlet": Sample(-40.0, 1.0)}, "the inlet temperature of rack x is stale or impossible"),
        ({"inlet": None}, "rack x has a limit of 27.0 C and no inlet temperature"),
        ({"domains": ("gone",)}, "domain gone is not known"),
    ],
)
@pytest.mark.parametrize("policy", PlacementPolicy)
def test_a_rack_in_violation_or_not_seen_is_left_out_with_the_reason(policy, changed, reason):
    good = rack("good", 9000.0, inlet=26.0)
    bad = replace(rack("x", inlet=20.0, max_inlet_celsius=27.0), **changed)
    ranking = ranked(policy, [bad, good])
    assert names(ranking) == ["good"]
    assert ranking.excluded == {"x": reason}


def test_heat_that_would_bring_a_neighbour_over_its_limit_keeps_a_replica_away():
    model = replace(PAIR, recirculation_kelvin_per_watt=((0.0001, 0.0005), (0.0, 0.0001)))
    racks = [rack("a", inlet=26.8, max_inlet_celsius=27.0), rack("b", inlet=20.0)]
    ranking = ranked(PlacementPolicy.COOLEST, racks, model=model)
    assert names(ranking) == ["a"]
    assert ranking.excluded == {"b": "its heat would bring rack a to 27.3 C"}


def test_the_coolest_rack_is_first_and_unknown_ones_follow_by_headroom():
    racks = [
        rack("warm", inlet=25.0),
        rack("blind", 5000.0),
        rack("cool", 8000.0, inlet=19.0),
        rack("dark", 2000.0),
    ]
    ranking = ranked(PlacementPolicy.COOLEST, racks)
    assert names(ranking) == ["cool", "warm", "dark", "blind"]
    assert [one.blind for one in ranking.choices] == [False, False, True, True]
    assert ranking.choices[0].reason == "inlet at 19.0 C, 1000 W left after the replica"


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (PlacementPolicy.COOLEST, "no inlet temperature is known"),
        (PlacementPolicy.MIN_HR, "minHR has no recirculation matrix or factors"),
        (PlacementPolicy.ZBD, "no outlet temperature is known"),
    ],
)
def test_without_what_it_needs_a_policy_falls_back_to_headroom_and_says_so(policy, why):
    racks = [rack("a", 6000.0), rack("b", 2000.0)]
    ranking = ranked(policy, racks)
    assert names(ranking) == ["b", "a"]
    assert ranking.fallback == why
    assert all(one.blind and why in one.reason for one in ranking.choices)


def test_min_hr_follows_heat_recirculation_factors():
    assert recirculation_factors(PAIR) == pytest.approx({"a": 1.0, "b": 3.0})
    # Budgets of 5000 W together: 1250 and 3750.
    racks = [rack("a", 1500.0), rack("b", 2500.0)]
    ranking = ranked(PlacementPolicy.MIN_HR, racks, model=PAIR)
    assert [(one.rack, round(one.score)) for one in ranking.choices] == [("b", 1250), ("a", -250)]
    assert ranking.choices[1].reason.startswith("250 W over its minHR budget")


def test_a_rack_that_sends_nothing_counts_as_sending_a_thousandth_of_the_worst():
    model = replace(PAIR, recirculation_kelvin_per_watt=((0.0003, 0.0), (0.0, 0.0)))
    assert recirculation_factors(model) == pytest.approx({"a": 1.0, "b": 1000.0})
    none = replace(PAIR, recirculation_kelvin_per_watt=((0.0, 0.0), (0.0, 0.0)))
    assert recirculation_factors(none) == {"a": 1.0, "b": 1.0}


def test_measured_factors_come_before_those_of_the_model():
    racks = [rack("a", 1500.0), rack("b", 2500.0)]
    for model in (None, PAIR):
        ranking = rank(
            PlacementPolicy.MIN_HR,
            racks,
            {},
            replica_watts=1000.0,
            model=model,
            factors={"a": 4.0, "b": 1.0},
            rules=PLAIN,
        )
        assert [(one.rack, round(one.score)) for one in ranking.choices] == [
            ("a", 2500),
            ("b", -1500),
        ]


def test_a_factor_from_two_runs_and_none_from_runs_that_say_nothing():
    assert recirculation_factor(HeatRun(100.0, 20.0), HeatRun(150.0, 30.0)) == 5.0
    assert recirculation_factor(HeatRun(100.0, 20.0), HeatRun(100.0, 30.0)) is None
    assert recirculation_factor(HeatRun(100.0, 20.0), HeatRun(150.0, 20.0)) is None
    assert recirculation_factor(HeatRun(100.0, 20.0), HeatRun(math.nan, 30.0)) is None


def test_budgets_are_clamped_and_the_rest_is_dealt_again():
    budgets = budgets_watts(
        [3.0, 1.0, 1.0], total_watts=10.0, least_watts=[0.0] * 3, most_watts=[4.0, 9.0, 9.0]
    )
    assert budgets == pytest.approx((4.0, 3.0, 3.0))
    for total, word in ((1.0, "less"), (30.0, "more")):
        with pytest.raises(ValueError, match=f"is {word} than"):
            budgets_watts(
                [1.0, 1.0], total_watts=total, least_watts=[1.0] * 2, most_watts=[9.0] * 2
            )


def test_zbd_prefers_racks_with_cool_exhaust_and_lets_neighbours_pay_for_what_is_over():
    racks = [rack("a", 3000.0, outlet=30.0), rack("b", 3000.0, outlet=45.0)]
    ranking = ranked(PlacementPolicy.ZBD, racks)
    # 7000 W in the ratio 45 : 30 are 4200 and 2800.
    assert [(one.rack, round(one.score)) for one in ranking.choices] == [("a", 1200), ("b", -200)]
    left = {"over": -300.0, "near": 400.0, "far": 400.0}
    nearness = {("over", "near"): 1.0, ("over", "far"): 0.5}
    assert after_poaching(left, nearness) == pytest.approx(
        {"over": -300.0, "near": 200.0, "far": 300.0}
    )
    assert after_poaching(left, {}) == left


def test_near_racks_are_those_that_share_air():
    model = ThermalModel(
        racks=("a", "b", "c"),
        approach_celsius=(0.0, 0.0, 0.0),
        recirculation_kelvin_per_watt=((0.0, 4e-5, 1e-5), (2e-5, 0.0, 0.0), (1e-5, 0.0, 0.0)),
    )
    near = nearness_of(model)
    assert near["a", "b"] == near["b", "a"] == 1.0
    assert near["a", "c"] == pytest.approx(1 / 3)
    assert near["b", "c"] == 0.0


def test_projected_cooling_is_that_of_the_room_with_the_replica():
    rules = PlacementRules(free_ratio=0.0, redline_celsius=25.0)
    ranking = ranked(
        PlacementPolicy.HEADROOM, [rack("a"), rack("b", 2000.0)], model=PAIR, rules=rules
    )
    by_rack = {one.rack: one.cooling_watts for one in ranking.choices}
    # Inlets at most 1 + 0.0003 x 2000 over the supply, or 1 + 0.0003 x 1000 and 0.0001 x 3000.
    assert by_rack["a"] == pytest.approx(cooling_watts(4000.0, supply_celsius=23.4))
    assert by_rack["b"] == pytest.approx(cooling_watts(4000.0, supply_celsius=23.7))
    partly = ranked(PlacementPolicy.HEADROOM, [rack("a"), rack("b", None)], model=PAIR)
    assert [one.cooling_watts for one in partly.choices] == [None]


@pytest.mark.parametrize("watts", [0.0, -5.0, math.nan, math.inf])
def test_a_replica_must_have_watts(watts):
    with pytest.raises(ValueError, match=r"replica_watts is .* above 0"):
        ranked(PlacementPolicy.HEADROOM, [rack("a")], watts=watts)


# The experiment: 10 racks of 20 kW with 2 m3/s of air each. Five stand in an open aisle, each
# sending half of its exhaust evenly to the inlets of those five; five in a closed one, each sending
# a tenth evenly to the inlets of these five. Approach 1 K, redline 25 C, 20 replicas of 5 kW.
REPLICA_WATTS = 5000.0


def two_aisles():
    shares = [
        [sent / 5 if (i < 5) == (j < 5) else 0.0 for j in range(10)]
        for i, sent in enumerate([0.5] * 5 + [0.1] * 5)
    ]
    return ThermalModel(
        racks=tuple(f"rack{number}" for number in range(10)),
        approach_celsius=(1.0,) * 10,
        recirculation_kelvin_per_watt=recirculation(shares, airflow_m3_per_second=2.0),
    )


def cooling_of(model, policy, replicas):
    """Watts of cooling once the replicas are placed one after the other."""
    drawn = dict.fromkeys(model.racks, 0.0)
    for _ in range(replicas):
        racks = [rack(name, watts, cap=20_000.0) for name, watts in drawn.items()]
        ranking = ranked(policy, racks, watts=REPLICA_WATTS, model=model)
        drawn[ranking.choices[0].rack] += REPLICA_WATTS
    watts = [drawn[name] for name in model.racks]
    supply = highest_supply_celsius(model, rack_watts=watts, redline_celsius=25.0)
    return cooling_watts(sum(watts), supply_celsius=min(27.0, max(15.0, supply))), drawn


def test_min_hr_saves_a_fifth_of_cooling_where_one_aisle_recirculates_and_the_other_does_not():
    model = two_aisles()
    uniform, dealt = cooling_of(model, PlacementPolicy.HEADROOM, 20)
    assert set(dealt.values()) == {10_000.0}
    spared, moved = cooling_of(model, PlacementPolicy.MIN_HR, 20)
    assert sum(moved.values()) == sum(dealt.values())
    saved_ratio = 1.0 - spared / uniform
    print(f"uniform {uniform:.0f} W, minHR {spared:.0f} W, saved {saved_ratio:.3f}: {moved}")
    assert saved_ratio >= 0.20


def test_min_hr_saves_next_to_nothing_where_all_racks_recirculate_alike():
    room = synthetic_room(rows=4, racks_per_row=5)
    model = ThermalModel(
        racks=room.racks,
        approach_celsius=room.approach_celsius,
        recirculation_kelvin_per_watt=room.recirculation_kelvin_per_watt,
    )
    uniform, _ = cooling_of(model, PlacementPolicy.HEADROOM, 40)
    spared, _ = cooling_of(model, PlacementPolicy.MIN_HR, 40)
    print(f"uniform {uniform:.0f} W, minHR {spared:.0f} W, saved {1 - spared / uniform:.4f}")
    assert abs(1.0 - spared / uniform) < 0.02
