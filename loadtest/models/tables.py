"""Measured points turned into tables by batch. Pure.

Step time is linear in the batch (T = a + b B), power in its logarithm: the interpolation follows.
The fits leave points out through the very same functions, so that the errors they report are those
of the tables that the simulator uses.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]
"""Running requests and a value, by rising batch."""


def step_seconds_at(points: Points, batch: float, *, slope_above: float) -> float:
    """Seconds of a step, linear in the batch.

    Below the first point the first segment goes on, above the last `slope_above` does.
    """
    last_batch, last_seconds = points[-1]
    if batch > last_batch:
        return last_seconds + slope_above * (batch - last_batch)
    return _segment([at for at, _ in points], [value for _, value in points], batch)


def watts_at(points: Points, batch: float) -> float:
    """Watts, linear in log2 of the batch, held at the first and the last point."""
    inside = min(max(batch, points[0][0]), points[-1][0])
    logs = [math.log2(at) for at, _ in points]
    return _segment(logs, [value for _, value in points], math.log2(inside))


def _segment(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    right = min(max(bisect_right(xs, x), 1), len(xs) - 1)
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])
