"""Why a replica failed the guard, so that it is not predicted again in vain. Pure.

A replica's load only changes when its account does or a snapshot comes; in between only the
request, the model's mean request and the clock differ. So a failed guard is kept as a condition on
those three under which it must fail again. The conditions hold for certain but are not complete:
where one does not apply the guard is asked, and so the outcome is that of asking always.
"""

import math
from enum import IntEnum
from typing import NamedTuple

from router.decide.demand import Demand
from router.decide.unit import Unit

# Beyond any rounding of the sums compared; what is that near to its limit is predicted.
_SLACK_RATIO = 1e-9
_SLACK_SECONDS = 1e-6


class Kind(IntEnum):
    """Which guard failed."""

    NONE = 0  # not asked since the load changed, or no condition is known
    STEADY = 1  # TPOT of a steady state
    BURST = 2  # TPOT among the prompts of just now
    QUEUE = 3  # TTFT
    ROOM = 4  # KV
    SLOTS = 5


class Miss(NamedTuple):
    """A guard that failed; `a`, `b` and `c` as `holds` reads them."""

    kind: Kind
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0


NO_MISS = Miss(Kind.NONE)


class Terms(NamedTuple):
    """What the conditions compare, of one request and replicas of one profile.

    Attributes:
        now_seconds: Monotonic time.
        resident_tokens: KV tokens of the request.
        mean_seconds: Prefill that each running request adds to a step.
        own_seconds: The least that the request's own prompt can take.
        is_usual: Whether the request has the backend's own TTFT objective.
    """

    now_seconds: float
    resident_tokens: float
    mean_seconds: float
    own_seconds: float
    is_usual: bool


def terms_of(demand: Demand, unit: Unit, now_seconds: float) -> Terms:
    """The terms of a request on replicas with the profile of `unit`."""
    step, mix = unit.profile.step, demand.mix
    return Terms(
        now_seconds,
        demand.resident_tokens,
        step.prompt_seconds(mix.computed_prompt_tokens) / max(mix.output_tokens, 1.0),
        # What is cached differs from replica to replica.
        0.0 if demand.near else step.prompt_seconds(demand.prompt_tokens),
        demand.ttft_objective_seconds is None,
    )


def holds(miss: Miss, terms: Terms) -> bool:
    """Whether the guard that failed fails for certain again."""
    kind, a, b, c = miss
    if kind is Kind.STEADY:
        return a * terms.resident_tokens + b * terms.mean_seconds > c
    if kind is Kind.BURST:
        return (b if terms.own_seconds >= a else c) > terms.now_seconds
    if kind is Kind.QUEUE:
        return terms.is_usual and a + terms.own_seconds > terms.now_seconds
    if kind is Kind.ROOM:
        return terms.resident_tokens > a
    return kind is Kind.SLOTS


def find_miss(unit: Unit, terms: Terms, *, kv_limit_ratio: float) -> Miss:
    """The condition under which `unit`, whose guard has just failed, must fail again."""
    objective, step = unit.backend.objective, unit.profile.step
    running, resident_tokens = unit.running, unit.resident_tokens
    batch = running + 1.0
    if batch > unit.backend.max_running_requests * (1.0 + _SLACK_RATIO):
        return Miss(Kind.SLOTS)
    capacity = unit.kv_capacity_tokens
    room = kv_limit_ratio * capacity - resident_tokens + _SLACK_RATIO * capacity
    if terms.resident_tokens > room:
        return Miss(Kind.ROOM, room)
    # Requests may ask for a shorter TPOT than the backend's, not for a longer one.
    limit_seconds = objective.margin_ratio * objective.tpot_seconds * (1.0 + _SLACK_RATIO)
    empty_seconds = step.decode_seconds(batch, resident_tokens)
    per_token_seconds = step.decode_seconds(batch, resident_tokens + 1.0) - empty_seconds
    steady = Miss(
        Kind.STEADY, per_token_seconds * (1.0 - 1e-6), batch, limit_seconds - empty_seconds
    )
    if holds(steady, terms):
        return steady
    queue_seconds = (
        unit.account.prefill_free_seconds
        + unit.foreign_wait_seconds
        + step.decode_seconds(running, resident_tokens)
        - objective.margin_ratio * objective.ttft_seconds
        - _SLACK_SECONDS
    )
    queue = Miss(Kind.QUEUE, queue_seconds)
    if holds(queue, terms):
        return queue
    return _burst(unit, terms, limit_seconds, empty_seconds)


def _burst(unit: Unit, terms: Terms, limit_seconds: float, empty_seconds: float) -> Miss:
    """Prompts of just now: for how long they alone, and with one like this, are too many."""
    step, inflow = unit.profile.step, unit.prompt_inflow
    if empty_seconds + step.prompt_seconds(step.chunk_tokens) <= limit_seconds:
        return NO_MISS  # not even one full chunk per step would be too slow
    window_seconds, now_seconds = inflow.window_seconds, terms.now_seconds
    room_seconds = window_seconds * (1.0 - empty_seconds / limit_seconds)
    fading_seconds = inflow.read(now_seconds=now_seconds)

    def until(least_seconds: float) -> float:
        if room_seconds <= least_seconds:
            return math.inf
        if fading_seconds <= 0.0:
            return -math.inf
        ratio = fading_seconds / (room_seconds - least_seconds)
        return now_seconds + window_seconds * math.log(ratio) - _SLACK_SECONDS

    miss = Miss(Kind.BURST, terms.own_seconds, until(terms.own_seconds), until(0.0))
    return miss if holds(miss, terms) else NO_MISS
