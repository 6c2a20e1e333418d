"""Energy and latency of a replica at an operating point (DESIGN section 3).

All energies are dynamic: above the idle power that is paid anyway.
"""

import math
from dataclasses import dataclass

from fleet.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The present request mix of a model, as means.

    Attributes:
        prompt_tokens: Length of a prompt, cached part included (what it occupies in KV).
        computed_prompt_tokens: The part that is not found in the prefix cache.
        output_tokens: Tokens generated per request (at least 1).
    """

    prompt_tokens: float
    computed_prompt_tokens: float
    output_tokens: float

    @property
    def resident_tokens(self) -> float:
        """KV tokens of a request halfway through its answer, its mean over its life."""
        return self.prompt_tokens + 0.5 * self.output_tokens


def step_dynamic_joules(profile: Profile, *, batch: float, kv_tokens: float) -> float:
    """W(B) = (P(B) - P_idle) * T(B, KV); W(0) = 0."""
    if batch <= 0.0:
        return 0.0
    power = profile.power
    return (power.decode_watts(batch) - power.idle_watts) * profile.step.decode_seconds(
        batch, kv_tokens
    )


def prefill_dynamic_joules(
    profile: Profile, *, new_tokens: float, cached_tokens: float = 0.0
) -> float:
    """(P_prefill - P_idle) * t_prefill(n)."""
    power = profile.power
    return (power.prefill_watts - power.idle_watts) * profile.step.prompt_seconds(
        new_tokens, cached_tokens=cached_tokens
    )


def interference_seconds_per_request(profile: Profile, mix: Mix) -> float:
    """What each running request adds to every iteration through the prompts that arrive.

    In steady state B running requests of o output tokens each leave, and are replaced, at a rate
    of B / o per iteration, so an iteration carries that many prompts (facts/simulation.md 0.4:
    without this term attainment fell to 0.3).
    """
    return profile.step.prompt_seconds(mix.computed_prompt_tokens) / max(mix.output_tokens, 1.0)


def tpot_seconds(profile: Profile, *, batch: float, kv_tokens: float, mix: Mix) -> float:
    """Time per output token at a batch: T(B, KV) plus prefill interference."""
    return profile.step.decode_seconds(batch, kv_tokens) + batch * interference_seconds_per_request(
        profile, mix
    )


def tpot_slope_seconds(profile: Profile, mix: Mix) -> float:
    """D TPOT / d B when every request holds the mix's mean KV."""
    step = profile.step
    return (
        step.per_request_seconds
        + step.per_kv_token_seconds * mix.resident_tokens
        + interference_seconds_per_request(profile, mix)
    )


def interference_swing_seconds(
    profile: Profile, mix: Mix, *, batch: float, output_tokens: float
) -> float:
    """Standard deviation, per output token, of the prefill that a request meets while it decodes.

    The prompts that arrive at its replica while it writes o tokens are Poisson with mean
    B * o / o_mean, so a short answer, or one on a quiet replica, meets a multiple of the mean as
    easily as nothing.
    """
    prompts = batch * output_tokens / max(mix.output_tokens, 1.0)
    prompt_seconds = profile.step.prompt_seconds(mix.computed_prompt_tokens)
    return prompt_seconds * math.sqrt(prompts) / max(output_tokens, 1.0)


def largest_batch(
    profile: Profile,
    mix: Mix,
    *,
    tpot_limit_seconds: float,
    max_running_requests: float,
    swing_deviations: float = 0.0,
) -> float:
    """B*: the largest batch that keeps TPOT, KV room and the engine's own limit; at least 1.

    With slope s and swing c = z * swing at B = 1, base + s B + c sqrt(B) = limit is a quadratic
    in sqrt(B). Never below 1: a replica that cannot keep the objective even alone still has an
    operating point, which makes it the dearest and the latest instead of undefined.

    Args:
        profile: Of the replica.
        mix: The requests it serves.
        tpot_limit_seconds: Objective times margin.
        max_running_requests: The engine's limit.
        swing_deviations: z, how many deviations of interference must fit below the limit.
    """
    slope_seconds = max(tpot_slope_seconds(profile, mix), 1e-12)
    swing_seconds = swing_deviations * interference_swing_seconds(
        profile, mix, batch=1.0, output_tokens=mix.output_tokens
    )
    room_seconds = max(0.0, tpot_limit_seconds - profile.step.base_seconds)
    root = (
        math.sqrt(swing_seconds * swing_seconds + 4.0 * slope_seconds * room_seconds)
        - swing_seconds
    ) / (2.0 * slope_seconds)
    by_memory = profile.kv_capacity_tokens / max(mix.resident_tokens, 1.0)
    return max(1.0, min(root * root, by_memory, max_running_requests))


def decode_joules_per_token(profile: Profile, mix: Mix, *, batch: float) -> float:
    """W(B) / B at the mix's mean KV: dynamic joules of one output token at a steady batch."""
    kv_tokens = batch * mix.resident_tokens
    return step_dynamic_joules(profile, batch=batch, kv_tokens=kv_tokens) / max(batch, 1e-9)


def capacity_requests_per_second(profile: Profile, mix: Mix, *, batch: float) -> float:
    """Little's law: the request rate that keeps `batch` requests running."""
    seconds = mix.output_tokens * tpot_seconds(
        profile, batch=batch, kv_tokens=batch * mix.resident_tokens, mix=mix
    )
    return batch / max(seconds, 1e-9)


def dynamic_watts(profile: Profile, mix: Mix, *, requests_per_second: float) -> float:
    """Mean power above idle of a replica that serves a Poisson stream of the mix.

    The mean batch solves B = rate * o * TPOT(B) with TPOT linear in B. The replica is busy a part
    1 - exp(-B) of the time (occupancy of an M/G/inf queue), which is what makes a big unit dear
    for a small load. Infinite when the rate exceeds what the replica can ever serve.
    """
    if requests_per_second <= 0.0:
        return 0.0
    tokens_per_second = requests_per_second * mix.output_tokens
    headroom = 1.0 - tokens_per_second * tpot_slope_seconds(profile, mix)
    if headroom <= 0.0:
        return math.inf
    batch = tokens_per_second * profile.step.base_seconds / headroom
    busy_ratio = 1.0 - math.exp(-batch)
    prefill_ratio = min(
        busy_ratio, requests_per_second * profile.step.prompt_seconds(mix.computed_prompt_tokens)
    )
    power = profile.power
    decode_watts = power.decode_watts(batch / max(busy_ratio, 1e-9)) - power.idle_watts
    prefill_watts = power.prefill_watts - power.idle_watts
    return decode_watts * (busy_ratio - prefill_ratio) + prefill_watts * prefill_ratio
