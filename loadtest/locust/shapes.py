"""How many users there are at a moment of a run: constant, ramp, spike, diurnal. Pure."""

import math
from collections.abc import Callable, Mapping

Shape = Callable[[float, float, int], int]
"""(seconds since the start, seconds of the whole run, most users) -> users now, at least 1."""

_SPIKE_START_RATIO, _SPIKE_END_RATIO = 0.4, 0.6
_SPIKE_BASE_RATIO = 0.25
_NIGHT_RATIO = 0.2


def constant(_at_seconds: float, _run_seconds: float, most: int) -> int:
    """All of them, all the time."""
    return most


def ramp(at_seconds: float, run_seconds: float, most: int) -> int:
    """From one to all, in a straight line."""
    return max(1, round(most * min(1.0, at_seconds / run_seconds)))


def spike(at_seconds: float, run_seconds: float, most: int) -> int:
    """A quarter, but all of them in the middle fifth."""
    inside = _SPIKE_START_RATIO <= at_seconds / run_seconds < _SPIKE_END_RATIO
    return most if inside else max(1, round(most * _SPIKE_BASE_RATIO))


def diurnal(at_seconds: float, run_seconds: float, most: int) -> int:
    """One day in the run: a fifth at both ends, all of them at its middle, a cosine between."""
    day = (1.0 - math.cos(2.0 * math.pi * at_seconds / run_seconds)) / 2.0
    return max(1, round(most * (_NIGHT_RATIO + (1.0 - _NIGHT_RATIO) * day)))


SHAPES: Mapping[str, Shape] = {
    "constant": constant,
    "ramp": ramp,
    "spike": spike,
    "diurnal": diurnal,
}
