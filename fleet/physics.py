"""Energy and latency of a replica at an operating point (DESIGN section 3).

All energies are dynamic: above the idle power that is paid anyway.
"""

import math
from typing import NamedTuple

from fleet.profile import Profile


class Mix(NamedTuple):
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
