import math

import pytest

from loadtest.arrivals import Arrival
from loadtest.traces.warps import DAY_SECONDS, diurnal_sinusoid, diurnal_weights, step


def every(seconds, count):
    return [Arrival(index * seconds, 1, 1, "m") for index in range(count)]


def counts(arrivals, *, slot_seconds, slots):
    found = [0] * slots
    for arrival in arrivals:
        found[int(arrival.at_seconds // slot_seconds)] += 1
    return found


def test_a_step_triples_the_rate_for_its_duration_and_loses_nothing():
    stepped = list(step(every(1.0, 1000), start_seconds=100.0, duration_seconds=120.0, factor=3.0))
    assert len(stepped) == 1000
    assert [a.at_seconds for a in stepped[:101]] == [float(i) for i in range(101)]
    during = [a for a in stepped if 100 <= a.at_seconds < 220]
    assert len(during) == 360
    assert stepped[-1].at_seconds == 999 - 2 * 120


def test_a_factor_below_one_is_a_lull():
    slow = list(step(every(1.0, 100), start_seconds=10.0, duration_seconds=20.0, factor=0.5))
    assert sum(10 <= a.at_seconds < 30 for a in slow) == 10
    assert slow[-1].at_seconds == 99 + 10


def test_a_sinusoid_keeps_the_count_of_a_day_and_peaks_when_asked():
    day = list(diurnal_sinusoid(every(10.0, 8640), swing_ratio=0.6, peak_seconds=14 * 3600.0))
    hours = counts(day, slot_seconds=3600, slots=24)
    assert sum(hours) == 8640
    assert max(hours) == hours[13] or max(hours) == hours[14]
    for hour, count in enumerate(hours):
        middle = 2 * math.pi * (hour + 0.5 - 14) / 24
        assert count == pytest.approx(360 * (1 + 0.6 * math.cos(middle)), rel=0.02)


def test_a_full_swing_is_silent_at_night():
    day = diurnal_sinusoid(every(1.0, 86_400), swing_ratio=1.0, peak_seconds=DAY_SECONDS / 2)
    quarters = counts(day, slot_seconds=900, slots=96)
    assert quarters[0] < 5
    assert max(quarters) == pytest.approx(1800, rel=0.01)


def test_no_swing_changes_nothing():
    flat = diurnal_sinusoid(every(10.0, 100), swing_ratio=0.0, peak_seconds=1.0)
    assert [a.at_seconds for a in flat] == pytest.approx([10.0 * i for i in range(100)])


def test_hourly_weights_are_the_shares_of_the_hours_and_repeat():
    warped = diurnal_weights(every(1.0, 4 * 3600), weights=[0, 3, 1, 0], slot_seconds=1800)
    assert counts(warped, slot_seconds=1800, slots=8) == [0, 5400, 1800, 0] * 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: step([], start_seconds=-1, duration_seconds=1, factor=1),
        lambda: step([], start_seconds=0, duration_seconds=0, factor=1),
        lambda: step([], start_seconds=0, duration_seconds=1, factor=float("inf")),
        lambda: diurnal_sinusoid([], swing_ratio=1.1, peak_seconds=0),
        lambda: diurnal_sinusoid([], swing_ratio=0.5, peak_seconds=float("nan")),
        lambda: diurnal_sinusoid([], swing_ratio=0.5, peak_seconds=0, period_seconds=0),
        lambda: diurnal_weights([], weights=[]),
        lambda: diurnal_weights([], weights=[0, 0]),
        lambda: diurnal_weights([], weights=[1, -1]),
        lambda: diurnal_weights([], weights=[1], slot_seconds=0),
    ],
)
def test_warps_that_mean_nothing_are_refused_at_once(call):
    with pytest.raises(ValueError, match="must be"):
        call()
