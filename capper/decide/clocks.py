"""The clock at which a replica makes a token for the fewest joules while its objective holds.

Energy per token over the clock is U-shaped: static watts are paid for longer at a low clock,
voltage is paid for at a high one. The energy-optimal clock lies at or above the knee.
"""

import math
from dataclasses import dataclass

from capper.decide.clock_model import ClockCurve
from fleet.physics import Mix, tpot_seconds
from fleet.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A replica at a steady batch.

    Attributes:
        profile: Time and power at full clock.
        mix: Of its requests.
        batch: Running requests (> 0).
        tpot_limit_seconds: Objective times margin.
    """

    profile: Profile
    mix: Mix
    batch: float
    tpot_limit_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChoice:
    """What was found.

    Attributes:
        hertz: The clock; that of `base_hertz` when nothing lower is better.
        joules_per_token: There, whole power and not only dynamic.
        saved_ratio: Part of the joules per token at full clock.
        tpot_seconds: There.
        guarded: Whether the objective, and not energy, ended the search.
    """

    hertz: float
    joules_per_token: float
    saved_ratio: float
    tpot_seconds: float
    guarded: bool


def energy_optimal_clock(
    curve: ClockCurve,
    point: OperatingPoint,
    *,
    step_hertz: float = 15e6,
    max_watts: float | None = None,
    time_share_high: float | None = None,
) -> ClockChoice:
    """Search the steps from full clock down to the knee.

    Args:
        curve: Of the backend.
        point: Where it runs.
        step_hertz: Resolution of the board.
        max_watts: Cap of this replica; clocks above it are out, full clock included. Where none
            fits, the knee is taken.
        time_share_high: Upper end of what phi may be; the objective is guarded with it, since the
            share of decode that follows the clock is not known well (0 to 0.3).
    """
    base_watts = point.profile.power.decode_watts(point.batch)
    base_tpot = tpot_seconds(
        point.profile,
        batch=point.batch,
        kv_tokens=point.batch * point.mix.resident_tokens,
        mix=point.mix,
    )
    guard = curve.time_share if time_share_high is None else time_share_high

    def joules(hertz: float) -> float:
        seconds = base_tpot * curve.time_ratio(hertz)
        return curve.watts(hertz, base_watts=base_watts) * seconds / point.batch

    def kept(hertz: float) -> bool:
        slower = 1.0 - guard + guard * curve.base_hertz / hertz
        return base_tpot * slower <= point.tpot_limit_seconds

    def fits(hertz: float) -> bool:
        return max_watts is None or curve.watts(hertz, base_watts=base_watts) <= max_watts

    steps = _steps(curve, step_hertz)
    allowed = [hertz for hertz in steps if fits(hertz)] or [steps[-1]]
    # The cap is kept before the objective: it feeds breakers.
    served = [hertz for hertz in allowed if kept(hertz)]
    best = min(served or allowed[:1], key=joules)
    unguarded = min(allowed, key=joules)
    return ClockChoice(
        hertz=best,
        joules_per_token=joules(best),
        saved_ratio=1.0 - joules(best) / joules(curve.base_hertz),
        tpot_seconds=base_tpot * curve.time_ratio(best),
        guarded=best > unguarded,
    )


def _steps(curve: ClockCurve, step_hertz: float) -> list[float]:
    """Full clock, then every step down to the knee, the highest first."""
    knee = min(curve.knee_hertz, curve.base_hertz)
    count = math.floor((curve.base_hertz - knee) / step_hertz + 1e-9)
    return [curve.base_hertz - number * step_hertz for number in range(count + 1)]
