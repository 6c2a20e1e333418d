"""Reshapes when arrivals come by stretching and squeezing time. Pure, streaming, composable.

A warp keeps every arrival, their order and their sizes; only due times move, by a function that
never falls. The rate at an instant is multiplied by how fast the trace is played then.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from loadtest.arrivals import Arrival

DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0

_SOLVE_STEPS = 60


def step(
    arrivals: Iterable[Arrival], *, start_seconds: float, duration_seconds: float, factor: float
) -> Iterator[Arrival]:
    """Play the trace `factor` times as fast from `start_seconds` on, for `duration_seconds`.

    Arrivals are squeezed together, not doubled: the step shows real neighbours, and what follows
    comes (factor - 1) * duration earlier, so the trace ends that much sooner.

    Args:
        arrivals: In order of time.
        start_seconds: 0 or more.
        duration_seconds: Of the step as it is seen, above 0.
        factor: Above 0; below 1 it is a lull.

    Raises:
        ValueError: An argument is outside its range.
    """
    _require("start_seconds", start_seconds, ok=start_seconds >= 0, allowed="0 or more")
    for name, value in (("duration_seconds", duration_seconds), ("factor", factor)):
        _require(name, value, ok=value > 0, allowed="above 0")
    played_seconds = factor * duration_seconds

    def moved(at_seconds: float) -> float:
        within_seconds = at_seconds - start_seconds
        if within_seconds <= 0:
            return at_seconds
        if within_seconds < played_seconds:
            return start_seconds + within_seconds / factor
        return at_seconds - (played_seconds - duration_seconds)

    return _warped(arrivals, moved)


def diurnal_sinusoid(
    arrivals: Iterable[Arrival],
    *,
    swing_ratio: float,
    peak_seconds: float,
    period_seconds: float = DAY_SECONDS,
) -> Iterator[Arrival]:
    """Multiply the rate by 1 + swing * cos(2 pi (t - peak) / period).

    Counts and mean rate over whole periods stay as they are.

    Args:
        arrivals: In order of time.
        swing_ratio: 0 (flat) to 1 (the night is silent).
        peak_seconds: When the rate is highest.
        period_seconds: Above 0.

    Raises:
        ValueError: An argument is outside its range.
    """
    _require("swing_ratio", swing_ratio, ok=0 <= swing_ratio <= 1, allowed="from 0 to 1")
    _require("peak_seconds", peak_seconds, ok=True, allowed="a number")
    _require("period_seconds", period_seconds, ok=period_seconds > 0, allowed="above 0")
    turns = 2 * math.pi / period_seconds
    start = math.sin(-turns * peak_seconds)

    def moved(at_seconds: float) -> float:
        periods, played_seconds = divmod(at_seconds, period_seconds)
        # Solve t + swing / turns * (sin(turns (t - peak)) - start) = played for t in one period.
        low, high = 0.0, period_seconds
        guess = played_seconds
        for _ in range(_SOLVE_STEPS):
            angle = turns * (guess - peak_seconds)
            excess = guess + swing_ratio / turns * (math.sin(angle) - start) - played_seconds
            if abs(excess) <= math.ulp(period_seconds):
                break
            low, high = (low, guess) if excess > 0 else (guess, high)
            rate = 1.0 + swing_ratio * math.cos(angle)
            guess = guess - excess / rate if rate > 0 else math.inf
            # Newton's step where it stays in the bracket, else halve it: the rate may touch 0.
            if not low <= guess <= high:
                guess = (low + high) / 2
        return periods * period_seconds + guess

    return _warped(arrivals, moved)


def diurnal_weights(
    arrivals: Iterable[Arrival], *, weights: Sequence[float], slot_seconds: float = HOUR_SECONDS
) -> Iterator[Arrival]:
    """Multiply the rate by a repeating pattern: `weights[i]` over their mean in slot i.

    Counts and mean rate over whole patterns stay as they are.

    Args:
        arrivals: In order of time.
        weights: Of any scale, say requests in each hour of a day; none negative, not all 0.
        slot_seconds: Length of a slot, above 0.

    Raises:
        ValueError: An argument is outside its range.
    """
    _require("slot_seconds", slot_seconds, ok=slot_seconds > 0, allowed="above 0")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
        raise ValueError(
            f"weights are {list(weights)}, they must be finite, not negative and not all 0"
        )
    period_seconds = slot_seconds * len(weights)
    per_weight_seconds = period_seconds / sum(weights)
    # Until when the trace is played in each slot, and the last slot that plays anything.
    bounds = [0.0, *accumulate(weight * per_weight_seconds for weight in weights)]
    last = max(index for index, weight in enumerate(weights) if weight > 0)

    def moved(at_seconds: float) -> float:
        periods, played_seconds = divmod(at_seconds, period_seconds)
        slot = min(bisect_right(bounds, played_seconds) - 1, last)
        into_ratio = (played_seconds - bounds[slot]) / (bounds[slot + 1] - bounds[slot])
        return periods * period_seconds + (slot + min(into_ratio, 1.0)) * slot_seconds

    return _warped(arrivals, moved)


def _warped(arrivals: Iterable[Arrival], moved: Callable[[float], float]) -> Iterator[Arrival]:
    latest_seconds = -math.inf
    for arrival in arrivals:
        # Rounding may turn two arrivals a few ulps apart around; they get one time.
        latest_seconds = max(latest_seconds, moved(arrival.at_seconds))
        yield arrival._replace(at_seconds=latest_seconds)


def _require(name: str, value: float, *, ok: bool, allowed: str) -> None:
    if not (math.isfinite(value) and ok):
        raise ValueError(f"{name} is {value}, it must be {allowed}")
