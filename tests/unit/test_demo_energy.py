"""What the demo says of energy, from two readings of each side."""

import pytest

from headrace.demo.energy import energy_account


def metered(request_joules, own, busy, idle, foreign=0.0):
    backend = {
        "busy_joules": busy,
        "foreign_joules": foreign,
        "idle_joules": idle,
        "busy_seconds": 1.0,
        "unknown_seconds": 0.0,
    }
    return {"request_joules": request_joules, "own_busy_joules": own, "backends": {"h100": backend}}


def fleet(seconds, idle, dynamic, busy_seconds):
    replica = {"idle_joules": idle, "dynamic_joules": dynamic, "busy_seconds": busy_seconds}
    return {"simulated_seconds": seconds, "replicas": {"h100-0": replica}}


BEFORE = metered(100.0, 100.0, 100.0, 50.0), fleet(10.0, 1000.0, 500.0, 4.0)


def account(request_joules=1100.0, own=1100.0):
    after = metered(request_joules, own, 1150.0, 550.0, foreign=50.0)
    return energy_account((BEFORE[0], after), (BEFORE[1], fleet(20.0, 2000.0, 1000.0, 9.0)))


def test_both_sides_are_differences_between_the_readings():
    found = account()
    assert (found.request_joules, found.own_busy_joules) == (1000.0, 1000.0)
    assert found.metered_joules == pytest.approx(1550.0)
    assert found.fleet_joules == pytest.approx(1500.0)
    # 500 J above idle, and half of the 1,000 J of idle power: busy for 5 of 10 s.
    assert found.fleet_busy_joules == pytest.approx(1000.0)
    assert found.busy_error_ratio == pytest.approx(0.05)


@pytest.mark.parametrize(("request_joules", "conserved"), [(1100.9, True), (1102.0, False)])
def test_a_sum_that_is_off_by_more_than_a_thousandth_is_said_not_to_be_the_integral(
    request_joules, conserved
):
    found = account(request_joules=request_joules)
    assert found.conserved is found.to_dict()["conserved"] is conserved
    assert ("IS NOT" in found.sentences()[0]) is not conserved
    assert "own meters" in found.sentences()[1]
