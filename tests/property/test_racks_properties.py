"""Inlet temperatures and cooling power: examples, and whatever the room."""

import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.racks import (
    RackInlets,
    ThermalModel,
    coefficient_of_performance,
    cooling_watts,
    highest_supply_celsius,
    recirculation,
    steady_inlets_celsius,
    synthetic_room,
)

DATA = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[3] / "shared" / "data")
TWO = ThermalModel(
    racks=("left", "right"),
    approach_celsius=(1.0, 2.0),
    recirculation_kelvin_per_watt=((0.001, 0.0), (0.002, 0.0)),
)
supplies = st.floats(5, 35)
kilowatts = st.floats(0, 80_000)
rooms = st.builds(
    synthetic_room,
    rows=st.integers(1, 3),
    racks_per_row=st.integers(1, 4),
    recirculated_ratio=st.floats(0, 0.9),
    reach_racks=st.floats(0.1, 10),
    aisle_racks=st.floats(0.1, 10),
    # With less air and most of it recirculated a room heats itself without end.
    airflow_m3_per_second=st.floats(1.6, 10),
)


@st.composite
def loaded_rooms(draw):
    room = draw(rooms)
    size = len(room.racks)
    return room, draw(st.lists(kilowatts, min_size=size, max_size=size))


def test_the_formula_of_tang():
    inlets = steady_inlets_celsius(TWO, supply_celsius=15.0, rack_watts=[1000.0, 5000.0])
    assert inlets == (15.0 + 1.0 + 1.0, 15.0 + 2.0 + 2.0)
    highest = highest_supply_celsius(TWO, rack_watts=[1000.0, 5000.0], redline_celsius=25.0)
    assert highest == 25.0 - 4.0


def test_the_plant_of_moore():
    assert coefficient_of_performance(15.0) == pytest.approx(2.0)
    assert coefficient_of_performance(25.0) == pytest.approx(4.728)
    assert cooling_watts(100_000.0, supply_celsius=15.0) == pytest.approx(50_000.0)


def test_inlets_close_95_per_cent_of_the_distance_in_a_quarter_of_an_hour():
    inlets = RackInlets(TWO, supply_celsius=15.0, rack_watts=[0.0, 0.0])
    assert inlets.celsius == (16.0, 17.0)
    inlets.advance(now_seconds=900.0, supply_celsius=15.0, rack_watts=[10_000.0, 0.0])
    assert inlets.celsius == pytest.approx((25.5, 36.0), abs=0.05)
    still = inlets.advance(now_seconds=800.0, supply_celsius=15.0, rack_watts=[0.0, 0.0])
    assert still == inlets.celsius == pytest.approx((25.5, 36.0), abs=0.05)


def test_approach_temperatures_are_those_of_the_data():
    path = DATA / "thermal" / "sustaindc" / "dc_config.json"
    if not path.is_file():
        pytest.skip(f"approach temperatures are NOT compared with data: no {path}")
    room = json.loads(path.read_text())["data_center_configuration"]
    made = synthetic_room(rows=room["NUM_ROWS"], racks_per_row=room["NUM_RACKS_PER_ROW"])
    assert list(made.approach_celsius) == room["RACK_SUPPLY_APPROACH_TEMP_LIST"]


def test_a_hundred_racks_are_no_trouble():
    room = synthetic_room(rows=5, racks_per_row=20)
    inlets = steady_inlets_celsius(room, supply_celsius=18.0, rack_watts=[30_000.0] * 100)
    assert 23.0 < min(inlets) < max(inlets) < 27.0


@given(load=loaded_rooms(), supply=supplies)
def test_a_rack_more_loaded_cools_no_inlet(load, supply):
    room, watts = load
    before = steady_inlets_celsius(room, supply_celsius=supply, rack_watts=watts)
    after = steady_inlets_celsius(
        room, supply_celsius=supply, rack_watts=[watts[0] + 1000.0, *watts[1:]]
    )
    assert all(b >= a >= supply for a, b in zip(before, after, strict=True))


@given(load=loaded_rooms())
def test_at_the_highest_supply_the_hottest_inlet_is_at_the_redline(load):
    room, watts = load
    supply = highest_supply_celsius(room, rack_watts=watts, redline_celsius=27.0)
    inlets = steady_inlets_celsius(room, supply_celsius=supply, rack_watts=watts)
    assert max(inlets) == pytest.approx(27.0, abs=1e-6)


@st.composite
def recirculating_racks(draw):
    """Shares of exhaust that reach inlets, sums below 1 both ways, and a power each."""
    size = draw(st.integers(1, 5))
    raw = draw(
        st.lists(
            st.lists(st.floats(0, 1), min_size=size, max_size=size), min_size=size, max_size=size
        )
    )
    most = max([sum(row) for row in raw] + [sum(column) for column in zip(*raw, strict=True)])
    scale = draw(st.floats(0, 0.9)) / max(most, 1.0)
    watts = draw(st.lists(kilowatts, min_size=size, max_size=size))
    return [[scale * share for share in row] for row in raw], watts


@given(racks=recirculating_racks(), supply=supplies)
def test_the_matrix_is_where_mixing_air_over_and_over_ends(racks, supply):
    shares, watts = racks
    watts_per_kelvin = 2.5 * 1.19 * 1005.0
    matrix = recirculation(shares, airflow_m3_per_second=2.5)
    inlets = [supply] * len(watts)
    for _ in range(300):
        outlets = [t + p / watts_per_kelvin for t, p in zip(inlets, watts, strict=True)]
        inlets = [
            supply + sum(row[j] * (out - supply) for row, out in zip(shares, outlets, strict=True))
            for j in range(len(watts))
        ]
    solved = [
        supply + sum(kelvin * power for kelvin, power in zip(row, watts, strict=True))
        for row in matrix
    ]
    assert solved == pytest.approx(inlets, abs=1e-6)


@given(load=loaded_rooms(), supply=supplies, seconds=st.lists(st.floats(0, 2000), max_size=8))
def test_inlets_move_towards_the_steady_state_and_never_past_it(load, supply, seconds):
    room, watts = load
    inlets = RackInlets(room, supply_celsius=supply, rack_watts=[0.0] * len(watts))
    target = steady_inlets_celsius(room, supply_celsius=supply, rack_watts=watts)
    last = inlets.celsius
    for now_seconds in itertools.accumulate(seconds):
        present = inlets.advance(now_seconds=now_seconds, supply_celsius=supply, rack_watts=watts)
        for before, after, end in zip(last, present, target, strict=True):
            assert before - 1e-9 <= after <= end + 1e-9
        last = present


@given(load=loaded_rooms(), supply=supplies, end=st.floats(1, 2000), parts=st.integers(1, 10))
def test_many_small_steps_are_one_large_step(load, supply, end, parts):
    room, watts = load
    idle = [0.0] * len(watts)
    once, often = (RackInlets(room, supply_celsius=supply, rack_watts=idle) for _ in range(2))
    once.advance(now_seconds=end, supply_celsius=supply, rack_watts=watts)
    for part in range(1, parts + 1):
        often.advance(now_seconds=end * part / parts, supply_celsius=supply, rack_watts=watts)
    assert often.celsius == pytest.approx(once.celsius)


@given(cold=supplies, warmer=st.floats(0.1, 10))
def test_warmer_supply_is_cheaper(cold, warmer):
    assert cooling_watts(1.0, supply_celsius=cold + warmer) < cooling_watts(
        1.0, supply_celsius=cold
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"racks": ()}, "one or more, each once"),
        ({"racks": ("a", "a")}, "one or more, each once"),
        ({"approach_celsius": (1.0,)}, "approach_celsius has 1 values for 2 racks"),
        ({"approach_celsius": (1.0, -1.0)}, "approach_celsius: -1.0 at right"),
        ({"recirculation_kelvin_per_watt": ((0.0, 0.0),)}, "1 rows for 2 racks"),
        ({"recirculation_kelvin_per_watt": ((0.0, 0.0), (0.0,))}, "of rack right has 1 values"),
        ({"recirculation_kelvin_per_watt": ((0.0, -1.0), (0.0, 0.0))}, "rack left: -1.0 at right"),
        (
            {"recirculation_kelvin_per_watt": ((0.0, 0.0), (float("nan"), 0.0))},
            "rack right: nan at left",
        ),
        ({"time_constant_seconds": 0.0}, "time_constant_seconds is 0.0"),
    ],
)
def test_a_room_that_cannot_be_is_refused(change, message):
    fields = {
        "racks": ("left", "right"),
        "approach_celsius": (1.0, 2.0),
        "recirculation_kelvin_per_watt": ((0.0, 0.0), (0.0, 0.0)),
    }
    with pytest.raises(ValueError, match=message):
        ThermalModel(**fields | change)


@pytest.mark.parametrize("watts", [[1.0], [1.0, -1.0], [1.0, float("inf")]])
def test_powers_that_cannot_be_are_refused(watts):
    with pytest.raises(ValueError, match="rack"):
        steady_inlets_celsius(TWO, supply_celsius=15.0, rack_watts=watts)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 0},
        {"recirculated_ratio": 1.0},
        {"reach_racks": 0.0},
        {"aisle_racks": float("nan")},
        {"airflow_m3_per_second": -1.0},
    ],
)
def test_a_synthetic_room_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match="must be"):
        synthetic_room(**{"rows": 2, "racks_per_row": 2} | change)


def test_a_room_that_heats_itself_without_end_is_refused():
    with pytest.raises(ValueError, match=r"row 2 of exhaust_shares sums to 1, it must be below 1"):
        recirculation([[0.1, 0.1], [0.6, 0.4]], airflow_m3_per_second=2.5)
    with pytest.raises(ValueError, match=r"row 1 of exhaust_shares has 1 values for 2 racks"):
        recirculation([[0.1], [0.6, 0.1]], airflow_m3_per_second=2.5)
