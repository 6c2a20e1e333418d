"""The caps of the simulated carbon loop: by rank, by a budget, at the pace of the played series."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from loadtest.simulator.capper_carbon import DEEP, CarbonLoop, CarbonPlan

INTERVAL = 60.0
DAY = [100.0] * 12 + [300.0] * 12


def view(now, *, watts=1000.0, series=DAY):
    hour = int(now // INTERVAL)
    forecast = tuple(series[(hour + ahead) % len(series)] for ahead in range(24))
    return SimpleNamespace(
        now_seconds=now,
        carbon_interval_seconds=INTERVAL,
        carbon_forecast=forecast,
        carbon_grams_per_kilowatt_hour=forecast[0],
        power_watts=watts,
        replicas=[SimpleNamespace(full_watts=2000.0), SimpleNamespace(full_watts=2000.0)],
    )


def watts(loop, now, **more):
    (cap,) = loop.caps(view(now, **more))
    return cap.watts


def test_two_levels_are_all_or_nothing_by_the_half_of_the_day():
    loop = CarbonLoop(DEEP)
    caps = [watts(loop, 30.0 + INTERVAL * hour) for hour in range(24)]
    assert caps == [4000.0] * 12 + [pytest.approx(0.15 * 4000.0)] * 12


def test_four_levels_move_one_at_a_time():
    loop = CarbonLoop()
    caps = [watts(loop, 30.0 + INTERVAL * hour) for hour in range(24)]
    assert caps[0] == 2000.0
    assert all(abs(after - before) <= 334.0 for before, after in pairwise(caps))


def test_a_budget_counts_the_hours_of_the_series_and_spends_what_is_left():
    """Half of the day is over: 12 h of 1 kW at 100 g; the rest has 12 h at 300 g."""
    spent_grams = 12 * 100.0 / 60.0  # of the played time, in which an hour takes a minute
    left_grams = 12 * 300.0 / 60.0  # at 1 kW
    loop = CarbonLoop(CarbonPlan(low_ratio=0.1, budget_grams=spent_grams + 0.5 * left_grams))
    for second in range(0, 721, 10):
        cap = watts(loop, float(second))
    assert cap == pytest.approx(500.0, rel=0.02)
    for second in range(721, 1440):
        cap = watts(loop, float(second), watts=900.0)
    assert cap == pytest.approx(0.1 * 4000.0), "it was not kept: down to the least"


def test_without_a_series_there_is_no_cap():
    nothing = view(0.0)
    nothing.carbon_interval_seconds = None
    assert CarbonLoop().caps(nothing) == []
