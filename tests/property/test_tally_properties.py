import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.tally import Tally, jain_ratio

amounts = st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(lambda v: max(v) > 1e-3)


@given(values=amounts, scale=st.floats(0.1, 10))
def test_jains_index_is_between_one_of_n_and_one_whatever_the_unit_and_the_order(values, scale):
    index = jain_ratio(values)
    assert 1 / len(values) - 1e-9 <= index <= 1 + 1e-9
    assert jain_ratio([scale * value for value in reversed(values)]) == pytest.approx(index)


@given(addresses=st.lists(st.sampled_from("abcd"), max_size=60))
def test_every_request_that_was_sent_is_counted_once(addresses):
    tally = Tally(ttft_objective_seconds=1.0, tpot_objective_seconds=0.05)
    for address in addresses:
        tally.send(address, f"backend-{address}")
    assert tally.backends.total() == len(addresses)
    found = tally.fairness(replicas=4)
    if len(addresses) > 1:
        flips = sum(a != b for a, b in itertools.pairwise(addresses))
        assert found.pick_flip_ratio == pytest.approx(flips / (len(addresses) - 1))
    if addresses:
        assert found.replicas_jain_ratio == pytest.approx(
            jain_ratio([addresses.count(one) for one in "abcd"])
        )
