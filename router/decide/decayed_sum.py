"""Exponential moving windows, the only memory that estimates of traffic need."""

import math
from collections.abc import Iterable, Sequence


class DecayedSum:
    """A sum whose terms fade with a time constant: an exponential moving window."""

    __slots__ = ("_at_seconds", "_value", "window_seconds")

    def __init__(self, window_seconds: float) -> None:
        """Start at zero."""
        self._value = 0.0
        self._at_seconds = 0.0
        self.window_seconds = window_seconds

    def add(self, amount: float, *, now_seconds: float) -> None:
        """Fade what is there, then add."""
        elapsed_seconds = now_seconds - self._at_seconds
        if elapsed_seconds > 0.0:
            self._value *= math.exp(-elapsed_seconds / self.window_seconds)
            self._at_seconds = now_seconds
        self._value += amount

    def add_all(self, amounts: Iterable[float], *, now_seconds: float) -> None:
        """Add several, one after the other."""
        self.add(0.0, now_seconds=now_seconds)
        for amount in amounts:
            self._value += amount

    def read(self, *, now_seconds: float) -> float:
        """The faded sum."""
        elapsed_seconds = now_seconds - self._at_seconds
        if elapsed_seconds <= 0.0:
            return self._value
        return self._value * math.exp(-elapsed_seconds / self.window_seconds)

    def per_second(self, *, now_seconds: float) -> float:
        """The sum over its window: a rate, once the window is full."""
        elapsed_seconds, window_seconds = now_seconds - self._at_seconds, self.window_seconds
        if elapsed_seconds <= 0.0:
            return self._value / window_seconds
        return self._value * math.exp(-elapsed_seconds / window_seconds) / window_seconds

    def change_window(self, window_seconds: float, *, now_seconds: float) -> None:
        """Fade by another time constant from now on; the rate stays what it is."""
        if window_seconds == self.window_seconds:
            return
        rate = self.per_second(now_seconds=now_seconds)
        self._value = rate * window_seconds
        self._at_seconds = max(now_seconds, self._at_seconds)
        self.window_seconds = window_seconds


class DecayedSums:
    """Several sums that are added to together, and so fade together at the cost of one."""

    __slots__ = ("_at_seconds", "_values", "window_seconds")

    def __init__(self, window_seconds: float, count: int) -> None:
        """Start `count` sums at zero."""
        self._values: Sequence[float] = (0.0,) * count
        self._at_seconds = 0.0
        self.window_seconds = window_seconds

    def add(self, *amounts: float, now_seconds: float) -> None:
        """Fade what is there, then add one amount to each."""
        faded = self.read(now_seconds=now_seconds)
        self._values = [value + amount for value, amount in zip(faded, amounts, strict=True)]
        self._at_seconds = max(now_seconds, self._at_seconds)

    def read(self, *, now_seconds: float) -> Sequence[float]:
        """The faded sums."""
        elapsed_seconds = now_seconds - self._at_seconds
        if elapsed_seconds <= 0.0:
            return self._values
        fade = math.exp(-elapsed_seconds / self.window_seconds)
        return [value * fade for value in self._values]
