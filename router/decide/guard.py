"""What a request would meet on a replica, and whether that keeps the objective. Pure.

Predicted TPOT at B + 1 with prefill interference, predicted TTFT, KV room and batch slots, each
over its limit. `router.decide.terms` has the quick way to whether all of them hold.
"""

from typing import NamedTuple

from router.decide.affinity_nearness import NOWHERE
from router.decide.demand import Demand
from router.decide.terms import forecast, lateness_of, terms_of
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
    terms = terms_of(demand, unit, kv_limit_ratio, now_seconds)
    tpot_seconds, ttft_seconds, kv_ratio = forecast(unit, terms)
    lateness_ratio, limit = max(
        (tpot_seconds / terms.tpot_limit_seconds, "tpot"),
        (ttft_seconds / terms.ttft_limit_seconds, "ttft"),
        (kv_ratio / kv_limit_ratio, "kv"),
        (unit.point.slots_ratio, "slots"),
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


def send_prompt(unit: Unit, demand: Demand, *, now_seconds: float) -> float:
    """Count the prompt of a request that was just picked for `unit`, and others' like it.

    Returns:
        Seconds to compute what is not cached of it, decodes in the same steps included. An adapter
        that must be loaded comes first.
    """
    near = NOWHERE if demand.near is None else demand.near.at(unit.address)
    board, point, new_tokens = unit.board, unit.point, demand.prompt_tokens - near.cached_tokens
    own_seconds = board.prompt_seconds(new_tokens, near.cached_tokens)
    unit.prompt_inflow.add(unit.fleet_ratio * own_seconds, now_seconds=now_seconds)
    kv_seconds = board.kv_token_seconds * unit.resident_tokens
    decode_seconds = (point.now_seconds + kv_seconds) * point.now_ratio
    chunks = max(-(-new_tokens // board.chunk_tokens), 1.0)
    return near.load_seconds + own_seconds + chunks * decode_seconds
