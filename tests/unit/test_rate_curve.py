"""Arrivals that are drawn from a curve of rates."""

import pytest

from loadtest.study.scenario_files import FOLDER
from loadtest.traces.opening import TraceFormat, open_trace
from loadtest.traces.rate_curve import rate_curve

CURVE = "at_seconds,requests_per_second\n"


@pytest.fixture
def curve(tmp_path):
    def write(*points):
        path = tmp_path / "curve.csv"
        path.write_text(CURVE + "".join(f"{at},{rate}\n" for at, rate in points), encoding="utf-8")
        return path

    return write


def test_a_curve_is_recognised_and_played_the_same_each_time(curve):
    trace = open_trace(curve((0, 5), (600, 5)), model="m")
    assert trace.trace_format is TraceFormat.RATE_CURVE
    one, again = list(trace), list(trace)
    assert one == again
    assert one[0].at_seconds == 0.0
    assert {arrival.model for arrival in one} == {"m"}


def test_as_many_come_in_each_stretch_as_the_area_under_it_says(curve):
    # 2,000 s at 4/s, a slope of 1,000 s down to 0, silence, and 500 s at 8/s.
    path = curve((0, 4), (2000, 4), (3000, 0), (4000, 0), (4001, 8), (4501, 8))
    first = next(iter(open_trace(path, model="m").rows())).at_nanoseconds / 1e9
    times = [arrival.at_seconds + first for arrival in open_trace(path, model="m")]
    counts = [
        sum(low <= at < high for at in times)
        for low, high in ((0, 2000), (2000, 3000), (3000, 4000))
    ]
    # Slow swings of the level are part of the traffic, so an hour is off by a tenth and more.
    assert counts[0] == pytest.approx(8000, rel=0.25)
    assert counts[1] == pytest.approx(2000, rel=0.4)
    assert counts[2] == 0
    assert len(times) - sum(counts) == pytest.approx(4004, rel=0.4)
    # Half of the area of the slope lies in its first 29 %.
    early = sum(2000 <= at < 2293 for at in times)
    assert early / counts[1] == pytest.approx(0.5, abs=0.12)


def test_the_first_row_is_the_start_whatever_its_time(curve):
    assert rate_curve(curve((900, 1), (960, 2)))[1] == (60.0, 2.0)


def test_the_shipped_day_has_a_mean_of_one_and_ends_as_it_began():
    points = rate_curve(FOLDER / "diurnal-day.csv")
    assert points[-1].at_seconds == 86_400
    rates = [point.requests_per_second for point in points]
    assert sum(rates[:-1]) / len(rates[:-1]) == pytest.approx(1.0, abs=0.01)
    assert rates[0] == pytest.approx(rates[-1], rel=0.05)
    assert max(rates) > 3 * min(rates)
