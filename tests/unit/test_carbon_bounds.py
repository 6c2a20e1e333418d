"""What timing could save at best: the programs on cases that can be counted by hand, the page."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bench.carbon_page import best, carbon_page, report_document, saved
from headrace.bench.carbon_shift import WAITS, Shift
from headrace.main import main
from loadtest.reports.json_report import dumps
from loadtest.study.carbon_bounds import LoadedPower, fitted, shifted_ratio, timed_grams
from loadtest.study.carbon_days import Day, Played, ratio_of_energy
from loadtest.study.carbon_study import BUDGET, DAYS, TWO, DayFound, Row, runs, study
from loadtest.study.slices import data_folder

KWH = 3.6e6
START = "2022-07-13 07:00:00+00:00"


def test_the_dirtier_hour_takes_the_least_and_the_cleaner_one_the_rest():
    grams = timed_grams([1 * KWH, 1 * KWH], [3 * KWH, 3 * KWH], [100.0, 200.0], joules=4.5 * KWH)
    assert grams == pytest.approx(3.0 * 100.0 + 1.5 * 200.0)
    with pytest.raises(ValueError, match="are not between"):
        timed_grams([KWH], [2 * KWH], [100.0], joules=3 * KWH)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.floats(1.0, 5.0), st.floats(0.0, 4.0), st.floats(0.0, 900.0)),
        min_size=1,
        max_size=24,
    ),
    st.floats(0.0, 1.0),
)
def test_no_way_of_the_same_energy_beats_the_bound(hours, share):
    least = [low * KWH for low, _, _ in hours]
    most = [(low + more) * KWH for low, more, _ in hours]
    intensity = [grams for _, _, grams in hours]
    even = [low + share * (high - low) for low, high in zip(least, most, strict=True)]
    grams = sum(one / KWH * each for one, each in zip(even, intensity, strict=True))
    assert timed_grams(least, most, intensity, joules=sum(even)) <= grams * (1 + 1e-6) + 1e-6


def test_load_that_may_wait_goes_to_the_clean_hour_as_far_as_it_fits():
    power = LoadedPower(0.0, 1.0)
    asked = {"window_hours": 1, "deferrable_ratio": 1.0}
    loads, intensity = [10.0, 0.0], [300.0, 100.0]
    assert shifted_ratio(loads, intensity, power, capacity=10.0, **asked) == pytest.approx(1 / 3)
    half = shifted_ratio(loads, intensity, power, capacity=5.0, **asked)
    assert half == pytest.approx((5 * 300 + 5 * 100) / 3000)
    assert shifted_ratio(loads, [100.0, 300.0], power, capacity=10.0, **asked) == 1.0
    idle = shifted_ratio(loads, intensity, LoadedPower(10.0, 1.0), capacity=10.0, **asked)
    assert idle == pytest.approx((4000 + 1000) / (4000 + 3000)), "idle power stays"
    with pytest.raises(ValueError, match="does not fit"):
        shifted_ratio([10.0, 10.0], intensity, power, capacity=4.0, **asked)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(1.0, 900.0)), min_size=2, max_size=30),
    st.floats(0.0, 1.0),
    st.integers(0, 24),
)
def test_shifting_never_costs(hours, ratio, window):
    loads, intensity = [one for one, _ in hours], [one for _, one in hours]
    found = shifted_ratio(
        loads,
        intensity,
        LoadedPower(1.0, 1.0),
        deferrable_ratio=ratio,
        window_hours=window,
        capacity=12.0,
    )
    assert 0.0 < found <= 1.0 + 1e-9
    if window == 0:
        assert found == pytest.approx(1.0)


def test_power_is_fitted_over_load():
    found = fitted([1.0, 2.0, 3.0], [110.0, 120.0, 130.0])
    assert found == pytest.approx((100.0, 10.0))


def test_the_constant_cap_of_an_energy_is_looked_up_between_runs():
    runs = [(0.15, 100.0), (1.0, 200.0), (0.3, 150.0)]
    assert ratio_of_energy(runs, 125.0) == pytest.approx(0.225)
    assert ratio_of_energy(runs, 99.0) is None


def played(joules, grams, met=0.999):
    return Played(
        joules=joules,
        grams=grams,
        met_ratio=met,
        hourly_joules=(joules / 2, joules / 2),
        hourly_grams_per_kilowatt_hour=(100.0, 200.0),
        hourly_requests=(10, 10),
    )


FOUND = DayFound(
    day=Day(zone="CISO", start=START),
    none=played(2e6, 100.0),
    least=played(1.5e6, 75.0),
    rows=(
        Row(
            name="two levels",
            noisy=True,
            played=played(1.8e6, 87.0, 0.995),
            constant_grams=90.0,
            least_grams=85.0,
        ),
        Row(
            name=BUDGET,
            noisy=False,
            played=played(1.7e6, 89.0),
            constant_grams=None,
            least_grams=None,
        ),
    ),
    matched=(("two levels", played(1.8e6, 87.0), played(1.791e6, 89.6)),),
    budget_grams=90.0,
)
SHIFT = Shift(zone="CISO", weeks=52, power=LoadedPower(1.0, 2.0), saved_ratio=(0.01,) * len(WAITS))


def test_the_page_says_what_timing_saved_and_what_it_could():
    row = FOUND.rows[0]
    assert (saved(row), best(row)) == pytest.approx((1 / 30, 5 / 90))
    assert (saved(FOUND.rows[1]), best(FOUND.rows[1])) == (None, None)
    page = carbon_page((FOUND,), (SHIFT,), command="headrace bench carbon", code="ab")
    assert "| CISO 2022-07-13 | two levels, noisy | +3.33 % | 5.56 % | 60 % |" in page
    assert (
        "| CISO 2022-07-13 | two levels, noisy | 87.0 | -13.0 % | 1.800 MJ | 48.33 | 99.50 % |"
        in page
    )
    assert "off by at most 0.5 %." in page
    assert "The budget was used to 98.9 % to 98.9 %" in page


def test_the_report_is_json_with_a_schema():
    document = json.loads(dumps(report_document((FOUND,), (SHIFT,))))
    assert (document["schema"], document["simulated"]) == (1, True)
    assert document["days"][0]["none"]["grams"] == 100.0


def test_a_page_in_no_folder_is_refused(tmp_path, capsys):
    assert main(["bench", "carbon", "--out", str(tmp_path / "none" / "page.md")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_run_that_does_not_look_at_the_grid_is_priced_on_any_grid():
    if not (data_folder() / "carbon").is_dir():
        pytest.skip(f"grids are NOT compared: no {data_folder() / 'carbon'} (set HEADRACE_DATA)")
    hours = tuple(1e6 * (hour + 1) for hour in range(24))
    run = replace(played(sum(hours), 0.0), hourly_joules=hours)
    priced = {zone: run.on(Day(zone=zone, start=START)) for zone in ("CISO", "ERCO")}
    assert priced["CISO"].joules == priced["ERCO"].joules == sum(hours)
    assert priced["CISO"].grams != priced["ERCO"].grams
    series = priced["CISO"].hourly_grams_per_kilowatt_hour
    assert len(series) == 24
    assert priced["CISO"].grams == pytest.approx(
        sum(joules / KWH * grams for joules, grams in zip(hours, series, strict=True))
    )


class Fluid:
    """Answers runs by a formula: a lower cap takes less, carbon's more of it in dirty hours."""

    def do(self, works, progress):
        for _ in works:
            progress(1.0)
        return [self.play(one) for one in works]

    def play(self, run):
        intensity = run.day.hourly_grams_per_kilowatt_hour()
        middle = sorted(intensity)[12]
        ratio = run.ways.constant_ratio or 0.45
        if run.ways.carbon is None:
            hours = [1e6 * ratio] * 24
        else:
            hours = [1.5e5 if grams > middle else 4.5e5 for grams in intensity]
        grams = sum(one / KWH * each for one, each in zip(hours, intensity, strict=True))
        return Played(
            joules=sum(hours),
            grams=grams,
            met_ratio=0.999,
            hourly_joules=tuple(hours),
            hourly_grams_per_kilowatt_hour=intensity,
            hourly_requests=(10,) * 24,
        )


def test_a_study_plays_what_needs_no_grid_once_and_compares_at_equal_energy():
    if not (data_folder() / "carbon").is_dir():
        pytest.skip(f"grids are NOT compared: no {data_folder() / 'carbon'} (set HEADRACE_DATA)")
    told = []
    found = study(DAYS[:2], crew=Fluid(), progress=told.append)
    assert len(told) <= runs(DAYS[:2])
    for one in found:
        two = next(row for row in one.rows if row.name == TWO and not row.noisy)
        # Half of the day at the least, half without a cap: nothing is timed better.
        assert saved(two) == pytest.approx(best(two), rel=1e-6)
        assert saved(two) > 0.01
        for _, way, constant in one.matched:
            assert constant.joules == pytest.approx(way.joules, rel=1e-3)
        assert one.budget_grams == pytest.approx(0.9 * one.none.grams)
        assert one.least.joules < two.played.joules < one.none.joules
    page = carbon_page(found, (SHIFT,), command="headrace bench carbon", code="ab")
    assert "| CISO 2022-07-13 | two levels |" in page
