"""Carbon intensity: recorded series, forecasts, and files that cannot be used."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.carbon import CarbonSeries
from loadtest.simulator.scenario import ScenarioError
from loadtest.study.carbon_files import carbon_of
from loadtest.study.scenario_files import load_scenario

HEAD = "time,grams\n"
ROWS = "2022-01-01 00:00,100\n2022-01-01 01:00,\n2022-01-01 02:00,300\n"


def test_a_series_is_held_between_its_points_and_begins_anew():
    series = CarbonSeries(grams_per_kilowatt_hour=(100.0, 200.0), speed_up_ratio=60.0)
    assert [series.at(now) for now in (0.0, 59.9, 60.0, 120.0)] == [100.0, 100.0, 200.0, 100.0]
    assert series.grams(7.2e6, now_seconds=60.0) == pytest.approx(400.0)


@given(st.integers(0, 99), st.floats(0.0, 0.3))
def test_a_forecast_knows_the_present_and_errs_as_declared(seed, error):
    series = CarbonSeries(grams_per_kilowatt_hour=(100.0,), forecast_error_ratio=error)
    said = series.forecast(7200.0, intervals=25, seed=seed)
    assert said[0] == 100.0
    assert said == series.forecast(7200.0, intervals=25, seed=seed)
    assert said[2:] == pytest.approx(series.forecast(10800.0, intervals=24, seed=seed)[1:])
    assert all(abs(one / 100.0 - 1.0) <= 2.0 * error + 1e-9 for one in said)


def test_the_mean_error_of_many_forecasts_is_the_declared_one():
    series = CarbonSeries(grams_per_kilowatt_hour=(100.0,), forecast_error_ratio=0.1)
    said = series.forecast(0.0, intervals=4000, seed=5)[1:]
    assert sum(abs(one / 100.0 - 1.0) for one in said) / len(said) == pytest.approx(0.1, rel=0.05)


def scenario(folder, text, **carbon):
    (folder / "grid.csv").write_text(text, encoding="utf-8")
    fields = {
        "name": "x",
        "description": "x",
        "fleet": "F1",
        "trace": "synthetic-conv",
        "loads_requests_per_second": [2],
        "carbon": {"file": "grid.csv", "column": "grams", "time_column": "time", **carbon},
    }
    (folder / "x.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    return load_scenario(str(folder / "x.yaml"))


def test_a_file_is_read_from_its_start_with_gaps_filled(tmp_path):
    series = carbon_of(scenario(tmp_path, HEAD + ROWS, start="2022-01-01 01:00"))
    assert series.grams_per_kilowatt_hour == (200.0, 300.0, 100.0)
    assert series.interval_seconds == 3600.0


def test_other_units_are_converted(tmp_path):
    series = carbon_of(scenario(tmp_path, HEAD + ROWS, unit="kgCO2/kWh"))
    assert series.grams_per_kilowatt_hour == (100_000.0, 200_000.0, 300_000.0)


@pytest.mark.parametrize(
    ("text", "carbon", "problem"),
    [
        ("time,watts\n", {}, "line 1: there is no column 'grams', the columns are time, watts."),
        (HEAD + ROWS + "soon,5\n", {}, "line 5: Invalid isoformat string: 'soon'."),
        (HEAD + ROWS + "2022-01-01 03:00,-5\n", {}, "line 5: -5 is no intensity"),
        (HEAD + ROWS + "2022-01-01 05:00,5\n", {}, "line 5: the time is 3:00:00 after the one"),
        (HEAD, {}, "at least two rows are needed for an interval."),
        (HEAD + ROWS, {"start": "2023-01-01"}, "carbon.start: there is no row at 2023-01-01"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path, text, carbon, problem):
    with pytest.raises(ScenarioError) as caught:
        carbon_of(scenario(tmp_path, text, **carbon))
    [sentence] = caught.value.problems
    assert sentence.startswith(f"{tmp_path / 'grid.csv'}: ")
    assert problem in sentence
    assert sentence.endswith(".")


def test_a_file_that_is_not_there_is_said(tmp_path):
    made = scenario(tmp_path, HEAD + ROWS)
    (tmp_path / "grid.csv").unlink()
    with pytest.raises(ScenarioError, match=r"grid\.csv: cannot be read: No such file"):
        carbon_of(made)
