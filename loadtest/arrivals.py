"""Arrivals: which request comes when, of what size, for which model. Pure and seeded.

`azure_like` draws traffic shaped like the conversation trace of Azure's LLM inference of November
2023; the other functions reshape any arrivals, drawn or read from a trace.
"""

import itertools
import math
import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Arrival(NamedTuple):
    """One request to come.

    Attributes:
        at_seconds: Due time, from the start of the replay.
        prompt_tokens: Length of the prompt.
        output_tokens: Length of the answer.
        model: Which model is asked.
    """

    at_seconds: float
    prompt_tokens: int
    output_tokens: int
    model: str


# Fitted to AzureLLMInferenceTrace_conv.csv (19,366 requests in 58 min of 2023-11-16) of
# github.com/Azure/AzurePublicDataset, CC BY 4.0, Patel et al., Splitwise, ISCA 2024. The errors
# below are those of 20 hours drawn by this module against the trace.
#
# Times: a Poisson process whose rate is multiplied by a log-normal level, the sum in the logarithm
# of two Ornstein-Uhlenbeck processes. Fitted by simulation to the excess variance of the counts in
# windows of 1 s to 300 s: within 10 % up to 120 s, 13 % at 300 s. Kolmogorov-Smirnov distance of
# the gaps: .017 on average (a plain Poisson process: .022).
_TRACE_REQUESTS_PER_SECOND = 5.5304
_SLOW_SIGMA, _SLOW_SECONDS = 0.25, 900.0
_FAST_SIGMA, _FAST_SECONDS = 0.14, 3.0
_STEP_SECONDS = 1.0  # the level is held this long, in the trace's time

# Lengths: quantiles joined by straight lines; the answer's depend on the band of its prompt. The
# dependence is strong but not monotone (prompts of 960-1165 tokens get 400 tokens, longer and
# shorter ones about 100), so rank correlation (.07 in the trace, .06 here) says little about it.
# Kolmogorov-Smirnov distance: prompt .018, answer .022; means +1.0 % and -1.7 %;
# quantiles from p10 to p99 within 1 % and 4 %. Left out: the trend of answer lengths over the
# hour (autocorrelation .1 at any lag up to 100 requests).
_PROMPT_RATIOS = (
    *(0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.12, 0.14, 0.16, 0.2),
    *(0.25, 0.3, 0.35, 0.375, 0.4, 0.425, 0.45, 0.5, 0.6, 0.7, 0.75),
    *(0.8, 0.85, 0.9, 0.92, 0.93, 0.95, 0.97, 0.99, 0.995, 0.999, 1.0),
)
_PROMPT_TOKENS = (
    *(2, 29, 91, 161, 181, 200, 207, 222, 317, 375, 387),
    *(396, 403, 414, 428, 703, 922, 984, 1020, 1071, 1130, 1189),
    *(1315, 1876, 2734, 4073, 4076, 4083, 4090, 4142, 4831, 6179, 14050),
)
_OUTPUT_RATIOS = (
    *(0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995, 1.0),
)
# The last prompt length of each band; a further band has no end.
_BAND_ENDS_TOKENS = (195, 215, 375, 600, 960, 1165, 1240, 1400, 2500)
_BAND_OUTPUT_TOKENS = (
    (11, 12, 12, 24, 89, 110, 124, 140, 158, 173, 192, 217, 230, 275, 477, 1000),
    (37, 59, 70, 88, 146, 162, 163, 175, 182, 192, 217, 217, 217, 217, 223, 258),
    (7, 14, 14, 18, 18, 49, 59, 66, 73, 81, 94, 116, 134, 167, 234, 436),
    (15, 53, 62, 72, 82, 87, 91, 95, 99, 104, 113, 132, 146, 164, 200, 739),
    (10, 35, 43, 54, 76, 87, 94, 105, 120, 168, 397, 423, 438, 487, 593, 675),
    (27, 70, 122, 375, 388, 395, 398, 405, 413, 421, 432, 481, 550, 616, 889, 1000),
    (33, 45, 59, 87, 375, 391, 396, 402, 411, 420, 433, 511, 596, 634, 936, 992),
    (26, 44, 53, 76, 127, 144, 157, 174, 191, 207, 240, 398, 422, 482, 606, 918),
    (15, 35, 43, 49, 56, 69, 78, 86, 94, 103, 116, 136, 163, 216, 429, 594),
    (17, 27, 30, 36, 42, 47, 53, 62, 72, 86, 108, 139, 158, 193, 340, 757),
)


def azure_like(
    count: int, *, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> list[Arrival]:
    """Draw `count` arrivals with the burstiness and the lengths of the Azure 2023 conv trace.

    The trace is sped up or slowed down as a whole to the wanted rate (its own is 5.53 requests/s),
    so bursts keep their size in requests. The drawn times are then stretched so that the first is
    at 0 and the mean rate over all gaps is exactly the wanted one: two seeds offer the same load.
    The same arguments give the same arrivals; times, lengths and models are drawn apart, so that
    another choice of models changes neither of the others.

    Args:
        count: How many, at least 1.
        requests_per_second: Mean rate, above 0.
        seed: Of all draws.
        models: Weight of each model, see `assign_models`.

    Raises:
        ValueError: An argument is outside its range.
    """
    if count < 1:
        raise ValueError(f"count is {count}, it must be at least 1")
    _require_positive("requests_per_second", requests_per_second)
    times = _trace_seconds(count, random.Random(f"{seed}:times"))  # noqa: S311 - not for secrets
    lengths = random.Random(f"{seed}:lengths")  # noqa: S311 - not for secrets
    factor = times[-1] * requests_per_second / (count - 1) if count > 1 else 1.0
    drawn = [Arrival(at_seconds / factor, *_lengths(lengths), "") for at_seconds in times]
    return assign_models(drawn, models=models, seed=seed)


def mean_requests_per_second(arrivals: Sequence[Arrival]) -> float | None:
    """Gaps over the time they span; None for fewer than two arrivals or simultaneous ones."""
    if len(arrivals) < 2:  # noqa: PLR2004 - one gap takes two arrivals
        return None
    span_seconds = arrivals[-1].at_seconds - arrivals[0].at_seconds
    return (len(arrivals) - 1) / span_seconds if span_seconds > 0 else None


def window(
    arrivals: Sequence[Arrival], *, start_seconds: float, end_seconds: float
) -> list[Arrival]:
    """Those due in [start, end), with `start_seconds` as the new 0."""
    return [
        arrival._replace(at_seconds=arrival.at_seconds - start_seconds)
        for arrival in arrivals
        if start_seconds <= arrival.at_seconds < end_seconds
    ]


def speed_up(arrivals: Sequence[Arrival], *, factor: float) -> list[Arrival]:
    """Divide all due times by `factor`; state the factor wherever results are shown.

    Raises:
        ValueError: `factor` is not a positive number.
    """
    _require_positive("factor", factor)
    return [arrival._replace(at_seconds=arrival.at_seconds / factor) for arrival in arrivals]


def speed_up_factor(arrivals: Sequence[Arrival], *, requests_per_second: float) -> float:
    """The factor for `speed_up` that brings the mean rate to `requests_per_second`.

    Raises:
        ValueError: The rate is not a positive number, or the arrivals have no mean rate.
    """
    _require_positive("requests_per_second", requests_per_second)
    present = mean_requests_per_second(arrivals)
    if present is None:
        raise ValueError(f"{len(arrivals)} arrivals that span no time have no rate to speed up")
    return requests_per_second / present


def cap_lengths(
    arrivals: Sequence[Arrival],
    *,
    max_prompt_tokens: int | None = None,
    max_output_tokens: int | None = None,
) -> list[Arrival]:
    """Cut longer prompts and answers to the given lengths; None leaves them as they are.

    Raises:
        ValueError: A limit is below 1.
    """
    for name, limit in (("prompt", max_prompt_tokens), ("output", max_output_tokens)):
        if limit is not None and limit < 1:
            raise ValueError(f"max_{name}_tokens is {limit}, it must be at least 1")
    return [
        arrival._replace(
            prompt_tokens=_at_most(arrival.prompt_tokens, max_prompt_tokens),
            output_tokens=_at_most(arrival.output_tokens, max_output_tokens),
        )
        for arrival in arrivals
    ]


def assign_models(
    arrivals: Sequence[Arrival], *, models: Mapping[str, float], seed: int
) -> list[Arrival]:
    """Give each arrival one of `models`, drawn independently with their weights.

    Args:
        arrivals: Their own models are replaced.
        models: Weights of any scale, none negative, not all 0.
        seed: Of the draws.

    Raises:
        ValueError: The weights are not such.
    """
    weights = list(models.values())
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights) > 0:
        raise ValueError(
            f"model weights are {dict(models)}, they must be finite, not negative and not all 0"
        )
    draws = random.Random(f"{seed}:models")  # noqa: S311 - not for secrets
    names = draws.choices(list(models), weights, k=len(arrivals))
    return [arrival._replace(model=name) for arrival, name in zip(arrivals, names, strict=True)]


def _trace_seconds(count: int, draws: random.Random) -> list[float]:
    """Times of `count` arrivals in the trace's time, the first at 0."""
    times: list[float] = []
    slow, fast = draws.gauss(0.0, 1.0), draws.gauss(0.0, 1.0)
    centre = math.log(_TRACE_REQUESTS_PER_SECOND) - (_SLOW_SIGMA**2 + _FAST_SIGMA**2) / 2
    # Unit exponentials of accumulated rate: exact for a rate that is constant within each step.
    due = draws.expovariate(1.0)
    for step in itertools.count():
        rate = math.exp(centre + _SLOW_SIGMA * slow + _FAST_SIGMA * fast)
        in_step = rate * _STEP_SECONDS
        while due <= in_step:
            times.append(step * _STEP_SECONDS + due / rate)
            if len(times) == count:
                return [at_seconds - times[0] for at_seconds in times]
            due += draws.expovariate(1.0)
        due -= in_step
        slow = _relax(slow, _SLOW_SECONDS, draws)
        fast = _relax(fast, _FAST_SECONDS, draws)
    raise AssertionError("itertools.count does not end")


def _relax(level: float, time_constant_seconds: float, draws: random.Random) -> float:
    """One exact step of an Ornstein-Uhlenbeck process of unit variance."""
    kept = math.exp(-_STEP_SECONDS / time_constant_seconds)
    return kept * level + math.sqrt(1 - kept * kept) * draws.gauss(0.0, 1.0)


def _lengths(draws: random.Random) -> tuple[int, int]:
    """Prompt and answer tokens of one request."""
    prompt_tokens = _at_ratio(draws.random(), _PROMPT_RATIOS, _PROMPT_TOKENS)
    band = bisect_left(_BAND_ENDS_TOKENS, prompt_tokens)
    return prompt_tokens, _at_ratio(draws.random(), _OUTPUT_RATIOS, _BAND_OUTPUT_TOKENS[band])


def _at_ratio(ratio: float, ratios: Sequence[float], tokens: Sequence[int]) -> int:
    """The quantile at `ratio` (0..1) on the line through the given ones."""
    right = max(1, bisect_left(ratios, ratio))
    left = right - 1
    share = (ratio - ratios[left]) / (ratios[right] - ratios[left])
    return round(tokens[left] + share * (tokens[right] - tokens[left]))


def _at_most(tokens: int, limit: int | None) -> int:
    return tokens if limit is None else min(tokens, limit)


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}, it must be a number above 0")
