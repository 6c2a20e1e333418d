"""Steady states, sensors that hang, matrices that cannot be used, and who goes first: examples."""

import math

import pytest

from capper.api.room_blocks import Placement
from capper.decide.heat_learning import Learned
from capper.decide.observation import Sample
from capper.decide.placement import PlacementPolicy, rank
from capper.decide.rack_room import PlacementRules, Rack
from capper.decide.scale_in import VICTIM_COST, RackedPod, costs, victims
from capper.decide.steady_states import steady_states
from capper.decide.stillness import Stillness, StillRules
from capper.racks.matrix import matrix_in_force

RACKS = ("a", "b")


def series(*values, step=300.0):
    return {number * step: value for number, value in enumerate(values)}


def test_a_window_in_which_nothing_moves_is_one_steady_state():
    watts = {"a": series(*[5000.0] * 10), "b": series(*[1000.0] * 5, *[3000.0] * 5)}
    inlets = {"a": series(*[22.0] * 10), "b": series(*[20.0] * 5, *[21.0] * 5)}
    found = steady_states(RACKS, watts, inlets, series(*[18.0] * 10))
    assert [(one.supply_celsius, [*one.rack_watts], [*one.inlets_celsius]) for one in found] == [
        (18.0, [5000.0, 1000.0], [22.0, 20.0]),
        (18.0, [5000.0, 3000.0], [22.0, 21.0]),
    ]


@pytest.mark.parametrize(
    ("rack", "sensor", "lie"),
    [
        ("a", "watts", math.nan),
        ("a", "watts", -5.0),
        ("a", "watts", 9000.0),
        ("b", "inlets", 9e18),
        ("b", "inlets", -1.0),
    ],
)
def test_a_window_with_a_lie_or_a_move_is_left_out(rack, sensor, lie):
    told = {
        "watts": {name: series(*[5000.0] * 5) for name in RACKS},
        "inlets": {name: series(*[22.0] * 5) for name in RACKS},
    }
    told[sensor][rack][1200.0] = lie
    supply = series(*[18.0] * 5)
    assert steady_states(RACKS, told["watts"], told["inlets"], supply) == []
    assert steady_states(RACKS, {}, told["inlets"], supply) == []
    gap = {name: {k: v for k, v in told["watts"][name].items() if k != 600.0} for name in RACKS}
    assert steady_states(RACKS, gap, told["inlets"], supply) == []
    assert steady_states(RACKS, {}, {}, {}) == []


def hang(stillness, values, watts, *, step=100.0):
    return [
        stillness.hangs(("a", "inlet"), value, measured_seconds=number * step, watts=drawn)
        for number, (value, drawn) in enumerate(zip(values, watts, strict=True))
    ]


def test_a_sensor_hangs_when_it_says_the_same_long_enough_while_its_rack_moves():
    rules = StillRules(samples=5, seconds=400.0, moved_ratio=0.25)
    moving, still = [1000.0, 2000.0] * 4, [1000.0] * 8
    assert hang(Stillness(rules), [22.0] * 8, moving) == [False] * 4 + [True] * 4
    assert not any(hang(Stillness(rules), [22.0] * 8, still))
    assert not any(hang(Stillness(rules), [22.0, 22.1] * 4, moving))
    assert not any(hang(Stillness(rules), [22.0] * 8, [None] * 8))
    assert not any(hang(Stillness(rules), [22.0] * 8, moving, step=0.0)), "one sample, repeated"


def test_a_sensor_that_moves_again_is_believed_again_and_old_ones_are_forgotten():
    stillness = Stillness(StillRules(samples=3, seconds=200.0))
    assert hang(stillness, [22.0] * 4, [1.0, 2.0, 1.0, 2.0])[-1]
    assert not stillness.hangs(("a", "inlet"), 22.5, measured_seconds=500.0, watts=1.0)
    stillness.keep(frozenset())
    assert hang(stillness, [22.5] * 4, [0.0, 2.0, 0.0, 2.0]) == [False, False, True, True]


def placement(matrix, **more):
    return Placement(recirculation_matrix=matrix, **more)


def test_a_given_matrix_is_in_force_with_one_approach_for_all_or_one_each():
    matrix = ((1e-4, 0.0), (0.0, 1e-4))
    found = matrix_in_force(RACKS, placement(matrix, approach_celsius=(2.0,)), None)
    assert (found.source, found.model.approach_celsius) == ("given", (2.0, 2.0))
    each = matrix_in_force(RACKS, placement(matrix, approach_celsius=(2.0, 3.0)), None)
    assert each.model.approach_celsius == (2.0, 3.0)
    assert matrix_in_force(RACKS, placement(matrix), None).model.approach_celsius == (0.0, 0.0)


@pytest.mark.parametrize(
    ("matrix", "approach", "why"),
    [
        (((1e-4,),), (), "has 1 rows for 2 racks"),
        (((1e-4, 0.0), (0.0,)), (), "of rack b has 1 values for 2 racks"),
        (((0.1, 0.0), (0.0, 0.1)), (), "is not stable"),
        (((-1e-4, 0.0), (0.0, 0.0)), (), "must be finite and 0 or more"),
        (((math.nan, 0.0), (0.0, 0.0)), (), "must be finite and 0 or more"),
        (((1e-4, 0.0), (0.0, 1e-4)), (1.0, 2.0, 3.0), "approach_celsius has 3 values for 2"),
    ],
)
def test_a_matrix_of_the_wrong_size_or_not_stable_leaves_temperatures_alone(matrix, approach, why):
    found = matrix_in_force(RACKS, placement(matrix, approach_celsius=approach), None)
    assert (found.model, found.source) == (None, "absent")
    assert why in found.problem
    assert found.problem.endswith("; temperatures alone decide")


def test_a_matrix_that_is_to_be_learned_waits_or_says_why_not():
    asked = Placement(learn_matrix=True)
    assert "not been looked at yet" in matrix_in_force(RACKS, asked, None).problem
    refused = matrix_in_force(RACKS, asked, Learned(refusal="too few", error_kelvin=2.0))
    assert refused.problem == "nothing is learned: too few; temperatures alone decide"
    assert matrix_in_force(RACKS, Placement(), Learned(refusal="x")).problem == ""


def rack(name, watts, celsius, limit=30.0):
    return Rack(
        name=name,
        cap_watts=10_000.0,
        power=Sample(watts, 1.0),
        inlet=None if celsius is None else Sample(celsius, 1.0),
        max_inlet_celsius=limit,
    )


def test_without_a_matrix_heat_policies_go_by_temperature_headroom():
    racks = [rack("a", 1000.0, 29.0), rack("b", 5000.0, 27.0, limit=35.0), rack("c", 500.0, 24.0)]
    for policy in (PlacementPolicy.MIN_HR, PlacementPolicy.ZBD):
        ranking = rank(policy, racks, {}, replica_watts=1000.0)
        assert [(one.rack, one.score) for one in ranking.choices] == [
            *(("b", 8.0), ("c", 6.0), ("a", 1.0))
        ]
        assert "by temperature headroom because" in ranking.choices[0].reason


def test_a_cut_takes_pods_of_the_worst_rack_first_and_there_the_youngest():
    racks = [rack("cool", 5000.0, 20.0), rack("hot", 5000.0, 28.0), rack("over", 11_000.0, 22.0)]
    pods = [
        *(RackedPod(f"hot-{age}", "hot", age) for age in (1.0, 2.0)),
        *(RackedPod(f"over-{age}", "over", age) for age in (1.0, 2.0)),
        *(RackedPod("cool-1", "cool", 9.0), RackedPod("lost", None, 9.0)),
    ]
    order = ("over-2.0", "over-1.0", "hot-2.0", "hot-1.0", "cool-1")
    assert victims(pods, racks, 9, PlacementRules()) == order
    assert victims(pods, racks, 2, PlacementRules()) == order[:2]
    assert costs(order[:2]) == {"over-2.0": VICTIM_COST - 1, "over-1.0": VICTIM_COST}
    assert victims(pods[:2], racks, 1, PlacementRules()) == ()
