"""The last rung: a domain that stays far over its cap refuses work, sheddable requests first."""

from dataclasses import replace

from capper.decide.state import DomainState
from capper.decide.tuning import Brakes, Thresholds


def step_brake(
    ratio: float | None,
    memory: DomainState,
    thresholds: Thresholds,
    brakes: Brakes,
    *,
    now_seconds: float,
) -> tuple[int, DomainState]:
    """The level to be in force (0 nothing, 1 sheddable, 2 all), and the timers.

    Args:
        ratio: Watts over the cap; None while blind: held.
        memory: Level in force and timers.
        thresholds: The brake is let go below the way out of Restrict.
        brakes: When it acts.
        now_seconds: Epoch time.
    """
    level = memory.shed_level
    if ratio is None:
        return level, replace(memory, braking_since_seconds=None, calm_since_seconds=None)
    over = ratio >= brakes.ratio
    calm = ratio < thresholds.restrict_leave_ratio
    braking_since = _since(memory.braking_since_seconds, over, now_seconds)
    calm_since = _since(memory.calm_since_seconds, calm, now_seconds)
    if braking_since is not None:
        over_seconds = now_seconds - braking_since
        if over_seconds >= 2.0 * brakes.after_seconds:
            level = 2
        elif over_seconds >= brakes.after_seconds:
            level = max(level, 1)
    elif calm_since is not None and level and now_seconds - calm_since >= brakes.hold_seconds:
        level, calm_since = level - 1, now_seconds
    return level, replace(
        memory, braking_since_seconds=braking_since, calm_since_seconds=calm_since
    )


def _since(before_seconds: float | None, holds: bool, now_seconds: float) -> float | None:
    if not holds:
        return None
    return now_seconds if before_seconds is None else before_seconds
