"""Caps over time, and what counts as exceeding one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.caps import CapMeter, CapSteps


def judge(steps, watts):
    """A meter that saw these means of 100 ms."""
    meter = CapMeter(CapSteps(steps))
    for number, mean in enumerate(watts):
        meter.add(start_seconds=number * 0.1, seconds=0.1, joules=mean * 0.1)
    return meter.account()


def test_the_first_step_holds_before_its_time_and_each_until_the_next():
    steps = CapSteps(((10.0, 500.0), (20.0, 300.0)))
    assert [steps.at(now) for now in (0.0, 10.0, 19.9, 20.0, 99.0)] == [500, 500, 500, 300, 300]


def test_a_short_spike_exceeds_100_ms_and_not_a_second():
    account = judge(((0.0, 100.0),), [90.0] * 10 + [150.0] + [90.0] * 10)
    assert account.seconds_over == 0.0
    assert account.max_overshoot_1s_watts == 0.0
    assert account.max_overshoot_100ms_watts == pytest.approx(50.0)
    assert account.joules_over == pytest.approx(5.0)
    assert account.longest_over_seconds == pytest.approx(0.1)


def test_power_that_was_drawn_before_a_cut_is_no_violation_but_settling_takes_its_time():
    fast = judge(((0.0, 100.0), (1.0, 50.0)), [90.0] * 13 + [40.0] * 10)
    assert fast.longest_over_seconds == pytest.approx(0.3)
    # The first full second after the cut has 0.3 s at 90 W and 0.7 s at 40 W.
    assert fast.seconds_over == pytest.approx(0.1)
    assert fast.max_overshoot_1s_watts == pytest.approx(5.0)
    kept = judge(((0.0, 100.0), (1.0, 50.0)), [90.0] * 11 + [40.0] * 20)
    assert kept.seconds_over == 0.0
    assert kept.longest_over_seconds == pytest.approx(0.1)


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=80), st.floats(1, 900))
def test_the_meter_agrees_with_a_count_over_all_windows(watts, cap):
    account = judge(((0.0, cap),), watts)
    over = [mean - cap for mean in watts if mean > cap + 1e-6]
    seconds = [sum(watts[end - 10 : end]) / 10 - cap for end in range(10, len(watts) + 1)]
    assert account.joules_over == pytest.approx(0.1 * sum(over), abs=1e-3)
    assert account.max_overshoot_100ms_watts == pytest.approx(max([0.0, *over]), abs=1e-3)
    assert account.max_overshoot_1s_watts == pytest.approx(max([0.0, *seconds]), abs=1e-3)
    clear = [one for one in seconds if abs(one) > 1e-3]
    if len(clear) == len(seconds):
        assert account.seconds_over == pytest.approx(0.1 * sum(one > 0 for one in clear))
