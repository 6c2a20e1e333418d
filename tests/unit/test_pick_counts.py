"""What one pick costs, in counts that no machine's speed changes.

The baseline is what a pick took when it was last looked at; a change that takes more must say so
here. Times are in `headrace bench decide`.
"""

import sys

import pytest

from headrace.bench.decide import Steady, fleet_of

PICKS = 200
TOLERANCE_RATIO = 1.1
# Calls of Python functions and of built-in ones, the end of one request included, by replicas.
BASELINE = {8: 258, 100: 327, 1000: 395}


def calls_per_pick(replicas):
    steady, calls = Steady(fleet_of(replicas), "dispatch"), 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        for _ in range(PICKS):
            steady.pick()
    finally:
        sys.setprofile(before)
    return calls / PICKS


@pytest.mark.parametrize("replicas", BASELINE)
def test_a_pick_takes_no_more_calls_than_it_did(replicas):
    assert calls_per_pick(replicas) <= TOLERANCE_RATIO * BASELINE[replicas]


def test_the_baseline_itself_hardly_grows_with_the_fleet():
    assert BASELINE[1000] < 1.25 * BASELINE[100]
