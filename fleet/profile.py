"""Step time T(B, KV) and power P(B) of a (model, accelerator, parallelism, engine version).

Symbols as in DESIGN section 3: B running requests, KV resident tokens, n prompt tokens to compute.
"""

import math
from dataclasses import dataclass, replace

from fleet.batch_ratios import BatchRatios, ratio_at


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Duration of one engine iteration.

    T = base + per_request * B + per_kv_token * KV, and for the prompt chunks it carries
    sum(p1 * n + p2 * ((d + n)^2 - d^2)) with d tokens already there.

    Attributes:
        base_seconds: An iteration with nothing in it (weights read once, host work).
        per_request_seconds: Each request in the batch (sampling, scheduling).
        per_kv_token_seconds: Each resident token read by attention.
        per_prompt_token_seconds: p1.
        per_prompt_token_squared_seconds: p2.
        chunk_tokens: Prompt tokens one iteration may carry (vLLM --max-num-batched-tokens).
        batch_ratios: Correction of T by batch (see fleet.batch_ratios); prompts are not corrected.
    """

    base_seconds: float
    per_request_seconds: float
    per_kv_token_seconds: float
    per_prompt_token_seconds: float
    per_prompt_token_squared_seconds: float
    chunk_tokens: int = 2048
    batch_ratios: BatchRatios = ()

    def decode_seconds(self, batch: float, kv_tokens: float) -> float:
        """T(B, KV) of an iteration that only decodes."""
        seconds = (
            self.base_seconds
            + self.per_request_seconds * batch
            + self.per_kv_token_seconds * kv_tokens
        )
        return seconds * ratio_at(self.batch_ratios, batch) if self.batch_ratios else seconds

    def prompt_seconds(self, new_tokens: float, *, cached_tokens: float = 0.0) -> float:
        """What `new_tokens` prompt tokens add to the iterations that carry them."""
        end_tokens = cached_tokens + new_tokens
        return self.per_prompt_token_seconds * new_tokens + (
            self.per_prompt_token_squared_seconds
            * (end_tokens * end_tokens - cached_tokens * cached_tokens)
        )

    def scaled(self, ratio: float) -> "StepTime":
        """Every duration multiplied by `ratio` (> 0): a slower or faster engine of this shape."""
        return replace(
            self,
            base_seconds=self.base_seconds * ratio,
            per_request_seconds=self.per_request_seconds * ratio,
            per_kv_token_seconds=self.per_kv_token_seconds * ratio,
            per_prompt_token_seconds=self.per_prompt_token_seconds * ratio,
            per_prompt_token_squared_seconds=self.per_prompt_token_squared_seconds * ratio,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurve:
    """Watts of a whole replica (all its boards) at default clocks.

    P(0) = idle; P(B > 0) = floor + span / (1 + exp(-steepness * (log2 B - midpoint_log2))), the
    logistic form of mlenergy-data / arXiv 2602.05116.

    Attributes:
        idle_watts: Model resident, nothing running.
        floor_watts: One request running: decode power is nearly a step at B = 1.
        span_watts: What a full batch adds.
        steepness: Per doubling of B.
        midpoint_log2: log2 of the batch at which half the span is reached.
        prefill_watts: While computing a prompt.
        batch_ratios: Correction of the dynamic part of P by batch (see fleet.batch_ratios).
    """

    idle_watts: float
    floor_watts: float
    span_watts: float
    steepness: float
    midpoint_log2: float
    prefill_watts: float
    batch_ratios: BatchRatios = ()

    def decode_watts(self, batch: float) -> float:
        """P(B); below one request the floor's own power, at zero the idle power."""
        if batch <= 0.0:
            return self.idle_watts
        exponent = -self.steepness * (math.log2(max(batch, 1.0)) - self.midpoint_log2)
        watts = self.floor_watts + self.span_watts / (1.0 + math.exp(exponent))
        if not self.batch_ratios:
            return watts
        return self.idle_watts + (watts - self.idle_watts) * ratio_at(self.batch_ratios, batch)

    def scaled(self, ratio: float) -> "PowerCurve":
        """The dynamic part multiplied by `ratio` (> 0); idle power stays."""

        def about_idle(watts: float) -> float:
            return self.idle_watts + (watts - self.idle_watts) * ratio

        return replace(
            self,
            floor_watts=about_idle(self.floor_watts),
            span_watts=self.span_watts * ratio,
            prefill_watts=about_idle(self.prefill_watts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """All that predicts a replica's time and energy.

    Attributes:
        step: Iteration time.
        power: Replica power.
        kv_capacity_tokens: Tokens its KV cache holds.
        source: Where the numbers come from.
        assumptions: What in them is assumed rather than measured; empty when nothing is.
    """

    step: StepTime
    power: PowerCurve
    kv_capacity_tokens: float
    source: str
    assumptions: tuple[str, ...] = ()

    def scaled(self, *, time_ratio: float, power_ratio: float) -> "Profile":
        """Every duration and all dynamic power multiplied by a ratio."""
        return replace(
            self, step=self.step.scaled(time_ratio), power=self.power.scaled(power_ratio)
        )

    def corrected(
        self, *, time_ratios: BatchRatios, prompt_ratio: float, power_ratios: BatchRatios
    ) -> "Profile":
        """Decode time and dynamic decode power corrected by batch, prompt time by one ratio."""
        step = self.step
        return replace(
            self,
            step=replace(
                step,
                batch_ratios=time_ratios,
                per_prompt_token_seconds=step.per_prompt_token_seconds * prompt_ratio,
                per_prompt_token_squared_seconds=(
                    step.per_prompt_token_squared_seconds * prompt_ratio
                ),
            ),
            power=replace(self.power, batch_ratios=power_ratios),
        )
