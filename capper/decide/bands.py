"""Bands with hysteresis and dwell: entered at once, left late.

Each threshold is a latch of its own; the band is the highest that is shut. So a band is never
looser for more watts, whatever came before.
"""

import math

from capper.decide.state import Band, Latch, Latches
from capper.decide.tuning import Pacing, Thresholds


def band_of(latches: Latches) -> Band:
    """The highest latch that is shut."""
    return Band(
        max(
            (number for number, latch in enumerate(latches, 1) if latch.since_seconds is not None),
            default=0,
        )
    )


def step_latches(
    latches: Latches,
    ratio: float,
    thresholds: Thresholds,
    pacing: Pacing,
    *,
    new_sample: bool,
    now_seconds: float,
) -> Latches:
    """The latches after one more measurement.

    Args:
        latches: Before.
        ratio: Measured over allowed.
        thresholds: Ways in and out.
        pacing: Dwell.
        new_sample: Whether this was measured since the last call: only such ones count for leaving.
        now_seconds: Epoch time.
    """
    watch, restrict, shed = latches
    ways = thresholds

    def step(latch: Latch, enter: float, leave: float) -> Latch:
        return _step(latch, ratio, (enter, leave), pacing, new_sample, now_seconds)

    return (
        step(watch, ways.watch_ratio, ways.watch_leave_ratio),
        step(restrict, ways.restrict_ratio, ways.restrict_leave_ratio),
        step(shed, ways.shed_ratio, ways.shed_leave_ratio),
    )


def interrupted(latches: Latches) -> Latches:
    """The latches when there was no measurement: shut ones stay, their way out begins anew."""
    watch, restrict, shed = latches
    return (Latch(watch.since_seconds), Latch(restrict.since_seconds), Latch(shed.since_seconds))


def ratio_of(measured: float, allowed: float) -> float:
    """Measured over allowed; a limit of nothing is exceeded by anything."""
    if allowed > 0.0:
        return measured / allowed
    return math.inf if measured > 0.0 else 1.0


def _step(
    latch: Latch,
    ratio: float,
    ways: tuple[float, float],
    pacing: Pacing,
    new_sample: bool,
    now_seconds: float,
) -> Latch:
    enter, leave = ways
    if latch.since_seconds is None:
        return Latch(now_seconds) if ratio >= enter else latch
    if ratio >= leave:
        return Latch(latch.since_seconds)
    since = now_seconds if latch.below_since_seconds is None else latch.below_since_seconds
    samples = latch.below_samples + (1 if new_sample else 0)
    if samples >= pacing.leave_samples and now_seconds - since >= pacing.dwell_seconds:
        return Latch()
    return Latch(latch.since_seconds, since, samples)
