"""The guard at length, from the profile; the terms of a pick must agree with it to the last bit."""

from router.decide.guard import Prediction


def predict(unit, demand, *, kv_limit_ratio, now_seconds):
    """What `router.decide.guard.predict` says."""
    objective, near = unit.backend.objective, demand.at(unit.address)
    step, mix = unit.profile.step, demand.mix
    running, resident_tokens = unit.running, unit.resident_tokens
    batch, kv_tokens = running + 1.0, resident_tokens + demand.resident_tokens
    decode_seconds = step.decode_seconds(batch, kv_tokens)
    mean_seconds = step.prompt_seconds(mix.computed_prompt_tokens) / max(mix.output_tokens, 1.0)
    new_tokens, chunk_tokens = demand.prompt_tokens - near.cached_tokens, step.chunk_tokens
    own_seconds = step.prompt_seconds(new_tokens, cached_tokens=near.cached_tokens)

    inflow = unit.prompt_inflow
    share = inflow.per_second(now_seconds=now_seconds) + own_seconds / inflow.window_seconds
    longest = max(new_tokens, mix.computed_prompt_tokens)
    burst_seconds = decode_seconds + step.prompt_seconds(
        chunk_tokens, cached_tokens=max(0.0, longest - chunk_tokens)
    )
    if share < 1.0:
        burst_seconds = min(decode_seconds / (1.0 - share), burst_seconds)
    tpot_seconds = max(decode_seconds + batch * mean_seconds, burst_seconds)

    chunks = max(-(-new_tokens // chunk_tokens), 1.0)
    prefill_seconds = (
        near.load_seconds + own_seconds + chunks * step.decode_seconds(running, resident_tokens)
    )
    queue_seconds = max(0.0, unit.account.prefill_free_seconds - now_seconds)
    ttft_seconds = queue_seconds + unit.foreign_wait_seconds + prefill_seconds

    # A request may ask for more than its backend promises, not for less: those that run already
    # were promised the backend's own.
    tpot_limit_seconds = min(demand.tpot_objective_seconds or 1e9, objective.tpot_seconds)
    ttft_limit_seconds = demand.ttft_objective_seconds or objective.ttft_seconds
    kv_ratio = kv_tokens / unit.kv_capacity_tokens
    lateness_ratio, limit = max(
        (tpot_seconds / (objective.margin_ratio * tpot_limit_seconds), "tpot"),
        (ttft_seconds / (objective.margin_ratio * ttft_limit_seconds), "ttft"),
        (kv_ratio / kv_limit_ratio, "kv"),
        (batch / unit.backend.max_running_requests, "slots"),
    )
    return Prediction(tpot_seconds, ttft_seconds, kv_ratio, lateness_ratio, limit)
