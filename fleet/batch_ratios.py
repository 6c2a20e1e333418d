"""A correction that depends on the batch: one ratio per doubling, joined by straight lines.

What a replica does at 8 requests says little of what it does at 128 (measured: B200 with a small
model steps in 10 ms at 64 requests and in 29 ms at 128), so profiles are corrected point by point.
"""

import math

POINTS = 10
"""Ratios at batches 1, 2, 4 .. 512."""

BatchRatios = tuple[float, ...]
"""`POINTS` ratios, or empty for none: 1 everywhere."""


def ratio_at(ratios: BatchRatios, batch: float) -> float:
    """The ratio at a batch; the outermost ones hold beyond the ends."""
    if not ratios:
        return 1.0
    index, share = place_of(batch)
    if not share:
        return ratios[index]
    return ratios[index] + (ratios[index + 1] - ratios[index]) * share


def place_of(batch: float) -> tuple[int, float]:
    """The point at or below a batch, and how far it is (0..1) towards the next one."""
    place = math.log2(batch) if batch > 1.0 else 0.0
    index = int(place)
    return (index, place - index) if index < POINTS - 1 else (POINTS - 1, 0.0)


def nearest_point(batch: float) -> int:
    """The index of the point whose batch is nearest in log scale."""
    return min(POINTS - 1, max(0, round(math.log2(max(batch, 1.0)))))
