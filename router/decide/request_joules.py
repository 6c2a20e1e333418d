"""Priced dynamic joules of one request on one replica, at its present load. Pure."""

from fleet.physics import prefill_dynamic_joules, step_dynamic_joules
from router.decide.demand import Demand
from router.decide.unit import Unit


def marginal_joules(unit: Unit, demand: Demand) -> float:
    """Priced o * (W(B+1) - W(B)) + prefill: what this request adds at this moment."""
    batch, kv_tokens = unit.running, unit.resident_tokens
    power, step = unit.profile.power, unit.profile.step
    idle_watts, more_tokens = power.idle_watts, kv_tokens + demand.resident_tokens
    # W(B) as in fleet.physics.step_dynamic_joules, without two calls that every pick would pay.
    joules = (power.decode_watts(batch + 1.0) - idle_watts) * step.decode_seconds(
        batch + 1.0, more_tokens
    )
    if batch > 0.0:
        joules -= (power.decode_watts(batch) - idle_watts) * step.decode_seconds(batch, kv_tokens)
    return demand.output_tokens * joules * unit.price_ratio + prompt_joules(unit, demand)


def decode_share_joules(unit: Unit, demand: Demand) -> float:
    """Priced o * W(B+1) / (B+1): its equal share of the steps that it will be in."""
    batch = unit.running + 1.0
    joules = step_dynamic_joules(
        unit.profile, batch=batch, kv_tokens=unit.resident_tokens + demand.resident_tokens
    )
    return demand.output_tokens * joules / batch * unit.price_ratio


def prompt_joules(unit: Unit, demand: Demand) -> float:
    """Priced joules to compute what is not cached of the prompt, and to load its adapter.

    While an adapter is loaded the engine does not step, at the power of one that decodes.
    """
    near, power = demand.at(unit.address), unit.profile.power
    prefill = prefill_dynamic_joules(
        unit.profile,
        new_tokens=demand.prompt_tokens - near.cached_tokens,
        cached_tokens=near.cached_tokens,
    )
    loading = (power.floor_watts - power.idle_watts) * near.load_seconds
    return (prefill + loading) * unit.price_ratio
