"""A room whose cooling fails, is told a set-point, and is measured by sensors that err."""

import math

import pytest

from loadtest.simulator.climate import Climate, CoolingFault, Room
from loadtest.simulator.racks import ThermalModel
from loadtest.simulator.thermometers import Thermometers

WATTS = (2000.0, 1000.0)
MODEL = ThermalModel(
    racks=("a", "b"),
    approach_celsius=(5.0, 4.0),
    recirculation_kelvin_per_watt=((0.001, 0.0), (0.0005, 0.001)),
)


def climate(**changes):
    return Climate(Room(thermal=MODEL, redline_celsius=30.0, **changes), rack_watts=WATTS)


def pass_time(found, *, start=0.0, seconds=3600, step=60):
    for number in range(seconds // step):
        found.advance(
            now_seconds=start + (number + 1) * step, seconds=step, rack_watts=WATTS, measured=True
        )


def fault(**changes):
    fields = {"rack": "b", "start_seconds": 3600.0, "end_seconds": 7200.0}
    return CoolingFault(**(fields | {"kelvin": 2.0, "kelvin_per_watt": 0.005} | changes))


def test_a_rack_without_cooling_warms_by_what_it_draws_and_the_others_do_not():
    found = climate(supply_celsius=20.0, faults=(fault(),))
    usual = dict(found.inlets_celsius)
    pass_time(found)
    assert found.inlets_celsius == pytest.approx(usual)
    pass_time(found, start=3600.0)
    assert found.inlets_celsius == pytest.approx(
        {"a": usual["a"], "b": usual["b"] + 2.0 + 5.0}, abs=0.01
    )
    pass_time(found, start=7200.0)
    assert found.inlets_celsius == pytest.approx(usual, abs=0.01)


def test_the_redline_is_counted_in_seconds_and_in_kelvin_seconds():
    # 26 degrees at b become 33: at t they are 33 - 7 exp(-t / 300), over 30 from 300 ln(7/3) on.
    found = climate(supply_celsius=20.0, faults=(fault(start_seconds=0.0, end_seconds=1e9),))
    pass_time(found, step=10)
    # A tenth of a kelvin is not called a violation: no sensor tells it.
    assert found.redline_seconds == pytest.approx(3600.0 - 300.0 * math.log(7.0 / 2.9), abs=10.0)
    crossed = 300.0 * math.log(7.0 / 3.0)
    over = 3.0 * (3600.0 - crossed) - 300.0 * 3.0
    assert found.redline_kelvin_seconds == pytest.approx(over, rel=0.01)
    assert found.max_inlet_celsius == pytest.approx(33.0, abs=0.01)


def test_a_set_point_holds_within_what_the_plant_can_make():
    found = climate(supply_celsius=20.0, lowest_supply_celsius=14.0, highest_supply_celsius=24.0)
    for hour, (ordered, made) in enumerate(((18.0, 18.0), (3.0, 14.0), (60.0, 24.0))):
        found.order(ordered)
        pass_time(found, start=3600.0 * hour)
        assert found.supply_celsius == made
        assert found.inlets_celsius["a"] == pytest.approx(made + 5.0 + 2.0, abs=0.01)


def test_colder_air_costs_more():
    spent = []
    for ordered in (14.0, 24.0):
        found = climate(supply_celsius=20.0)
        found.order(ordered)
        found.advance(now_seconds=1.0, seconds=1.0, rack_watts=WATTS, measured=False)
        pass_time(found, start=1.0)
        spent.append(found.cooling_joules)
    assert spent[0] > 2.0 * spent[1]


def test_outlets_are_warmer_by_the_watts_that_the_air_carries():
    found = climate(supply_celsius=20.0, airflow_m3_per_second=0.5)
    rise = 2000.0 / (1.19 * 1005.0 * 0.5)
    assert found.outlets_celsius["a"] - found.inlets_celsius["a"] == pytest.approx(rise)


def test_sensors_are_off_by_at_most_half_a_kelvin_each_in_its_own_way():
    found = climate(supply_celsius=20.0)
    truth = {"inlet": found.inlets_celsius, "outlet": found.outlets_celsius}
    errors = []
    for seed in range(20):
        inlets, outlets = Thermometers(seed=seed).read(found)
        assert (inlets, outlets) == Thermometers(seed=seed).read(found)
        for place, told in (("inlet", inlets), ("outlet", outlets)):
            errors += [told[rack] - truth[place][rack] for rack in ("a", "b")]
            assert all(value == round(value, 1) for value in told.values())
    assert max(map(abs, errors)) <= 0.55
    assert max(errors) > 0.3
    assert min(errors) < -0.3


def test_without_a_room_nothing_is_told():
    assert Thermometers(seed=0).read(None) == ({}, {})
