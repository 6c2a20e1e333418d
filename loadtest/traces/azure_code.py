"""Times and lengths with the statistics of Azure's code completion traffic. Pure.

Randomness is the argument `draws`; times are in the trace's own time.
"""

import math
import random
from collections.abc import Iterator

from loadtest.traces.quantile_lines import log_mean, log_quantile, quantile

# Fitted to AzureLLMInferenceTrace_code.csv (8,819 requests in 57 min of 2023-11-16) of
# github.com/Azure/AzurePublicDataset, CC BY 4.0, Patel et al., Splitwise, ISCA 2024. The errors
# below are those of this module against the trace.
#
# Times: the trace is silent 73 % of the time; in between come stretches of about 13 s and 120
# requests, in clumps of one to five within milliseconds, about 0.1 s apart. All of that is in the
# distribution of the gaps (a tenth of a millisecond to minutes), given here by quantiles joined by
# lines straight in the logarithm, and in a slow tempo: gaps are drawn through a Gaussian
# copula whose level is shared by about 60 gaps. Kolmogorov-Smirnov distance of the gaps .007, mean
# +1.0 %. Excess variance of the counts, mean of 150 hours over the trace's: 1.18 in windows of
# 0.1 s, .85 at 3 s, 1.06 at 30 s, 1.07 at 120 s, 1.7 at 300 s (one hour tells the last to +-70 %).
# Gaps drawn independently would give .93, .65, .77, .72 and 1.1; a Poisson process 0 for all.
_GAP_RATIOS = (
    *(0.0, 0.0188, 0.0516, 0.1032, 0.1355, 0.1613, 0.2025, 0.2454, 0.3213, 0.3665),
    *(0.3948, 0.4322, 0.4934, 0.5515, 0.5869, 0.6514, 0.7082, 0.7501, 0.7674, 0.7922),
    *(0.8157, 0.8307, 0.8698, 0.8827, 0.8952, 0.907, 0.9288, 0.9422, 0.9531, 0.963),
    *(0.9706, 0.9804, 0.9861, 0.9919, 0.9944, 0.9961, 0.9984, 0.9993, 1.0),
)
_GAP_SECONDS = (
    *(6e-6, 4e-5, 9e-5, 2.2e-4, 8e-4, 9.5e-4, 0.0012, 0.002, 0.004, 0.0065),
    *(0.013, 0.03, 0.06, 0.09, 0.094, 0.098, 0.1005, 0.104, 0.115, 0.145),
    *(0.185, 0.195, 0.202, 0.215, 0.255, 0.29, 0.31, 0.38, 0.41, 0.5),
    *(0.6, 0.8, 1.2, 3.0, 8.0, 20.0, 50.0, 110.0, 217.2),
)
_LEVEL_VARIANCE_RATIO = 0.14  # of a gap's normal score, the rest is its own
_LEVEL_GAPS = 60.0  # the level's correlation falls by e over so many gaps

# Lengths: prompt and answer do not depend on each other (rank correlation -.02) nor on their
# neighbours. Quantiles joined by straight lines, at half tokens since lengths are whole.
# Kolmogorov-Smirnov distance: prompt .008, answer .004; means +.1 % and +2 %.
_PROMPT_RATIOS = (
    *(
        0.0,
        0.0155,
        0.0507,
        0.0811,
        0.1023,
        0.136,
        0.1587,
        0.2298,
        0.3209,
        0.4247,
        0.51,
        0.5979,
        0.7044,
    ),
    *(0.7704, 0.8103, 0.8534, 0.8879, 0.9253, 0.9474, 0.9618, 0.9635, 0.9752, 0.998, 1.0),
)
_PROMPT_TOKENS = (
    *(2.5, 25.5, 75.5, 110.5, 150.5, 200.5, 250.5, 500.5, 850.5, 1150.5, 1500.5, 1900.5, 2450.5),
    *(2900.5, 3300.5, 4000.5, 4700.5, 6100.5, 7100.5, 7433.5, 7434.5, 7435.5, 7436.5, 7437.5),
)
_OUTPUT_RATIOS = (
    *(0.0, 0.0827, 0.1536, 0.2115, 0.3034, 0.3649, 0.4154, 0.4692, 0.5201),
    *(0.5603, 0.5954, 0.6252, 0.6699, 0.7092, 0.7491, 0.7857, 0.8269, 0.8611),
    *(0.9052, 0.9408, 0.9631, 0.9795, 0.9899, 0.9949, 0.9975, 0.9993, 1.0),
)
_OUTPUT_TOKENS = (
    *(5.5, 6.5, 7.5, 8.5, 9.5, 10.5, 11.5, 12.5, 13.5),
    *(14.5, 15.5, 16.5, 18.5, 20.5, 23.5, 27.5, 33.5, 42.5),
    *(57.5, 80.5, 110.5, 165.5, 250.5, 360.5, 600.5, 850.5, 1899.5),
)

REQUESTS_PER_SECOND = 1.0 / log_mean(_GAP_RATIOS, _GAP_SECONDS)
"""Mean rate of `due_seconds` over long times, 2.54; the trace's own is 2.57."""


def due_seconds(draws: random.Random) -> Iterator[float]:
    """Times without end, the first at 0."""
    kept = math.exp(-1.0 / _LEVEL_GAPS)
    renewed = math.sqrt(1.0 - kept * kept)
    shared, own = math.sqrt(_LEVEL_VARIANCE_RATIO), math.sqrt(1.0 - _LEVEL_VARIANCE_RATIO)
    level = draws.gauss(0.0, 1.0)
    at_seconds = 0.0
    while True:
        yield at_seconds
        score = shared * level + own * draws.gauss(0.0, 1.0)
        at_seconds += log_quantile(_normal_ratio(score), _GAP_RATIOS, _GAP_SECONDS)
        level = kept * level + renewed * draws.gauss(0.0, 1.0)


def lengths(draws: random.Random) -> tuple[int, int]:
    """Prompt and answer tokens of one request."""
    prompt = quantile(draws.random(), _PROMPT_RATIOS, _PROMPT_TOKENS)
    output = quantile(draws.random(), _OUTPUT_RATIOS, _OUTPUT_TOKENS)
    return round(prompt), round(output)


def _normal_ratio(score: float) -> float:
    """Share of a standard normal distribution below `score`."""
    return 0.5 * math.erfc(-score / math.sqrt(2.0))
