"""Counters of ended requests never fall, whatever boards draw."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.metering.record import AccessRecord
from router.metering.series import Series

NOTHING = (
    AccessRecord(**dict.fromkeys(AccessRecord._fields))
    ._replace(model="llama", backend="h100", method="measured", tokens_source="usage")
    ._replace(duration_seconds=1.0, replica_seconds=1.0, coverage_ratio=1.0)
)


@given(st.lists(st.none() | st.floats(-1e3, 1e3), min_size=1, max_size=20))
def test_joules_above_idle_never_fall_and_are_the_most_that_they_came_to(dynamic):
    series, told, sums = Series(), [0.0], [0.0]
    for joules in dynamic:
        series.add(NOTHING._replace(dynamic_joules=joules))
        [(_, counted)] = series
        told.append(counted.numbers["dynamic_joules"])
        sums.append(sums[-1] + (joules or 0.0))
    assert all(before <= after for before, after in pairwise(told))
    assert told[-1] == pytest.approx(max(sums), abs=1e-6)
