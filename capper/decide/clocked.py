"""A profile at another clock: what the router has to believe from the moment a lock holds."""

import math
from dataclasses import dataclass, replace

from capper.decide.clock_model import ClockCurve
from fleet.physics import Mix, interference_seconds_per_request, tpot_seconds
from fleet.profile import Profile

_BISECTIONS = 30
_CLOCKS_TRIED = 6
# No board runs slower than this part of its full clock, whatever its limit asks.
_LEAST_CLOCK_RATIO = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseClocks:
    """How the two phases of a replica follow its clock; see `ClockCurve` for the formulas.

    Prompts are compute-bound: phi 0.88 and x 1 (Perseus' A100 sweeps). Decodes are bound by memory:
    phi 0.1 and x 0.5 are assumed from published optima, there is no licensed sweep.

    Attributes:
        base_hertz: Clock without a lock.
        knee_hertz: Below it little is saved.
        static_watts: Of one replica, at any clock.
        prompt_time_share: phi of prompts.
        prompt_power_share: x of prompts.
        decode_time_share: phi of decodes.
        decode_power_share: x of decodes.
        v_min: Lowest voltage over the one at full clock.
        v_slope: Fall of voltage with the clock.
    """

    base_hertz: float
    knee_hertz: float
    static_watts: float
    prompt_time_share: float = 0.88
    prompt_power_share: float = 1.0
    decode_time_share: float = 0.1
    decode_power_share: float = 0.5
    v_min: float = 0.81
    v_slope: float = 0.84

    @property
    def prompts(self) -> ClockCurve:
        """While computing prompts."""
        return self._curve(self.prompt_time_share, self.prompt_power_share)

    @property
    def decodes(self) -> ClockCurve:
        """While only decoding."""
        return self._curve(self.decode_time_share, self.decode_power_share)

    def mixed(self, prompt_ratio: float) -> ClockCurve:
        """Of a replica that computes prompts for this part of its busy time, 0 to 1."""
        part = min(1.0, max(0.0, prompt_ratio))
        return self._curve(
            part * self.prompt_time_share + (1.0 - part) * self.decode_time_share,
            part * self.prompt_power_share + (1.0 - part) * self.decode_power_share,
        )

    def _curve(self, time_share: float, power_share: float) -> ClockCurve:
        return ClockCurve(
            base_hertz=self.base_hertz,
            knee_hertz=self.knee_hertz,
            time_share=time_share,
            power_share=power_share,
            static_watts=self.static_watts,
            v_min=self.v_min,
            v_slope=self.v_slope,
        )


def prompt_ratio(profile: Profile, mix: Mix, *, batch: float) -> float:
    """Part of a busy replica's time that goes into prompts, at a steady batch."""
    prompt_seconds = batch * interference_seconds_per_request(profile, mix)
    step_seconds = profile.step.decode_seconds(batch, batch * mix.resident_tokens)
    return prompt_seconds / (prompt_seconds + step_seconds)


def profile_at_clock(
    profile: Profile, clocks: PhaseClocks, hertz: float, *, limit_watts: float = math.inf
) -> Profile:
    """Step times and watts at a clock and under a power limit, from those at full clock.

    A limit acts in each phase by itself: the board lowers its clock only in the steps that would
    draw more. Decodes are taken to be as slow as at the largest batch, which is limited most: a
    router that believes a little too little spreads a little too much, the other way round it
    breaks the objective. Idle power is left as it is.

    Args:
        profile: At full clock, without a limit.
        clocks: Of the backend.
        hertz: Lock; the full clock for none.
        limit_watts: Of one replica; infinite for none.
    """
    decodes, prompts = clocks.decodes, clocks.prompts
    step, power = profile.step, profile.power
    top_watts = power.floor_watts + power.span_watts
    slower = decodes.time_ratio(_clock_within(decodes, hertz, limit_watts, top_watts))
    prompt_slower = prompts.time_ratio(
        _clock_within(prompts, hertz, limit_watts, power.prefill_watts)
    )

    def limited(curve: ClockCurve, base_watts: float) -> float:
        return min(limit_watts, curve.watts(hertz, base_watts=base_watts))

    floor_watts = max(power.idle_watts, limited(decodes, power.floor_watts))
    full_watts = limited(decodes, top_watts)
    prefill_watts = limited(prompts, power.prefill_watts)
    return replace(
        profile,
        step=replace(
            step,
            base_seconds=step.base_seconds * slower,
            per_request_seconds=step.per_request_seconds * slower,
            per_kv_token_seconds=step.per_kv_token_seconds * slower,
            per_prompt_token_seconds=step.per_prompt_token_seconds * prompt_slower,
            per_prompt_token_squared_seconds=(
                step.per_prompt_token_squared_seconds * prompt_slower
            ),
        ),
        power=replace(
            power,
            floor_watts=floor_watts,
            span_watts=max(0.0, full_watts - floor_watts),
            prefill_watts=max(floor_watts, prefill_watts),
        ),
    )


def _clock_within(curve: ClockCurve, hertz: float, limit_watts: float, base_watts: float) -> float:
    """The clock at which a board runs in one phase: its lock, or what the limit leaves of it."""
    least = _LEAST_CLOCK_RATIO * curve.base_hertz
    return min(hertz, max(least, curve.hertz_within(limit_watts, base_watts=base_watts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPoint:
    """A replica at a clock, filled to its objective as a router that packs fills it.

    Attributes:
        hertz: The clock.
        batch: The largest that keeps the objective; at least 1.
        joules_per_token: Whole power, prompts included.
        requests_per_second: What it carries then.
    """

    hertz: float
    batch: float
    joules_per_token: float
    requests_per_second: float


def packed_point(
    profile: Profile,
    clocks: PhaseClocks,
    mix: Mix,
    hertz: float,
    *,
    tpot_limit_seconds: float,
    max_batch: float = 256.0,
) -> PackedPoint:
    """What a clock comes to when the batch follows it.

    A clock that is judged at the present batch never looks affordable where a router packs up to
    the objective; at a lower clock it packs a little less.

    Args:
        profile: At full clock.
        clocks: Of the backend.
        mix: Of its requests.
        hertz: The clock.
        tpot_limit_seconds: Objective times margin.
        max_batch: Of the engine; KV capacity limits it, too.
    """
    there = profile_at_clock(profile, clocks, hertz)
    return _packed(there, mix, hertz, tpot_limit_seconds=tpot_limit_seconds, max_batch=max_batch)


def packed_tokens_per_joule(profile: Profile, mix: Mix, *, tpot_limit_seconds: float) -> float:
    """Tokens per joule of a replica that is filled to its objective as it is now.

    What a backend is worth to a fleet that is short of watts. The ratio that is measured says more
    of how full its replicas happen to be: a better board that waits for a burst looks worse.
    """
    point = _packed(profile, mix, 0.0, tpot_limit_seconds=tpot_limit_seconds)
    return 1.0 / point.joules_per_token


def _packed(
    there: Profile,
    mix: Mix,
    hertz: float,
    *,
    tpot_limit_seconds: float,
    max_batch: float = 256.0,
) -> PackedPoint:
    low, high = 1.0, max(1.0, min(max_batch, there.kv_capacity_tokens / mix.resident_tokens))
    if _tpot(there, mix, high) <= tpot_limit_seconds:
        low = high
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (
            (middle, high)
            if _tpot(there, mix, middle) <= tpot_limit_seconds
            else (
                low,
                middle,
            )
        )
    seconds = _tpot(there, mix, low)
    part = prompt_ratio(there, mix, batch=low)
    watts = part * there.power.prefill_watts + (1.0 - part) * there.power.decode_watts(low)
    return PackedPoint(
        hertz=hertz,
        batch=low,
        joules_per_token=watts * seconds / low,
        requests_per_second=low / (seconds * max(mix.output_tokens, 1.0)),
    )


def packed_points(
    profile: Profile,
    clocks: PhaseClocks,
    mix: Mix,
    *,
    tpot_limit_seconds: float,
    step_hertz: float = 15e6,
) -> tuple[PackedPoint, ...]:
    """The clocks worth setting: from the one of the fewest joules per token up to the full one.

    Each carries more than the one before.
    """
    count = int((clocks.base_hertz - clocks.knee_hertz) / step_hertz + 1e-9)
    steps = range(count, -1, -max(1, count // _CLOCKS_TRIED))
    points = [
        packed_point(
            profile,
            clocks,
            mix,
            clocks.base_hertz - number * step_hertz,
            tpot_limit_seconds=tpot_limit_seconds,
        )
        for number in (*steps, 0)
    ]
    best = min(points, key=lambda point: point.joules_per_token)
    return tuple(point for point in points if point.hertz >= best.hertz)


def _tpot(profile: Profile, mix: Mix, batch: float) -> float:
    return tpot_seconds(profile, batch=batch, kv_tokens=batch * mix.resident_tokens, mix=mix)
