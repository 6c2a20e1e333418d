"""How much a load swings, measured: real traffic comes in waves that a Poisson stream has not."""

import math

from router.decide.decayed_sum import DecayedSum

# About the life of a short conversation's answer: what is faster than that, batches average out.
_WAVE_SECONDS = 6.0
_MEMORY_SECONDS = 60.0
# A rate that has just begun to be measured swings by its own start.
_SETTLE_SECONDS = 12.0
# A minute holds few waves, and the largest of the next minute is rarely among them (simulated on
# Azure conversations: 1 keeps too little, docs/decisions/0012-guard-on-inflow.md).
_BEYOND_MEMORY_RATIO = 2.5


class LoadSwing:
    """Standard deviation over mean of an arrival rate, taken over waves of some seconds."""

    __slots__ = ("_arrivals", "_mean", "_sampled_seconds", "_since_seconds", "_square", "_weight")

    def __init__(self) -> None:
        """Nothing seen."""
        self._arrivals = DecayedSum(_WAVE_SECONDS)
        self._since_seconds: float | None = None
        self._sampled_seconds = 0.0
        self._weight = self._mean = self._square = 0.0

    def arrive(self, *, now_seconds: float) -> None:
        """Count a request."""
        if self._since_seconds is None:
            self._since_seconds = now_seconds
        self._arrivals.add(1.0, now_seconds=now_seconds)

    def sample(self, *, now_seconds: float) -> float:
        """Note the present rate, about once a second; returns the deviation ratio to plan for.

        0 until the rate has settled and where it has never moved.
        """
        since = self._since_seconds
        if since is None or now_seconds - since < _SETTLE_SECONDS:
            return 0.0
        rate = self._arrivals.per_second(now_seconds=now_seconds)
        fade = math.exp(-max(0.0, now_seconds - self._sampled_seconds) / _MEMORY_SECONDS)
        self._sampled_seconds = now_seconds
        self._weight = self._weight * fade + 1.0
        self._mean += (rate - self._mean) / self._weight
        self._square += (rate * rate - self._square) / self._weight
        variance = max(0.0, self._square - self._mean * self._mean)
        if self._mean <= 0.0:
            return 0.0
        return _BEYOND_MEMORY_RATIO * math.sqrt(variance) / self._mean
