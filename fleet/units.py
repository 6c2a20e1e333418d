"""Conversion to SI at the edge, done once, and the filter that keeps absurd readings out."""

import math

JOULES_PER_MILLIJOULE = 1e-3
JOULES_PER_KILOWATT_HOUR = 3.6e6
HERTZ_PER_MEGAHERTZ = 1e6
SECONDS_PER_MILLISECOND = 1e-3

# DCGM and NVML report "no data" as large integers near 2**63 (seen: 9223372036854775794), which
# exporters pass on as numbers. Every physical quantity we read is far below.
SENTINEL_FLOOR = 1e15


def sane(value: float, *, upper: float = SENTINEL_FLOOR) -> float | None:
    """Return `value` when it is finite and within [0, upper], else None (unknown, never 0).

    Args:
        value: A reading of a quantity that cannot be negative.
        upper: The largest value the quantity can take, in its own unit.
    """
    if math.isfinite(value) and 0.0 <= value <= upper:
        return value
    return None
