"""What one engine step takes in time and energy. Pure."""

# ruff: noqa: SLF001 (the underscored fields of a request belong to its engine, of which this is part)

from collections.abc import Sequence

from loadtest.engine_state import EngineRequest, Iteration
from loadtest.truth import Truth


def price(
    truth: Truth,
    *,
    batch: int,
    attended_tokens: int,
    chunks: Sequence[tuple[EngineRequest, int]],
    now_seconds: float,
) -> Iteration:
    """Time and energy of a step that was put together.

    Args:
        truth: Physics of the replica.
        batch: Requests that decode.
        attended_tokens: Their resident tokens.
        chunks: Prompts that are computed, and how many tokens of each.
        now_seconds: When the step begins.
    """
    assert batch or chunks, "a step must make progress"
    decode_seconds = truth.step_seconds(batch, kv_tokens=attended_tokens)
    prefill_seconds = 0.0
    prefill_tokens = 0
    for request, tokens in chunks:
        done_tokens = request._computed_tokens
        prefill_seconds += truth.chunk_seconds(done_tokens=done_tokens, new_tokens=tokens)
        prefill_tokens += tokens
    if batch and chunks:
        decode_seconds += truth.mixed_step_seconds
    joules = (
        decode_seconds * truth.decode_watts_by_batch[batch] + prefill_seconds * truth.prefill_watts
    )
    duration_seconds = decode_seconds + prefill_seconds
    return Iteration(now_seconds, duration_seconds, batch, prefill_tokens, joules)
