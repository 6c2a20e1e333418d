"""The best steady states: what a fleet takes whose replicas each run as an engine must.

The linear bounds let a replica run at any batch for part of the time. A real engine steps as fast
as it can, so a rate of requests fixes its batch (Little's law): with B requests running, an answer
of o decode steps, a step of T(B) and prompts that take p each, one replica finishes

    rate(B) = min(1, B) / (o T(B) / B + p + m)       m: what mixed steps take beyond the two

requests a second. Here every replica is in such a state for each `SLICE_SECONDS` of the window, its
mean time per output token is within the objective, and the split of the load is the best one, known
beforehand. Nothing fluctuates within a slice and no length is unknown, so a policy that attains the
objective will hardly undercut it; but it is a reference and not a proven bound: a policy that moves
the load about within a slice might.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from loadtest.bounds import SLICE_SECONDS, ReplicaClass, Vector, Work, prefill_seconds

_LOAD_STEPS = 400
_BELOW_ONE = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85)


class _Mean(NamedTuple):
    """The mean request."""

    decode_tokens: float
    resident_tokens: float
    prefill_seconds: float


class _State(NamedTuple):
    """One steady state of one replica; watts are above idle."""

    requests_per_second: float
    watts: float


def steady_joules_per_token(
    work: Work, classes: Sequence[ReplicaClass], *, tpot_objective_seconds: float | None
) -> float | None:
    """Joules per output token, idle power included; None where even the best split cannot keep up.

    Args:
        work: What has to be done, with its arrivals by slice.
        classes: What it can be done with.
        tpot_objective_seconds: Limit of each replica's mean time per output token.
    """
    requests = sum(kind.requests for kind in work.kinds.values())
    rates = [count / SLICE_SECONDS for count in work.arrivals_by_slice.values()]
    if not requests or not work.output_tokens:
        return None
    loads = np.linspace(0.0, max(rates), _LOAD_STEPS + 1)
    cheapest = np.where(loads > 0.0, np.inf, 0.0)
    for one in classes:
        limit_seconds = tpot_objective_seconds or math.inf
        watts = _watts_at(loads, list(_states(one, _mean(work, one, requests), limit_seconds)))
        for _ in range(one.replicas):
            cheapest = _with_one_more(cheapest, watts)
    dynamic_joules = SLICE_SECONDS * sum(np.interp(rates, loads, cheapest))
    idle_joules = work.window_seconds * sum(one.truth.idle_watts * one.replicas for one in classes)
    joules = float(dynamic_joules + idle_joules)
    return joules / work.output_tokens if math.isfinite(joules) else None


def _mean(work: Work, one: ReplicaClass, requests: int) -> _Mean:
    kinds = work.kinds.values()
    decode_tokens = sum(kind.decode_tokens for kind in kinds)
    return _Mean(
        decode_tokens=decode_tokens / requests,
        resident_tokens=sum(kind.resident_token_steps for kind in kinds) / max(1, decode_tokens),
        prefill_seconds=sum(prefill_seconds(one.truth, kind) for kind in kinds) / requests,
    )


def _states(one: ReplicaClass, mean: _Mean, limit_seconds: float) -> Iterator[_State]:
    """From idle to the largest batch whose mean time per token is within the limit."""
    truth = one.truth
    yield _State(0.0, 0.0)
    if mean.decode_tokens <= 0.0:
        rate = 1.0 / mean.prefill_seconds
        yield _State(rate, truth.prefill_watts - truth.idle_watts)
        return
    for batch in (*_BELOW_ONE, *range(1, one.limits.max_num_seqs + 1)):
        whole = max(1, int(batch))
        busy_ratio = min(1.0, batch)
        step_seconds = truth.step_seconds(whole, kv_tokens=whole * mean.resident_tokens)
        # Prompts per step: several of one step share what mixing costs.
        prompts = whole / mean.decode_tokens
        mixed_seconds = truth.mixed_step_seconds * (1.0 - math.exp(-prompts)) / prompts
        decode_seconds = mean.decode_tokens / whole * step_seconds + mixed_seconds
        rate = busy_ratio / (decode_seconds + mean.prefill_seconds)
        if busy_ratio * whole / (rate * mean.decode_tokens) > limit_seconds:
            return
        yield _State(
            rate,
            rate * decode_seconds * (truth.decode_watts_by_batch[whole] - truth.idle_watts)
            + rate * mean.prefill_seconds * (truth.prefill_watts - truth.idle_watts),
        )


def _watts_at(loads: Vector, states: Sequence[_State]) -> Vector:
    """The cheapest watts of one replica at each load; infinite beyond what it can do.

    Load falls again where a larger batch gives nothing: each stretch between two neighbouring
    states is taken for what it is.
    """
    watts = np.full(len(loads), np.inf)
    watts[0] = 0.0
    for (low, low_watts), (high, high_watts) in pairwise(states):
        if high <= low:
            continue
        inside = (loads >= low) & (loads <= high)
        share = (loads[inside] - low) / (high - low)
        watts[inside] = np.minimum(watts[inside], low_watts + share * (high_watts - low_watts))
    return watts


def _with_one_more(cheapest: Vector, watts: Vector) -> Vector:
    """Cheapest watts of a fleet at each load when one more replica may take a part of it."""
    return np.array(
        [np.min(cheapest[total::-1] + watts[: total + 1]) for total in range(len(cheapest))]
    )
