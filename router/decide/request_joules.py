"""Priced dynamic joules of one request on one replica, at its present load. Pure."""

from router.decide.affinity_nearness import NOWHERE
from router.decide.demand import Demand
from router.decide.unit import Unit


def marginal_joules(unit: Unit, demand: Demand) -> float:
    """Priced o * (W(B+1) - W(B)) + prefill: what this request adds at this moment."""
    point, resident_tokens = unit.point, unit.resident_tokens
    kv_seconds = unit.board.kv_token_seconds
    more_tokens = resident_tokens + (demand.prompt_tokens + 0.5 * demand.output_tokens)
    # W(B) as in fleet.physics.step_dynamic_joules, from what the board has at this batch.
    joules = point.next_watts * (
        (point.next_seconds + kv_seconds * more_tokens) * point.next_ratio
    ) - point.now_watts * ((point.now_seconds + kv_seconds * resident_tokens) * point.now_ratio)
    return demand.output_tokens * joules * unit.price_ratio + prompt_joules(unit, demand)


def decode_share_joules(unit: Unit, demand: Demand) -> float:
    """Priced o * W(B+1) / (B+1): its equal share of the steps that it will be in."""
    point, kv_tokens = unit.point, unit.resident_tokens + demand.resident_tokens
    step_seconds = (point.next_seconds + unit.board.kv_token_seconds * kv_tokens) * point.next_ratio
    joules = point.next_watts * step_seconds
    return demand.output_tokens * joules / (unit.running + 1.0) * unit.price_ratio


def prompt_joules(unit: Unit, demand: Demand) -> float:
    """Priced joules to compute what is not cached of the prompt, and to load its adapter.

    While an adapter is loaded the engine does not step, at the power of one that decodes.
    """
    near = NOWHERE if demand.near is None else demand.near.at(unit.address)
    board, cached_tokens = unit.board, near.cached_tokens
    prompt_seconds = board.prompt_seconds(demand.prompt_tokens - cached_tokens, cached_tokens)
    loading_joules = board.loading_watts * near.load_seconds
    return (board.prefill_watts * prompt_seconds + loading_joules) * unit.price_ratio
