"""Bootstrap intervals stay within what was measured."""

from hypothesis import given
from hypothesis import strategies as st

from loadtest.statistics import double_ratio_interval, ratio_interval

amounts = st.floats(min_value=1e-3, max_value=1e6)
samples = st.lists(st.tuples(amounts, amounts), min_size=1, max_size=5)


@given(samples)
def test_an_interval_holds_its_value_and_lies_within_the_seeds(rows):
    joules, tokens = zip(*rows, strict=True)
    interval = ratio_interval(joules, tokens)
    ratios = [a / b for a, b in rows]
    slack = 1.0 + 1e-9
    assert min(ratios) <= interval.low * slack
    assert interval.low <= interval.value * slack
    assert interval.value <= interval.high * slack
    assert interval.high <= max(ratios) * slack


@given(samples, st.floats(min_value=0.1, max_value=10.0))
def test_an_arm_that_takes_the_same_multiple_everywhere_has_no_spread(rows, factor):
    joules, tokens = zip(*rows, strict=True)
    more = [factor * one for one in joules]
    interval = double_ratio_interval((more, tokens), (joules, tokens))
    assert abs(interval.low - factor) < 1e-9 * factor
    assert abs(interval.high - factor) < 1e-9 * factor
