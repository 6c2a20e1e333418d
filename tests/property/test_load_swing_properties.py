"""Swings of the load are measured as they are: none in an even stream, much in waves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decide.decayed_sum import DecayedSum
from router.decide.load_swing import LoadSwing

windows = st.floats(min_value=0.1, max_value=100)


def swing_of(rate_at, *, seconds):
    """The last sample of a stream of 20 arrivals per step of 1/`rate_at`."""
    swing, now, next_sample, ratio = LoadSwing(), 0.0, 1.0, 0.0
    while now < seconds:
        now += 1.0 / rate_at(now)
        swing.arrive(now_seconds=now)
        if now >= next_sample:
            ratio = swing.sample(now_seconds=now)
            next_sample += 1.0
    return ratio


@given(st.floats(min_value=5, max_value=50))
def test_an_even_stream_hardly_swings(rate):
    assert 0.0 <= swing_of(lambda _: rate, seconds=200) < 0.1


@given(st.floats(min_value=2, max_value=8))
def test_waves_of_many_seconds_are_seen(factor):
    def rate(now):
        return 10.0 * (factor if int(now / 20) % 2 else 1.0)

    # Half the time 1, half the time `factor`: deviation over mean, softened by the filter.
    exact = (factor - 1.0) / (factor + 1.0)
    assert 0.7 * exact < swing_of(rate, seconds=200) < 2.0 * exact


def test_nothing_is_claimed_before_the_rate_has_settled():
    swing = LoadSwing()
    assert swing.sample(now_seconds=100.0) == 0.0
    swing.arrive(now_seconds=100.0)
    assert swing.sample(now_seconds=101.0) == 0.0


@given(
    st.lists(st.floats(min_value=0, max_value=10), max_size=10),
    windows,
    windows,
    st.floats(min_value=0, max_value=50),
)
def test_a_changed_window_keeps_the_rate(amounts, window, other, now):
    total = DecayedSum(window)
    for second, amount in enumerate(amounts):
        total.add(amount, now_seconds=float(second))
    now += len(amounts)
    before = total.per_second(now_seconds=now)

    total.change_window(other, now_seconds=now)

    assert total.per_second(now_seconds=now) == pytest.approx(before)
    assert total.per_second(now_seconds=now + 1.0) <= before + 1e-12
