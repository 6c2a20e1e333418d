"""What a request would meet on a replica, and whether that keeps the objective. Pure.

Predicted TPOT at B + 1 with prefill interference, predicted TTFT, KV room and batch slots, each
over its limit. `router.decide.terms` has the quick way to whether all of them hold.
"""

from typing import NamedTuple

from router.decide.affinity_nearness import NOWHERE, Nearness
from router.decide.demand import Demand
from router.decide.terms import lateness_of, terms_of
from router.decide.unit import Unit


class Prediction(NamedTuple):
    """What the request would meet on a replica.

    Attributes:
        tpot_seconds: At B + 1, with the prompts of a steady state or those of just now.
        ttft_seconds: Queue, pending prompts and own prefill.
        kv_ratio: KV use once admitted.
        lateness_ratio: The worst of prediction over limit; at most 1 when the guard passes.
        limit: Which of the limits that is: "tpot", "ttft", "kv" or "slots".
    """

    tpot_seconds: float
    ttft_seconds: float
    kv_ratio: float
    lateness_ratio: float
    limit: str

    @property
    def passes(self) -> bool:
        """Whether every objective holds with its margin."""
        return self.lateness_ratio <= 1.0


def predict(unit: Unit, demand: Demand, *, kv_limit_ratio: float, now_seconds: float) -> Prediction:
    """What `demand` would meet on `unit`, as one request more."""
    objective, margin = unit.backend.objective, unit.backend.objective.margin_ratio
    tpot_seconds, ttft_seconds, kv_ratio, batch = _forecast(unit, demand, now_seconds)
    lateness_ratio, limit = max(
        (tpot_seconds / (margin * _tpot_objective(unit, demand)), "tpot"),
        (
            ttft_seconds / (margin * (demand.ttft_objective_seconds or objective.ttft_seconds)),
            "ttft",
        ),
        (kv_ratio / kv_limit_ratio, "kv"),
        (batch / unit.backend.max_running_requests, "slots"),
    )
    return Prediction(tpot_seconds, ttft_seconds, kv_ratio, lateness_ratio, limit)


def lateness(unit: Unit, demand: Demand, kv_limit_ratio: float, now_seconds: float) -> float:
    """The same worst prediction over limit, without the rest."""
    return lateness_of(unit, terms_of(demand, unit, kv_limit_ratio, now_seconds))


def is_full(unit: Unit, demand: Demand, *, kv_limit_ratio: float) -> bool:
    """Whether `demand` would only queue in the engine: no batch slot, or no KV room.

    An idle replica is never full, so that what is larger than the limit is served some day.
    """
    running = unit.running
    if running < 1.0:
        return False
    kv_tokens = unit.resident_tokens + demand.resident_tokens
    return (
        running + 1.0 > unit.backend.max_running_requests
        or kv_tokens > kv_limit_ratio * unit.kv_capacity_tokens
    )


def prefill_seconds(unit: Unit, demand: Demand) -> float:
    """Time to compute what is not cached of the prompt, decodes in the same steps included.

    An adapter that must be loaded comes first.
    """
    near = NOWHERE if demand.near is None else demand.near.at(unit.address)
    board, point = unit.board, unit.point
    new_tokens = demand.prompt_tokens - near.cached_tokens
    kv_seconds = board.kv_token_seconds * unit.resident_tokens
    decode_seconds = (point.now_seconds + kv_seconds) * point.now_ratio
    chunks = max(-(-new_tokens // board.chunk_tokens), 1.0)
    return near.load_seconds + _own_seconds(unit, demand, near) + chunks * decode_seconds


def send_prompt(unit: Unit, demand: Demand, *, now_seconds: float) -> None:
    """Count the prompt of a request that was just picked for `unit`, and others' like it."""
    near = NOWHERE if demand.near is None else demand.near.at(unit.address)
    prompt_seconds = _own_seconds(unit, demand, near)
    unit.prompt_inflow.add(unit.fleet_ratio * prompt_seconds, now_seconds=now_seconds)


def _own_seconds(unit: Unit, demand: Demand, near: Nearness) -> float:
    """Time to compute what is not cached of the prompt, alone."""
    board, cached = unit.board, near.cached_tokens
    new = demand.prompt_tokens - cached
    end = cached + new
    return board.prompt_token_seconds * new + (
        board.prompt_token_squared_seconds * (end * end - cached * cached)
    )


def _tpot_objective(unit: Unit, demand: Demand) -> float:
    """A request may ask for more than its backend promises, not for less.

    Those that run already were promised the backend's own, and it would be they who wait.
    """
    promised_seconds = unit.backend.objective.tpot_seconds
    asked_seconds = demand.tpot_objective_seconds
    return min(asked_seconds, promised_seconds) if asked_seconds else promised_seconds


def _forecast(unit: Unit, demand: Demand, now_seconds: float) -> tuple[float, float, float, float]:
    """TPOT, TTFT, KV use and batch once `demand` is there too.

    TPOT is the worse of two: that of a steady state at this batch (its interference as in
    fleet.physics), and that of a short answer among the prompts that came here just now. While
    prompts take a share s of the time, a decode step takes T / (1 - s); and never more than T and
    one full chunk, because that is all the prefill that an engine puts in a step.
    """
    step, mix, near = unit.profile.step, demand.mix, demand.at(unit.address)
    running, resident_tokens = unit.running, unit.resident_tokens
    batch, kv_tokens = running + 1.0, resident_tokens + demand.resident_tokens
    decode_seconds = step.decode_seconds(batch, kv_tokens)
    mean_seconds = step.prompt_seconds(mix.computed_prompt_tokens) / max(mix.output_tokens, 1.0)
    steady_seconds = decode_seconds + batch * mean_seconds

    cached_tokens = near.cached_tokens
    new_tokens = demand.prompt_tokens - cached_tokens
    own_seconds = step.prompt_seconds(new_tokens, cached_tokens=cached_tokens)
    inflow = unit.prompt_inflow
    share = inflow.per_second(now_seconds=now_seconds) + own_seconds / inflow.window_seconds
    chunk_tokens = step.chunk_tokens
    longest = max(new_tokens, mix.computed_prompt_tokens)
    burst_seconds = decode_seconds + step.prompt_seconds(
        chunk_tokens, cached_tokens=max(0.0, longest - chunk_tokens)
    )
    if share < 1.0:
        burst_seconds = min(decode_seconds / (1.0 - share), burst_seconds)

    chunks = -(-new_tokens // chunk_tokens)
    own_prefill_seconds = (
        near.load_seconds
        + own_seconds
        + max(chunks, 1.0) * step.decode_seconds(running, resident_tokens)
    )
    queue_seconds = max(0.0, unit.account.prefill_free_seconds - now_seconds)
    return (
        max(steady_seconds, burst_seconds),
        queue_seconds + unit.foreign_wait_seconds + own_prefill_seconds,
        kv_tokens / unit.kv_capacity_tokens,
        batch,
    )
