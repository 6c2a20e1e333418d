"""Times and lengths with the statistics of Azure's conversation traffic. Pure.

Randomness is the argument `draws`; times are in the trace's own time.
"""

import itertools
import math
import random
from bisect import bisect_left
from collections.abc import Iterator

from loadtest.traces.quantile_lines import quantile

# Fitted to AzureLLMInferenceTrace_conv.csv (19,366 requests in 58 min of 2023-11-16) of
# github.com/Azure/AzurePublicDataset, CC BY 4.0, Patel et al., Splitwise, ISCA 2024. The errors
# below are those of 20 hours drawn by this module against the trace.
#
# Times: a Poisson process whose rate is multiplied by a log-normal level, the sum in the logarithm
# of two Ornstein-Uhlenbeck processes. Fitted by simulation to the excess variance of the counts in
# windows of 1 s to 300 s: within 10 % up to 120 s, 13 % at 300 s. Kolmogorov-Smirnov distance of
# the gaps: .017 on average (a plain Poisson process: .022).
REQUESTS_PER_SECOND = 5.5304
"""Mean rate of the trace."""

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


def due_seconds(draws: random.Random) -> Iterator[float]:
    """Times without end, the first at 0."""
    slow, fast = draws.gauss(0.0, 1.0), draws.gauss(0.0, 1.0)
    centre = math.log(REQUESTS_PER_SECOND) - (_SLOW_SIGMA**2 + _FAST_SIGMA**2) / 2
    first_seconds: float | None = None
    # Unit exponentials of accumulated rate: exact for a rate that is constant within each step.
    due = draws.expovariate(1.0)
    for step in itertools.count():
        rate = math.exp(centre + _SLOW_SIGMA * slow + _FAST_SIGMA * fast)
        in_step = rate * _STEP_SECONDS
        while due <= in_step:
            at_seconds = step * _STEP_SECONDS + due / rate
            if first_seconds is None:
                first_seconds = at_seconds
            yield at_seconds - first_seconds
            due += draws.expovariate(1.0)
        due -= in_step
        slow = _relax(slow, _SLOW_SECONDS, draws)
        fast = _relax(fast, _FAST_SECONDS, draws)


def _relax(level: float, time_constant_seconds: float, draws: random.Random) -> float:
    """One exact step of an Ornstein-Uhlenbeck process of unit variance."""
    kept = math.exp(-_STEP_SECONDS / time_constant_seconds)
    return kept * level + math.sqrt(1 - kept * kept) * draws.gauss(0.0, 1.0)


def lengths(draws: random.Random) -> tuple[int, int]:
    """Prompt and answer tokens of one request."""
    prompt_tokens = round(quantile(draws.random(), _PROMPT_RATIOS, _PROMPT_TOKENS))
    band = bisect_left(_BAND_ENDS_TOKENS, prompt_tokens)
    output = quantile(draws.random(), _OUTPUT_RATIOS, _BAND_OUTPUT_TOKENS[band])
    return prompt_tokens, round(output)
