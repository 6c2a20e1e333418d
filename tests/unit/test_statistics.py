"""Bootstrap intervals over seeds."""

import pytest

from loadtest.statistics import difference_interval, mean, ratio_interval
from loadtest.statistics import double_ratio_interval as double_ratio


def test_a_figure_is_the_ratio_of_sums_so_that_a_silent_seed_does_not_rule_it():
    interval = ratio_interval([100.0, 100.0], [1000.0, 1.0])
    assert interval.value == pytest.approx(200.0 / 1001.0)
    assert mean([100.0 / 1000.0, 100.0]) > 50.0


def test_an_arm_compared_with_itself_is_equal_without_any_spread():
    column = ([3.0, 5.0, 9.0], [1.0, 2.0, 4.0])
    ratio, difference = double_ratio(column, column), difference_interval(column, column)
    assert (ratio.low, ratio.value, ratio.high) == (1.0, 1.0, 1.0)
    assert (difference.low, difference.value, difference.high) == (0.0, 0.0, 0.0)


def test_pairing_by_seed_removes_what_all_arms_share():
    slices = [1.0, 10.0, 100.0, 2.0, 50.0]
    theirs = ([8.0 * size for size in slices], [1.0] * 5)
    ours = ([4.0 * size for size in slices], [1.0] * 5)
    paired = double_ratio(ours, theirs)
    assert (paired.low, paired.high) == pytest.approx((0.5, 0.5))
    assert ratio_interval(*ours).high > 3 * ratio_interval(*ours).low


def test_one_seed_gives_an_interval_of_no_width():
    interval = ratio_interval([6.0], [3.0])
    assert (interval.low, interval.value, interval.high, interval.seeds) == (2.0, 2.0, 2.0, 1)


@pytest.mark.parametrize("count", [5, 6, 7, 12])
def test_the_same_numbers_give_the_same_interval_enumerated_or_drawn(count):
    joules = [float(seed * seed % 7 + 1) for seed in range(count)]
    tokens = [float(seed % 3 + 1) for seed in range(count)]
    first = ratio_interval(joules, tokens)
    assert first == ratio_interval(joules, tokens)
    assert first.low < first.value < first.high


def test_five_seeds_are_enumerated_exactly():
    # 2.5 % of 5^5 resamples are 78: the smallest mean of 0, 0, 0, 0, 1 is 0 in 1,024 of them.
    interval = ratio_interval([0.0, 0.0, 0.0, 0.0, 1.0], [1.0] * 5)
    assert interval.low == 0.0
    # P(three or more of five draws hit the one) = 5.8 %, P(four or more) = 0.67 %.
    assert interval.high == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("numerators", "denominators"), [([], []), ([1.0], []), ([1.0, 2.0], [1.0])]
)
def test_columns_that_do_not_pair_are_refused(numerators, denominators):
    with pytest.raises(ValueError, match="one value per seed"):
        ratio_interval(numerators, denominators)
