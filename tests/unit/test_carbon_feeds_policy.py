"""What a feed says is what the capper's carbon policy takes."""

from carbon_servers import HOUR, HOUR_START, maps_forecast, maps_latest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode

from capper.decide.carbon import CarbonState, Schedule, Slot, intensity_at, scheduled_cap
from telemetry.carbon import electricity_maps_wire as maps
from telemetry.carbon.published import reading_at
from telemetry.carbon.slots import IntensityKind

SCHEDULE = Schedule(min_cap_watts=4000.0, max_cap_watts=10_000.0)


def reading_of(grams, *, now):
    latest = maps.parse_latest(encode(maps_latest(grams[0])), zone="DE", now_epoch_seconds=now)
    forecast = maps.parse_forecast(encode(maps_forecast(grams)), zone="DE", now_epoch_seconds=now)
    published = maps.combined(latest, forecast)
    return reading_at(published, kind=IntensityKind.AVERAGE, source="s", now_epoch_seconds=now)


def policy_slots(reading):
    return [
        Slot(
            start_seconds=slot.start_epoch_seconds,
            end_seconds=slot.end_epoch_seconds,
            grams_per_kilowatt_hour=slot.grams_per_kilowatt_hour,
        )
        for slot in reading.slots
    ]


def test_the_dirtiest_hour_of_a_forecast_has_the_lowest_cap():
    rising = [float(100 + hour) for hour in range(24)]
    for grams, cap in ((rising, 10_000.0), (rising[::-1], 4000.0)):
        slots = policy_slots(reading_of(grams, now=HOUR_START))
        said, _ = scheduled_cap(SCHEDULE, slots, CarbonState(), now_seconds=HOUR_START)
        assert said == cap


@given(st.lists(st.floats(0.0, 5000.0), min_size=1, max_size=30), st.floats(0.0, 40.0))
def test_policy_and_reading_agree_on_the_present(grams, hours):
    now = HOUR_START + HOUR * hours
    reading = reading_of(grams, now=now)
    assert intensity_at(policy_slots(reading), now) == reading.grams_per_kilowatt_hour
    assert (reading.reason is None) == (reading.grams_per_kilowatt_hour is not None)
