"""Cooling control on a room with lag: whatever the supply sensor says, inlets stay cool."""

import math

from hypothesis import example, given, settings
from hypothesis import strategies as st

from capper.api.room_blocks import Cooling
from capper.api.set_point_body import NAMES, filled, is_body
from capper.cooling.adapter import ManagerReading
from capper.cooling.looks import Room, decided
from capper.decide.observation import Sample
from capper.decide.rack_room import Rack

STEP_SECONDS = 30.0
LAG_SECONDS = 300.0
REDLINE = 27.0
TOLERANCE = 0.3


def racks(inlet, watts):
    return {
        "a": Rack(name="a", cap_watts=50_000.0, power=Sample(watts, 1.0), inlet=Sample(inlet, 1.0))
    }


@settings(max_examples=40)
@given(
    st.floats(0.0, 8.0),
    st.floats(-3.0, 30.0),
    st.floats(15.0, 20.0),
    st.floats(0.1, 2.0),
)
def test_a_supply_sensor_that_is_off_never_brings_inlets_over_the_redline(rise, error, start, ramp):
    """Inlets follow the supply with one time constant; the plant follows at once."""
    cooling = Cooling.model_validate({"rampCelsiusPerMinute": ramp})
    supply, inlet, point = start, start + rise, None
    hottest = -math.inf
    for step in range(240):
        point = decided(
            cooling,
            Room(racks=racks(inlet, 5000.0), supply=None, enforce=True),
            ManagerReading(set_celsius=supply, supply_celsius=supply + error),
            point,
            problem="",
            now_seconds=STEP_SECONDS * step,
        )
        supply = point.supply_celsius
        inlet = supply + rise + (inlet - supply - rise) * math.exp(-STEP_SECONDS / LAG_SECONDS)
        hottest = max(hottest, inlet)
    coldest = cooling.min_supply_celsius + rise
    assert hottest <= max(REDLINE - cooling.margin_celsius + TOLERANCE, coldest, start + rise)


@settings(max_examples=20)
@given(st.floats(0.0, 8.0))
def test_a_room_that_is_known_is_cooled_no_more_than_it_needs(rise):
    """With sensors that are right the supply settles at what keeps the margin."""
    cooling = Cooling.model_validate({"rampCelsiusPerMinute": 1.0})
    supply, inlet, point = 18.0, 18.0 + rise, None
    for step in range(400):
        point = decided(
            cooling,
            Room(racks=racks(inlet, 5000.0), supply=None, enforce=True),
            ManagerReading(set_celsius=supply, supply_celsius=supply),
            point,
            problem="",
            now_seconds=STEP_SECONDS * step,
        )
        supply = point.supply_celsius
        inlet = supply + rise + (inlet - supply - rise) * math.exp(-STEP_SECONDS / LAG_SECONDS)
    wanted = min(cooling.max_supply_celsius, REDLINE - cooling.margin_celsius - rise)
    assert abs(supply - wanted) < TOLERANCE


_SAMPLES = st.floats(allow_nan=True, allow_infinity=True) | st.none() | st.floats(0.0, 40.0)


@given(_SAMPLES, _SAMPLES, _SAMPLES, _SAMPLES, st.booleans())
def test_whatever_is_measured_the_set_point_is_within_its_limits(
    inlet, watts, held, sensor, failing
):
    cooling = Cooling()
    found = {
        "a": Rack(
            name="a",
            cap_watts=20_000.0,
            power=None if watts is None else Sample(watts, 1.0),
            inlet=None if inlet is None else Sample(inlet, 1.0),
        )
    }
    point = decided(
        cooling,
        Room(racks=found, supply=None, enforce=True),
        ManagerReading(set_celsius=held, supply_celsius=sensor),
        None,
        problem="it does not answer" if failing else "",
        now_seconds=0.0,
    )
    assert cooling.min_supply_celsius <= point.supply_celsius <= cooling.max_supply_celsius
    if failing:
        assert point.supply_celsius <= cooling.safe_supply_celsius


@given(st.text(max_size=60))
def test_any_text_is_a_body_or_is_refused(text):
    if is_body(text):
        assert filled(text, dict.fromkeys(NAMES, 1.0)) is not None


@example(22.0, 8192.0005)  # half of the last place, and what floats lose on it
@given(st.floats(-20, 90), st.floats(0, 1e4))
def test_a_body_carries_its_numbers(celsius, seconds):
    text = '{"SetPoint": $supplyCelsius, "valid": [$validSeconds]}'
    assert is_body(text)
    body = filled(text, {"supplyCelsius": celsius, "validSeconds": seconds})
    assert abs(body["SetPoint"] - celsius) <= 0.0005 + 1e-9
    assert abs(body["valid"][0] - seconds) <= 0.0005 + 1e-9
