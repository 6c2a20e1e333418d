"""How the parts of a reading combine, and the largest value each kind can physically take."""

import math
from enum import Enum
from typing import NamedTuple

from fleet.signals import SignalKind
from telemetry.reading import RejectionReason


class Combine(Enum):
    """What makes one value of a replica out of those of its engines or boards."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    AGREE = "agree"  # all equal, else unknown


class Rule(NamedTuple):
    """How readings of a kind are made.

    Attributes:
        combine: Over engines and models of a replica, or over its boards.
        upper: Largest believable value of one part, in the kind's unit.
        boards: Measured per accelerator board, so that every board of the replica must be there.
        divisible: Shared by the replicas on one board (watts are, degrees are not).
    """

    combine: Combine
    upper: float
    boards: bool = False
    divisible: bool = False


# 3 kW a board: the largest shipping one is limited to 1.4 kW (GB300), and exporters have been seen
# to spike to 9 kW on small machines (kepler#1344).
_BOARD_WATTS = 3_000.0
# A board at 3 kW for a century; DCGM's "no data" is about 1e16 J.
_BOARD_JOULES = 1e13
_COUNT = 1e15
_REQUESTS = 1e6

RULES: dict[SignalKind, Rule] = {
    SignalKind.HEALTHY_RATIO: Rule(Combine.AGREE, 1.0),
    SignalKind.RUNNING_REQUESTS: Rule(Combine.SUM, _REQUESTS),
    SignalKind.WAITING_REQUESTS: Rule(Combine.SUM, _REQUESTS),
    SignalKind.KV_USAGE_RATIO: Rule(Combine.MAX, 1.0),  # the fullest engine stalls first
    SignalKind.KV_CAPACITY_TOKENS: Rule(Combine.SUM, 1e10),
    SignalKind.POWER_WATTS: Rule(Combine.SUM, _BOARD_WATTS, boards=True, divisible=True),
    SignalKind.SM_CLOCK_HERTZ: Rule(Combine.MIN, 1e10, boards=True),  # the slowest board gates
    SignalKind.TEMPERATURE_CELSIUS: Rule(Combine.MAX, 200.0, boards=True),
    SignalKind.PROMPT_TOKENS_TOTAL: Rule(Combine.SUM, _COUNT),
    SignalKind.GENERATION_TOKENS_TOTAL: Rule(Combine.SUM, _COUNT),
    SignalKind.REQUESTS_FINISHED_TOTAL: Rule(Combine.SUM, _COUNT),
    SignalKind.PREFIX_QUERY_TOKENS_TOTAL: Rule(Combine.SUM, _COUNT),
    SignalKind.PREFIX_HIT_TOKENS_TOTAL: Rule(Combine.SUM, _COUNT),
    SignalKind.PREEMPTIONS_TOTAL: Rule(Combine.SUM, _COUNT),
    SignalKind.ENERGY_JOULES_TOTAL: Rule(Combine.SUM, _BOARD_JOULES, boards=True, divisible=True),
}
"""Every kind that is measured; the rates are derived from counters and have no rule."""

GROWTH_LIMITS_PER_SECOND: dict[SignalKind, float] = {
    SignalKind.PROMPT_TOKENS_TOTAL: 1e7,
    SignalKind.GENERATION_TOKENS_TOTAL: 1e7,
    SignalKind.ENERGY_JOULES_TOTAL: 72 * _BOARD_WATTS,  # a rack-scale domain as one replica
}
"""Faster growth of a counter than this is not growth but another counter in its place."""


def insanity(value: float, *, upper: float) -> RejectionReason | None:
    """Return why `value` cannot be a measurement within [0, upper], or None when it can."""
    if not math.isfinite(value):
        return RejectionReason.NOT_FINITE
    if value < 0.0:
        return RejectionReason.NEGATIVE
    return RejectionReason.ABOVE_LIMIT if value > upper else None
