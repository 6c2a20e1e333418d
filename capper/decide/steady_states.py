"""Steady states of a room from its history: what the matrix is learned from. Pure."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from capper.decide.heat_learning import HeatSample

Series = Mapping[float, float]
"""Values by time, on a grid that all series share."""

_CELSIUS = (0.0, 120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyRules:
    """What counts as steady.

    Attributes:
        window_seconds: Nothing moved for so long: inlets settle within 10 to 20 minutes.
        watts: A rack's power stayed within this of its mean, or within `ratio`.
        ratio: See above.
        kelvin: The supply stayed within this of its mean.
    """

    window_seconds: float = 1200.0
    watts: float = 300.0
    ratio: float = 0.05
    kelvin: float = 0.5


def steady_states(
    racks: Sequence[str],
    watts: Mapping[str, Series],
    inlets: Mapping[str, Series],
    supply: Series,
    rules: SteadyRules | None = None,
) -> list[HeatSample]:
    """One sample for each window in which all was steady; windows do not overlap.

    Power and supply are the means of the window, inlets those of its last quarter, in which they
    have settled. A window with a gap or a value that cannot be is left out.

    Args:
        racks: In the order of the samples' entries.
        watts: By rack.
        inlets: Celsius by rack.
        supply: Celsius.
        rules: Limits.
    """
    rules = rules or SteadyRules()
    times = sorted(supply)
    if len(times) < 2:  # noqa: PLR2004 - a step needs two
        return []
    step = min(after - before for before, after in itertools.pairwise(times))
    count = max(2, math.ceil(rules.window_seconds / step) + 1)
    samples, start = [], 0
    while start + count <= len(times):
        window = times[start : start + count]
        sample = _sample(racks, watts, inlets, supply, window, rules)
        if sample is not None and window[-1] - window[0] <= rules.window_seconds + 2 * step:
            samples.append(sample)
            start += count
        else:
            start += 1
    return samples


def _sample(
    racks: Sequence[str],
    watts: Mapping[str, Series],
    inlets: Mapping[str, Series],
    supply: Series,
    window: Sequence[float],
    rules: SteadyRules,
) -> HeatSample | None:
    air = _mean_if_still([supply[time] for time in window], rules.kelvin)
    if air is None or not _CELSIUS[0] < air < _CELSIUS[1]:
        return None
    settled = window[-max(1, len(window) // 4) :]
    powers, celsius = [], []
    for rack in racks:
        drawn = _values(watts.get(rack, {}), window)
        warm = _values(inlets.get(rack, {}), settled)
        if drawn is None or warm is None or min(drawn) < 0.0:
            return None
        if not all(_CELSIUS[0] < one < _CELSIUS[1] for one in warm):
            return None
        room = max(rules.watts, rules.ratio * math.fsum(drawn) / len(drawn))
        power = _mean_if_still(drawn, room)
        if power is None:
            return None
        powers.append(power)
        celsius.append(math.fsum(warm) / len(warm))
    return HeatSample(air, powers, celsius)


def _values(series: Series, times: Sequence[float]) -> list[float] | None:
    found = [series.get(time, math.nan) for time in times]
    return found if all(map(math.isfinite, found)) else None


def _mean_if_still(values: Sequence[float], room: float) -> float | None:
    if not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(values) / len(values)
    return mean if all(abs(value - mean) <= room for value in values) else None
