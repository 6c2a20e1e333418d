"""The guard in few operations: what a pick asks of several replicas in a row. Pure.

What a request brings is computed once for all replicas of a board, and what a board has at a batch
was computed before (`router.decide.board`); only the rest is left to do per replica. The sums are
those of `fleet.profile`, made in the same order, so that both agree to the last bit
(tests/property/test_known_miss_properties.py).
"""

from typing import NamedTuple

from router.decide.affinity_nearness import NOWHERE
from router.decide.demand import Demand
from router.decide.unit import Unit


class Terms(NamedTuple):
    """A request in the numbers that the guard compares, on replicas of one board.

    Attributes:
        now_seconds: Monotonic time.
        resident_tokens: KV tokens of the request.
        mean_seconds: Prefill that each running request adds to a step.
        least_seconds: The least that the request's own prompt can take, whatever is cached.
        own_seconds: What it takes, as far as it is not cached.
        load_seconds: Of its adapter.
        chunks: Steps that carry its prompt.
        chunk_seconds: What one full chunk of prompt adds to a step at most.
        tpot_limit_seconds: The objective with its margin.
        ttft_limit_seconds: Likewise.
        kv_limit_ratio: Predicted KV use that counts as full.
        is_usual: Whether the request has the backend's own TTFT objective.
    """

    now_seconds: float
    resident_tokens: float
    mean_seconds: float
    least_seconds: float
    own_seconds: float
    load_seconds: float
    chunks: float
    chunk_seconds: float
    tpot_limit_seconds: float
    ttft_limit_seconds: float
    kv_limit_ratio: float
    is_usual: bool


def terms_of(demand: Demand, unit: Unit, kv_limit_ratio: float, now_seconds: float) -> Terms:
    """The terms of a request on `unit`; where nothing is near, on all replicas of its board.

    `Board.prompt_seconds` is written out: every pick asks this of several groups.
    """
    board, mix, nearby = unit.board, demand.mix, demand.near
    near = NOWHERE if nearby is None else nearby.at(unit.address)
    linear, squared = board.prompt_token_seconds, board.prompt_token_squared_seconds
    cached, computed = near.cached_tokens, mix.computed_prompt_tokens
    prompt_tokens, chunk_tokens = demand.prompt_tokens, board.chunk_tokens
    new = prompt_tokens - cached
    end = cached + new
    before = max(0.0, max(new, computed) - chunk_tokens)
    chunk_end = before + chunk_tokens
    tpot_limit, ttft_limit = board.tpot_limit_seconds, board.ttft_limit_seconds
    tpot_asked, ttft_asked = demand.tpot_objective_seconds, demand.ttft_objective_seconds
    if tpot_asked:
        tpot_limit = board.margin_ratio * min(tpot_asked, board.tpot_seconds)
    if ttft_asked:
        ttft_limit = board.margin_ratio * ttft_asked
    own_seconds = linear * new + squared * (end * end - cached * cached)
    return Terms(
        now_seconds,
        prompt_tokens + 0.5 * demand.output_tokens,
        (linear * computed + squared * (computed * computed)) / max(mix.output_tokens, 1.0),
        # What is cached differs from replica to replica.
        own_seconds if nearby is None else 0.0,
        own_seconds,
        near.load_seconds,
        max(-(-new // chunk_tokens), 1.0),
        linear * chunk_tokens + squared * (chunk_end * chunk_end - before * before),
        tpot_limit,
        ttft_limit,
        kv_limit_ratio,
        ttft_asked is None,
    )


def passes(unit: Unit, terms: Terms) -> bool:
    """Whether `lateness_of` is at most 1, found out with the cheapest questions first."""
    now, tokens, mean, _, own, load, chunks, chunk, tpot_limit, ttft_limit, kv_limit, _ = terms
    point, kv_seconds, here = unit.point, unit.board.kv_token_seconds, unit.resident_tokens
    kv_tokens = here + tokens
    if point.slots_ratio > 1.0 or kv_tokens / unit.kv_capacity_tokens / kv_limit > 1.0:
        return False
    decode = (point.next_seconds + kv_seconds * kv_tokens) * point.next_ratio
    if (decode + (unit.running + 1.0) * mean) / tpot_limit > 1.0:
        return False
    prefill = load + own + chunks * ((point.now_seconds + kv_seconds * here) * point.now_ratio)
    queue = unit.account.prefill_free_seconds - now
    wait = queue + unit.foreign_wait_seconds if queue > 0.0 else unit.foreign_wait_seconds
    if (wait + prefill) / ttft_limit > 1.0:
        return False
    if (decode + chunk) / tpot_limit <= 1.0:
        return True
    inflow = unit.prompt_inflow
    share = inflow.per_second(now_seconds=now) + own / inflow.window_seconds
    return share < 1.0 and decode / (1.0 - share) / tpot_limit <= 1.0


def bound(unit: Unit, terms: Terms, here_tokens: float) -> float:
    """What the lateness is at least with this much KV there, whatever is queued or near."""
    point, kv_seconds = unit.point, unit.board.kv_token_seconds
    kv_tokens = here_tokens + terms.resident_tokens
    decode = (point.next_seconds + kv_seconds * kv_tokens) * point.next_ratio
    steady = decode + (unit.running + 1.0) * terms.mean_seconds
    prefill = terms.least_seconds + (point.now_seconds + kv_seconds * here_tokens) * point.now_ratio
    return max(
        point.slots_ratio, steady / terms.tpot_limit_seconds, prefill / terms.ttft_limit_seconds
    )


def lateness_of(unit: Unit, terms: Terms) -> float:
    """The worst prediction over limit; at most 1 when the guard passes."""
    tpot_seconds, ttft_seconds, kv_ratio = forecast(unit, terms)
    return max(
        tpot_seconds / terms.tpot_limit_seconds,
        ttft_seconds / terms.ttft_limit_seconds,
        kv_ratio / terms.kv_limit_ratio,
        unit.point.slots_ratio,
    )


def forecast(unit: Unit, terms: Terms) -> tuple[float, float, float]:
    """TPOT, TTFT and KV use once the request is on `unit` too.

    TPOT is the worse of two: that of a steady state at this batch (its interference as in
    fleet.physics), and that of a short answer among the prompts that came here just now. While
    prompts take a share s of the time, a decode step takes T / (1 - s); and never more than T and
    one full chunk, because that is all the prefill that an engine puts in a step.
    """
    now, tokens, mean, _, own, load, chunks, chunk, *_ = terms
    point, kv_seconds, here = unit.point, unit.board.kv_token_seconds, unit.resident_tokens
    inflow, kv_tokens = unit.prompt_inflow, here + tokens
    decode = (point.next_seconds + kv_seconds * kv_tokens) * point.next_ratio
    share = inflow.per_second(now_seconds=now) + own / inflow.window_seconds
    burst = decode + chunk
    if share < 1.0:
        burst = min(decode / (1.0 - share), burst)
    prefill = load + own + chunks * ((point.now_seconds + kv_seconds * here) * point.now_ratio)
    queue = max(0.0, unit.account.prefill_free_seconds - now)
    return (
        max(decode + (unit.running + 1.0) * mean, burst),
        queue + unit.foreign_wait_seconds + prefill,
        kv_tokens / unit.kv_capacity_tokens,
    )
