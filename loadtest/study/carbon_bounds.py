"""What timing could save at best on a grid: linear programs over hours. Pure, needs scipy.

*Timed*: each hour's load is served in its hour, with any power between the least and the most that
it was seen to take, and all hours together take a given energy. No cap by the hour does better.

*Shifted*: a part of the load may wait. With L_h the load that arrives in hour h, of which a share d
may be served up to w hours later, and P = a + b L the power of the fleet, minimise the grams of
b L over all ways to serve it below the fleet's capacity; the idle power a emits whatever is done.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

JOULES_PER_KILOWATT_HOUR = 3.6e6


class LoadedPower(NamedTuple):
    """Power over load.

    Attributes:
        idle_watts: a.
        watts_per_load: b, for one unit of load.
    """

    idle_watts: float
    watts_per_load: float


def fitted(loads: Sequence[float], watts: Sequence[float]) -> LoadedPower:
    """Least squares of hourly figures."""
    slope, base = np.polyfit(np.asarray(loads), np.asarray(watts), 1)
    return LoadedPower(float(base), float(slope))


def timed_grams(
    least_joules: Sequence[float],
    most_joules: Sequence[float],
    grams_per_kilowatt_hour: Sequence[float],
    *,
    joules: float,
) -> float:
    """The fewest gCO2e with which the hours can take `joules` together.

    Raises:
        ValueError: They cannot: it is below the sum of the least or above that of the most.
    """
    low, high = np.asarray(least_joules), np.asarray(most_joules)
    # An hour that took no more at full clocks than at the lowest has nothing to choose.
    low = np.minimum(low, high)
    intensity = np.asarray(grams_per_kilowatt_hour) / JOULES_PER_KILOWATT_HOUR
    found = linprog(
        intensity,
        A_eq=[np.ones(len(low))],
        b_eq=[joules],
        bounds=list(zip(low, high, strict=True)),
    )
    if not found.success:
        raise ValueError(
            f"{joules:.0f} J are not between {low.sum():.0f} and {high.sum():.0f} J of all hours"
        )
    return float(found.fun)


def shifted_ratio(
    loads: Sequence[float],
    grams_per_kilowatt_hour: Sequence[float],
    power: LoadedPower,
    *,
    deferrable_ratio: float,
    window_hours: int,
    capacity: float,
) -> float:
    """Grams of the best shifting over grams of none, idle power included.

    Args:
        loads: Of each hour.
        grams_per_kilowatt_hour: Of each hour.
        power: Of the fleet.
        deferrable_ratio: Share of each hour's load that may wait.
        window_hours: How long at most.
        capacity: Most load that an hour can serve.
    """
    load, intensity = np.asarray(loads), np.asarray(grams_per_kilowatt_hour)
    hours = len(load)
    pairs = [
        (source, target)
        for source in range(hours)
        for target in range(source, min(hours, source + window_hours + 1))
    ]
    sources, targets = (np.array(one) for one in zip(*pairs, strict=True))
    ones, columns = np.ones(len(pairs)), np.arange(len(pairs))
    found = linprog(
        intensity[targets] * power.watts_per_load,
        A_eq=coo_matrix((ones, (sources, columns)), shape=(hours, len(pairs))),
        b_eq=deferrable_ratio * load,
        A_ub=coo_matrix((ones, (targets, columns)), shape=(hours, len(pairs))),
        b_ub=np.maximum(0.0, capacity - (1.0 - deferrable_ratio) * load),
        bounds=(0, None),
        method="highs",
    )
    if not found.success:
        raise ValueError(f"a load of {load.max():g} does not fit into {capacity:g}")
    fixed = power.idle_watts + power.watts_per_load * (1.0 - deferrable_ratio) * load
    before = float(intensity @ (power.idle_watts + power.watts_per_load * load))
    return (float(intensity @ fixed) + float(found.fun)) / before
