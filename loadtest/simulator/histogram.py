"""Quantiles of any number of values in constant memory."""

import math

# Bounds of neighbouring buckets differ by this factor: a quantile is off by half of it at most.
_GROWTH = 1.01
_LOG_GROWTH = math.log(_GROWTH)
_SMALLEST = 1e-6


class LogHistogram:
    """Counts positive values in buckets of 1 % width; quantiles are right to 0.5 %."""

    __slots__ = ("_buckets", "count", "total")

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value; anything below a millionth counts as that."""
        index = int(math.log(max(value, _SMALLEST)) // _LOG_GROWTH)
        self._buckets[index] = self._buckets.get(index, 0) + 1
        self.count += 1
        self.total += value

    def quantile(self, ratio: float) -> float | None:
        """The value that `ratio` (0..1) of all values do not exceed; None when there are none."""
        if not self.count:
            return None
        rank = max(1, math.ceil(ratio * self.count))
        seen = 0
        for index in sorted(self._buckets):
            seen += self._buckets[index]
            if seen >= rank:
                return math.exp((index + 0.5) * _LOG_GROWTH)
        raise AssertionError("a rank is never above the count")

    @property
    def mean(self) -> float | None:
        """Arithmetic mean, exact."""
        return self.total / self.count if self.count else None
