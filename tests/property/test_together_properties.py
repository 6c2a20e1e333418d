"""Loops that know nothing of each other: the cautious one wins."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.together import admitted, lowest

ADDRESSES = st.sampled_from("abcdef")
LOCKS = st.dictionaries(ADDRESSES, st.floats(1e8, 3e9))
REPLICAS = st.lists(
    st.builds(SimpleNamespace, address=ADDRESSES, backend=st.sampled_from(("x", "y"))),
    unique_by=lambda one: one.address,
)


@given(addresses=st.sets(ADDRESSES), ceilings=LOCKS, wishes=LOCKS)
def test_the_clock_is_one_that_was_asked_for_and_none_asks_for_less(addresses, ceilings, wishes):
    asked = [lock[one] for lock in (ceilings, wishes) for one in addresses if one in lock]
    found = lowest(addresses, ceilings, wishes)
    assert (found is None) == (not asked)
    if asked:
        assert found in asked
        assert all(found <= one for one in asked)


@given(order=REPLICAS, allowed=st.sets(ADDRESSES))
def test_at_most_one_comes_and_only_of_a_backend_that_may_grow(order, allowed):
    coming = admitted(order, allowed)
    growing = {one.backend for one in order if one.address in allowed}
    assert len(coming) == bool(growing)
    for wake in coming:
        [first] = [one for one in order if one.address == wake.address]
        assert first.backend in growing
        before = order[: order.index(first)]
        assert all(one.backend not in growing for one in before)


@given(order=REPLICAS)
def test_what_the_caps_allow_nobody_nobody_gets(order):
    assert admitted(order, set()) == []
