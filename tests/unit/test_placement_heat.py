"""Heat of a room: checks, the same figures as the simulator, learning it, and set-points."""

import math
import random
from dataclasses import replace

import pytest

from capper.decide.cooling import CoolingLimits, SetPoint, next_set_point
from capper.decide.heat_learning import HeatSample, LearningRules, learn
from capper.decide.observation import Sample
from capper.decide.rack_room import Rack
from fleet.thermal import (
    ThermalModel,
    coefficient_of_performance,
    cooling_watts,
    highest_supply_celsius,
    loop_gain_ratio,
    rises_celsius,
)
from loadtest.simulator import racks as simulated

ROOM = simulated.synthetic_room(rows=2, racks_per_row=3, recirculated_ratio=0.4)
MODEL = ThermalModel(
    racks=ROOM.racks,
    approach_celsius=ROOM.approach_celsius,
    recirculation_kelvin_per_watt=ROOM.recirculation_kelvin_per_watt,
)
LIMITS = CoolingLimits(max_airflow_m3_per_second=20.0)


def test_capper_and_simulator_know_the_same_room():
    watts = [1000.0 * number for number in range(6)]
    steady = simulated.steady_inlets_celsius(ROOM, supply_celsius=18.0, rack_watts=watts)
    assert tuple(18.0 + rise for rise in rises_celsius(MODEL, watts)) == steady
    highest = simulated.highest_supply_celsius(ROOM, rack_watts=watts, redline_celsius=27.0)
    assert highest_supply_celsius(MODEL, rack_watts=watts, redline_celsius=27.0) == highest
    for celsius in (0.0, 15.0, 27.0):
        assert coefficient_of_performance(celsius) == simulated.coefficient_of_performance(celsius)
    assert cooling_watts(100.0, supply_celsius=-9.0) == cooling_watts(100.0, supply_celsius=0.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"racks": ()}, "one or more, each once"),
        ({"racks": ("a", "a")}, "one or more, each once"),
        ({"approach_celsius": (1.0,)}, "approach_celsius has 1 values for 2 racks"),
        ({"approach_celsius": (1.0, math.nan)}, "nan at b, it must be finite and 0 or more"),
        ({"recirculation_kelvin_per_watt": ((0.0, 0.0),)}, "has 1 rows for 2 racks"),
        ({"recirculation_kelvin_per_watt": ((0.0,), (0.0, 0.0))}, "of rack a has 1 values"),
        ({"recirculation_kelvin_per_watt": ((0.0, -1.0), (0.0, 0.0))}, "-1.0 at b"),
        ({"recirculation_kelvin_per_watt": ((0.1, 0.0), (0.0, 0.1))}, "is not stable.*per watt"),
        ({"recirculation_kelvin_per_watt": ((1e308, 1e308),) * 2}, "is not stable"),
    ],
)
def test_a_room_of_the_wrong_size_or_that_is_not_stable_is_refused(changed, message):
    good = ThermalModel(
        racks=("a", "b"),
        approach_celsius=(1.0, 1.0),
        recirculation_kelvin_per_watt=((1e-4, 0.0), (0.0, 1e-4)),
    )
    with pytest.raises(ValueError, match=message):
        replace(good, **changed)


def test_stability_is_that_of_the_loop_and_not_of_the_largest_row():
    assert loop_gain_ratio(((0.0, 0.01), (0.0, 0.0))) < 1.0
    assert loop_gain_ratio(((0.0, 0.01), (0.01, 0.0))) == pytest.approx(2.0)
    assert loop_gain_ratio(((0.0, 0.0), (0.0, 0.0))) == 0.0


def test_powers_are_checked():
    with pytest.raises(ValueError, match="1 powers for 6 racks"):
        rises_celsius(MODEL, [1.0])
    with pytest.raises(ValueError, match=r"draws -1\.0 W"):
        rises_celsius(MODEL, [-1.0] * 6)


# Learning


def history(samples, *, noise_kelvin=0.0, seed=7, still=()):
    draws = random.Random(seed)
    found = []
    for _ in range(samples):
        watts = [5000.0 if i in still else draws.uniform(2000, 18_000) for i in range(6)]
        supply = draws.uniform(15, 20)
        inlets = [
            supply + rise + draws.gauss(0.0, noise_kelvin) for rise in rises_celsius(MODEL, watts)
        ]
        found.append(HeatSample(supply, watts, inlets))
    return found


def largest_difference(model):
    return max(
        abs(one - other)
        for row, others in zip(
            model.recirculation_kelvin_per_watt, MODEL.recirculation_kelvin_per_watt, strict=True
        )
        for one, other in zip(row, others, strict=True)
    )


def test_a_history_that_moves_every_rack_gives_the_matrix_back():
    learned = learn(MODEL.racks, history(60))
    assert learned.refusal is None
    assert learned.error_kelvin < 1e-6
    assert learned.model.approach_celsius == pytest.approx(MODEL.approach_celsius, abs=1e-5)
    assert largest_difference(learned.model) < 1e-9


def test_sensor_noise_shows_in_the_error_and_moves_predictions_little():
    learned = learn(MODEL.racks, history(200, noise_kelvin=0.3))
    assert 0.2 < learned.error_kelvin < 0.4
    watts = [10_000.0] * 6
    assert rises_celsius(learned.model, watts) == pytest.approx(
        rises_celsius(MODEL, watts), abs=0.2
    )


@pytest.mark.parametrize(
    ("samples", "refusal"),
    [
        (history(17), "the history has 17 steady states, 6 racks need 18"),
        (history(60, still=(2,)), f"the power of rack {MODEL.racks[2]} moved by 0 W"),
        (history(60, noise_kelvin=5.0), "K off the fit, at most 1 K is allowed"),
        ([*history(30), HeatSample(18.0, [1.0], [18.0])], "sample 31 has not one power"),
        ([*history(30), HeatSample(18.0, [1.0] * 6, [math.nan] * 6)], "sample 31 has a value"),
    ],
)
def test_a_history_that_does_not_say_is_refused_in_one_sentence(samples, refusal):
    learned = learn(MODEL.racks, samples)
    assert learned.model is None
    assert refusal in learned.refusal


def test_racks_that_only_ever_move_together_are_refused():
    samples = [
        HeatSample(one.supply_celsius, [one.rack_watts[0]] * 6, one.inlets_celsius)
        for one in history(60)
    ]
    assert "on its own in the history" in learn(MODEL.racks, samples).refusal
    assert learn((), []).refusal == "there are no racks"


def test_an_inlet_colder_than_its_supply_gives_an_approach_of_0_not_below():
    samples = [
        replace_inlets(one, [celsius - 6.0 for celsius in one.inlets_celsius])
        for one in history(60)
    ]
    learned = learn(MODEL.racks, samples, LearningRules(max_error_kelvin=10.0))
    assert min(learned.model.approach_celsius) == 0.0
    assert min(min(row) for row in learned.model.recirculation_kelvin_per_watt) >= 0.0


def replace_inlets(sample, inlets):
    return HeatSample(sample.supply_celsius, sample.rack_watts, inlets)


# Set-points


def room(watts=5000.0, inlet=24.0, **changes):
    return {
        name: replace(
            Rack(
                name=name,
                cap_watts=20_000.0,
                power=Sample(watts, 5.0),
                inlet=Sample(inlet, 5.0),
            ),
            **changes,
        )
        for name in MODEL.racks
    }


def step(racks, *, supply=18.0, before=18.0, model=MODEL, elapsed=60.0):
    return next_set_point(
        LIMITS,
        racks,
        supply=None if supply is None else Sample(supply, 5.0),
        model=model,
        before=None
        if before is None
        else SetPoint(supply_celsius=before, airflow_m3_per_second=None, set_seconds=0.0),
        now_seconds=elapsed,
    )


def test_the_set_point_rises_on_its_ramp_up_to_what_the_racks_allow():
    assert step(room()).supply_celsius == 18.5
    assert step(room(), elapsed=86_400.0).supply_celsius == 18.5
    expected = 26.5 - max(rises_celsius(MODEL, [5000.0] * 6))
    assert step(room(inlet=20.0), before=25.0).supply_celsius == pytest.approx(expected)
    # Without a model: 18 + 26.5 - 24.
    assert step(room(), before=25.0, model=None).supply_celsius == 20.5


def test_a_hot_inlet_lowers_the_set_point_at_once_and_bounds_hold():
    assert step(room(inlet=29.0), before=19.0).supply_celsius == 15.5
    assert step(room(inlet=35.0), before=19.0).supply_celsius == 15.0
    assert step(room(0.0, inlet=18.0), before=27.0, model=None).supply_celsius == 26.5


def test_air_flow_follows_heat_within_its_bounds():
    needed = 30_000.0 / (1.19 * 1005.0 * 12.0)
    assert step(room()).airflow_m3_per_second == pytest.approx(needed)
    assert step(room(20_000.0 * 2)).airflow_m3_per_second == pytest.approx(8 * needed)


@pytest.mark.parametrize(
    ("racks", "options", "unknown"),
    [
        (room(), {"supply": None}, "the supply temperature"),
        (room(), {"supply": 9e18}, "the supply temperature"),
        ({}, {}, "the racks of the room"),
        ({"other": room()[MODEL.racks[0]]}, {}, "the racks of the room"),
        (room(power=None), {}, f"the power of rack {MODEL.racks[0]}"),
        (room(power=Sample(5000.0, 60.0)), {}, f"the power of rack {MODEL.racks[0]}"),
        (room(inlet=-3.0), {}, f"the inlet temperature of rack {MODEL.racks[0]}"),
        (room(), {"before": math.nan}, "the set-point in force"),
    ],
)
def test_anything_unknown_gives_the_safe_set_point_and_all_the_air(racks, options, unknown):
    point = step(racks, **{"before": 24.0, **options})
    assert point.supply_celsius == 18.0
    assert point.airflow_m3_per_second == 20.0
    assert point.unknown == unknown


def test_what_is_unknown_never_makes_a_cold_room_warmer():
    assert step({}, before=16.0).supply_celsius == 16.0
    assert step(room(), before=None).supply_celsius == 18.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"safe_supply_celsius": 30.0}, "safe_supply_celsius is 30.0, it must lie between"),
        ({"min_supply_celsius": math.nan}, "must lie between"),
        ({"ramp_celsius_per_minute": 0.0}, "ramp_celsius_per_minute is 0.0"),
        ({"air_rise_celsius": -1.0}, "air_rise_celsius is -1.0"),
        ({"min_airflow_m3_per_second": 30.0}, "air flow goes from 30.0 to 20.0"),
    ],
)
def test_limits_out_of_order_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(LIMITS, **changed)
