"""Two weeks at fluid level."""

import pytest

from loadtest.study.fluid import fluid_weeks
from loadtest.study.scenario_files import load_scenario
from loadtest.study.slices import data_folder


def weeks(load):
    scenario = load_scenario("azure-conv-f2")
    return {one.name: one for one in fluid_weeks(scenario, weekday_requests_per_second=load)}


@pytest.fixture(scope="module")
def busy():
    return weeks(30.0)


def test_bounds_are_below_an_even_spread_and_sleeping_is_below_staying_on(busy):
    even, always_on, may_sleep = busy.values()
    assert even.kilowatt_hours > always_on.kilowatt_hours > may_sleep.kilowatt_hours
    # Energy and tokens are those of the same two weeks.
    tokens = [
        one.kilowatt_hours * 3.6e6 / one.joules_per_token for one in (even, always_on, may_sleep)
    ]
    assert max(tokens) == pytest.approx(min(tokens))


def test_carbon_is_counted_with_the_series(busy):
    if not (data_folder() / "carbon").is_dir():
        pytest.skip(f"CO2 is NOT compared: no {data_folder() / 'carbon'} (set HEADRACE_DATA)")
    for one in busy.values():
        # The grid of California in July.
        assert 0.1 < one.kilograms_co2e / one.kilowatt_hours < 0.4


def test_an_idle_fleet_takes_its_idle_power_and_without_a_series_its_carbon_is_unknown(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    idle = weeks(0.01)["co-located bound, always on"]
    # 3 A100, 3 H100 and 2 B200 draw 894 W idle.
    assert idle.kilowatt_hours == pytest.approx(0.894 * 14 * 24, rel=0.01)
    assert idle.kilograms_co2e is None


def test_a_peak_that_the_fleet_cannot_carry_is_refused():
    with pytest.raises(ValueError, match=r"cannot carry"):
        weeks(1000.0)
