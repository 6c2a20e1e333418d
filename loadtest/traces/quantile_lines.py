"""Distributions as quantiles joined by straight lines. Pure."""

import math
from bisect import bisect_left
from collections.abc import Sequence


def quantile(ratio: float, ratios: Sequence[float], values: Sequence[float]) -> float:
    """The value below which a share `ratio` lies.

    Args:
        ratio: 0..1.
        ratios: Shares at the known quantiles, rising from 0 to 1.
        values: Those quantiles, in the same order.
    """
    right = max(1, bisect_left(ratios, ratio))
    left = right - 1
    share = (ratio - ratios[left]) / (ratios[right] - ratios[left])
    return values[left] + share * (values[right] - values[left])


def log_quantile(ratio: float, ratios: Sequence[float], values: Sequence[float]) -> float:
    """As `quantile` for positive values, with lines that are straight in the logarithm."""
    right = max(1, bisect_left(ratios, ratio))
    left = right - 1
    share = (ratio - ratios[left]) / (ratios[right] - ratios[left])
    return values[left] * math.pow(values[right] / values[left], share)


def log_mean(ratios: Sequence[float], values: Sequence[float]) -> float:
    """The exact mean of what `log_quantile` gives for uniform ratios."""
    return sum(
        (ratios[index + 1] - ratios[index]) * _logarithmic_mean(values[index], values[index + 1])
        for index in range(len(ratios) - 1)
    )


def _logarithmic_mean(low: float, high: float) -> float:
    return low if high == low else (high - low) / math.log(high / low)
