"""Windows of power against a cap: sums that hold however the time is cut; who served a request."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.demo.power_windows import (
    SETTLED_WINDOWS,
    PowerWindow,
    between,
    excess,
    mean_watts,
    seconds_to_under,
)
from headrace.demo.served import served_requests

WATTS = st.floats(0.0, 1e4)
SERIES = st.lists(st.tuples(st.floats(0.1, 5.0), WATTS), min_size=1, max_size=20)


def laid_out(series):
    found, at_seconds = [], 0.0
    for seconds, watts in series:
        found.append(PowerWindow(at_seconds, at_seconds + seconds, watts))
        at_seconds += seconds
    return found


@given(SERIES, WATTS)
def test_what_is_over_the_cap_is_over_it_in_all_windows_or_in_some(series, cap_watts):
    windows = laid_out(series)
    over = excess(windows, cap_watts)
    assert (over.seconds > 0.0) is any(window.watts > cap_watts for window in windows)
    assert over.joules >= 0.0
    # Energy over the cap is at least that of the mean.
    seconds = windows[-1].end_seconds
    assert over.joules >= (mean_watts(windows) - cap_watts) * seconds - 1e-6 * max(1, cap_watts)


@given(SERIES, WATTS, st.integers(0, 20))
def test_two_stretches_add_up_to_the_whole(series, cap_watts, cut):
    windows = laid_out(series)
    parts = excess(windows[:cut], cap_watts), excess(windows[cut:], cap_watts)
    whole = excess(windows, cap_watts)
    assert math.isclose(sum(part.seconds for part in parts), whole.seconds, abs_tol=1e-9)
    assert math.isclose(sum(part.joules for part in parts), whole.joules, abs_tol=1e-6)


@given(SERIES, WATTS)
def test_under_the_cap_means_that_windows_in_a_row_are(series, cap_watts):
    windows = laid_out(series)
    at_seconds = seconds_to_under(windows, cap_watts)
    if at_seconds is None:
        runs = len(windows) - SETTLED_WINDOWS + 1
        for first in range(max(0, runs)):
            run = windows[first : first + SETTLED_WINDOWS]
            assert any(window.watts > cap_watts for window in run)
        return
    there = [window for window in windows if window.start_seconds >= at_seconds]
    assert all(window.watts <= cap_watts for window in there[:SETTLED_WINDOWS])


def test_a_window_that_reaches_out_of_the_stretch_is_not_in_it():
    windows = laid_out([(1.0, 10.0)] * 4)
    assert between(windows, 0.5, 3.0) == windows[1:3]
    assert mean_watts(between(windows, 0.5, 0.9)) is None


def test_answers_are_counted_by_the_replica_that_gave_them(tmp_path):
    lines = [
        ("POST", 200, "127.0.0.1:1"),
        ("POST", 200, "127.0.0.1:2"),
        ("POST", 200, "127.0.0.1:1"),
        ("POST", 503, None),
        ("GET", 200, None),
    ]
    log = tmp_path / "access.log"
    log.write_text(
        "\n".join(
            json.dumps({"method": method, "status": status, "upstream_host": host})
            for method, status, host in lines
        ),
        encoding="utf-8",
    )
    names = {"127.0.0.1:1": "b200-0", "127.0.0.1:2": "a100-0"}
    assert list(served_requests(log, names).items()) == [("a100-0", 1), ("b200-0", 2)]


def test_an_answer_of_a_stranger_is_an_error(tmp_path):
    log = tmp_path / "access.log"
    entry = {"method": "POST", "status": 200, "upstream_host": "127.0.0.1:9"}
    log.write_text(json.dumps(entry), encoding="utf-8")
    with pytest.raises(KeyError, match=r"127\.0\.0\.1:9"):
        served_requests(log, {})
