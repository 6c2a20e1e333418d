"""Watts that each rack should draw for the room to be cheap to cool: MinHR, and ours, `zbd`.

Formulas and sources: docs/placement.md.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from fleet.thermal import ThermalModel

# A rack that sends nothing to any inlet would get all watts of the room.
_LEAST_RECIRCULATED_RATIO = 1e-3
_ROUNDING = 1e-9


class HeatRun(NamedTuple):
    """Sums over a room in one run.

    Attributes:
        heat_watts: Q: of rho f c_p (T_out - T_in), what the racks give off.
        recirculated_watts: dQ: of rho f c_p (T_in - T_sup), what comes back to inlets.
    """

    heat_watts: float
    recirculated_watts: float


def recirculation_factor(reference: HeatRun, loaded: HeatRun) -> float | None:
    """HRF_j = (Q_j - Q_ref) / (dQ_j - dQ_ref) (Moore et al. 2005), from two measured runs.

    Args:
        reference: All racks at their reference load.
        loaded: With more heat in rack j.

    Returns:
        Higher is better; None where the runs do not say: no heat was added, or none came back.
    """
    added = loaded.heat_watts - reference.heat_watts
    returned = loaded.recirculated_watts - reference.recirculated_watts
    if not (math.isfinite(added) and math.isfinite(returned) and added > 0 and returned > 0):
        return None
    return added / returned


def recirculation_factors(
    model: ThermalModel, airflows_m3_per_second: Mapping[str, float] | None = None
) -> dict[str, float]:
    """HRF of every rack from D and the air flows, up to a common factor.

    w watts in rack j bring rho c_p w sum_i f_i D_ij back to inlets: HRF_j ~ 1 / sum_i f_i D_ij,
    here 1 for the rack that sends most and 1000 at most.

    Args:
        model: With D.
        airflows_m3_per_second: By rack, above 0; one flow for all where one is missing.
    """
    flows = airflows_m3_per_second or {}
    whole = all(rack in flows for rack in model.racks)
    rows = [
        [kelvin * (flows[rack] if whole else 1.0) for kelvin in row]
        for rack, row in zip(model.racks, model.recirculation_kelvin_per_watt, strict=True)
    ]
    sums = [math.fsum(column) for column in zip(*rows, strict=True)]
    most = max(sums)
    least = most * _LEAST_RECIRCULATED_RATIO
    if least <= 0.0:
        return dict.fromkeys(model.racks, 1.0)
    return {rack: most / max(least, sent) for rack, sent in zip(model.racks, sums, strict=True)}


def budgets_watts(
    factors: Sequence[float],
    *,
    total_watts: float,
    least_watts: Sequence[float],
    most_watts: Sequence[float],
) -> tuple[float, ...]:
    """Shares of the total in proportion to the factors, clamped, the rest redistributed.

    The one scale s at which sum_j clamp(s factor_j, least_j, most_j) is the total, which is where
    clamping and redistributing ends.

    Args:
        factors: Above 0, one per rack.
        total_watts: From the sum of `least_watts` to that of `most_watts`.
        least_watts: Of each rack, 0 and more.
        most_watts: Of each rack, not below its least.

    Raises:
        ValueError: The total does not fit between the bounds.
    """
    if not math.fsum(least_watts) <= total_watts * (1 + _ROUNDING):
        raise ValueError(f"{total_watts:g} W is less than the racks' least together")
    if not total_watts <= math.fsum(most_watts) * (1 + _ROUNDING):
        raise ValueError(f"{total_watts:g} W is more than the racks' most together")
    bounds = list(zip(factors, least_watts, most_watts, strict=True))

    def shares(scale: float) -> tuple[float, ...]:
        return tuple(min(most, max(least, scale * factor)) for factor, least, most in bounds)

    # The sum grows with the scale and is straight between the scales at which a clamp sets in.
    knees = sorted({0.0, *(w / factor for factor, *pair in bounds for w in pair)})
    low = max((s for s in knees if math.fsum(shares(s)) <= total_watts), default=0.0)
    high = min((s for s in knees if s > low), default=low)
    start, end = math.fsum(shares(low)), math.fsum(shares(high))
    part = (total_watts - start) / (end - start) if end > start else 0.0
    return shares(low + (high - low) * min(1.0, max(0.0, part)))


def analog_factors(outlets_celsius: Mapping[str, float]) -> dict[str, float]:
    """OnePassAnalog: P_i / P_ref = T_ref / T_i, with T_ref the mean outlet temperature.

    Args:
        outlets_celsius: Above 0, by rack, in the reference run; not empty.
    """
    reference = math.fsum(outlets_celsius.values()) / len(outlets_celsius)
    return {rack: reference / celsius for rack, celsius in outlets_celsius.items()}


def after_poaching(
    left_watts: Mapping[str, float], nearness: Mapping[tuple[str, str], float]
) -> dict[str, float]:
    """What is left of each budget once racks over theirs have taken from their neighbours.

    A whole replica rarely fits a budget to the watt. What rack j is over, its neighbours i give in
    proportion to nearness_ij times what they have left, and none gives more than it has: so the
    heat of a neighbourhood, not of each rack, follows the budgets.

    Args:
        left_watts: Budget less draw, by rack; below 0 where it is over.
        nearness: From 0 (far) to 1, by (rack over, neighbour); a missing pair is 0.
    """
    spare = {rack: max(0.0, watts) for rack, watts in left_watts.items()}
    given: dict[str, list[float]] = {rack: [] for rack in left_watts}
    for over, watts in left_watts.items():
        if watts >= 0.0:
            continue
        pulls = {rack: nearness.get((over, rack), 0.0) * has for rack, has in spare.items()}
        pull = math.fsum(pulls.values())
        if pull > 0.0:
            for rack, one in pulls.items():
                given[rack].append(-watts * one / pull)
    return {
        rack: watts - min(math.fsum(given[rack]), spare[rack]) if watts > 0.0 else watts
        for rack, watts in left_watts.items()
    }


@lru_cache(maxsize=4)  # asked for each pod, and the same for as long as the model is
def nearness_of(model: ThermalModel) -> dict[tuple[str, str], float]:
    """How near racks are by the air they share: (D_ij + D_ji) / 2 over the largest such mean."""
    rows = model.recirculation_kelvin_per_watt
    size = range(len(rows))
    means = {(i, j): (rows[i][j] + rows[j][i]) / 2.0 for i in size for j in size if i != j}
    largest = max(means.values(), default=0.0)
    if largest <= 0.0:
        return {}
    return {(model.racks[i], model.racks[j]): mean / largest for (i, j), mean in means.items()}
