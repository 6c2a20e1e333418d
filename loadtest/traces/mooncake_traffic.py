"""Traffic with the statistics of Mooncake's conversations: long contexts, shared prefixes. Pure.

Synthetic: conversations whose turns repeat what was said before. Fitted to
FAST25-release/traces/conversation_trace.jsonl (12,031 requests in 59 min) of
github.com/kvcache-ai/Mooncake, Apache-2.0. Means of ten drawn hours against the trace: prompt
11,705 tokens (12,035), answer 345 (343), share of prompt tokens that an unlimited cache of blocks
of 512 would have 0.372 (0.374), requests that share no more than the first block 0.67 (0.61).
Quantiles of the prompt from p25 to p95 are within 6 %, p99 within 1 %. Left out: the 3 s grid of
the trace's clock, and its changes over the hour.
"""

import heapq
import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from loadtest.arrivals import Arrival, assign_models
from loadtest.traces.quantile_lines import log_quantile, quantile

REQUESTS_PER_SECOND = 3.4015
"""Mean rate of the trace."""

_BLOCK_TOKENS = 512
_MOST_TOKENS = 126_195
# The block that all prompts of the trace begin with.
_COMMON_BLOCKS = (0,)

_RATIOS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_FIRST_PROMPT_TOKENS = (891, 894, 897, 905, 1336, 5264, 13056, 24000, 36000, 82000, _MOST_TOKENS)
_OUTPUT_TOKENS = (1, 3, 10, 24, 156, 350, 472, 597, 698, 1120, 2000)
_ADDED_TOKENS = (1, 1, 1, 5, 40, 130, 350, 1500, 4000, 10000, 30000)
_PAUSE_SECONDS = (3, 12, 30, 42, 66, 123, 264, 483, 618, 1482, 3030)
# Chance of a further turn after the first, second, ...; the last holds from there on.
_AGAIN_RATIOS = (0.35, 0.42, 0.51, 0.59, 0.59, 0.68, 0.77)
# Chance that a turn edits what was said, so that only a part of it, anywhere, is shared.
_EDIT_RATIO = 0.25
# Played before the first arrival, so that it meets conversations under way.
_RUN_IN_SECONDS = 1800.0


class _Turn(NamedTuple):
    """One request of a conversation, in the trace's own time."""

    at_seconds: float
    number: int
    turn: int
    prompt_tokens: int
    blocks: tuple[int, ...]


def mooncake_like(
    count: int, *, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> list[Arrival]:
    """Draw `count` arrivals; the mean rate over all gaps is exactly the wanted one.

    Times within conversations are scaled with the rate, as if the trace was played faster.

    Args:
        count: How many, at least 1.
        requests_per_second: Mean rate, above 0.
        seed: Of all draws.
        models: Weight of each model, see `assign_models`.

    Raises:
        ValueError: An argument is outside its range.
    """
    if count < 1:
        raise ValueError(f"count is {count}, it must be at least 1")
    if not (math.isfinite(requests_per_second) and requests_per_second > 0):
        raise ValueError(f"requests_per_second is {requests_per_second}, it must be above 0")
    drawn = list(itertools.islice(_turns(random.Random(f"{seed}:mooncake")), count))  # noqa: S311 - not for secrets
    first_seconds = drawn[0][0].at_seconds
    span_seconds = drawn[-1][0].at_seconds - first_seconds
    factor = span_seconds * requests_per_second / max(1, count - 1) or 1.0
    arrivals = (
        Arrival(
            (turn.at_seconds - first_seconds) / factor,
            turn.prompt_tokens,
            output_tokens,
            "",
            turn.blocks,
            _BLOCK_TOKENS,
        )
        for turn, output_tokens in drawn
    )
    return list(assign_models(arrivals, models=models, seed=seed))


def _turns(draws: random.Random) -> Iterator[tuple[_Turn, int]]:
    """Turns of all conversations in order of time, each with its answer's length, without end."""
    numbers = itertools.count()
    fresh_blocks = itertools.count(len(_COMMON_BLOCKS))
    mean_turns = _mean_turns()
    waiting: list[_Turn] = []
    next_seconds = -_RUN_IN_SECONDS
    while True:
        while not waiting or next_seconds <= waiting[0].at_seconds:
            tokens = round(log_quantile(draws.random(), _RATIOS, _FIRST_PROMPT_TOKENS))
            blocks = _longer(_COMMON_BLOCKS, tokens, fresh_blocks)
            heapq.heappush(waiting, _Turn(next_seconds, next(numbers), 0, tokens, blocks))
            next_seconds += draws.expovariate(REQUESTS_PER_SECOND / mean_turns)
        turn = heapq.heappop(waiting)
        output_tokens = round(quantile(draws.random(), _RATIOS, _OUTPUT_TOKENS))
        again = _AGAIN_RATIOS[min(turn.turn, len(_AGAIN_RATIOS) - 1)]
        if draws.random() < again:
            added = output_tokens + quantile(draws.random(), _RATIOS, _ADDED_TOKENS)
            tokens = min(_MOST_TOKENS, turn.prompt_tokens + round(added))
            pause_seconds = log_quantile(draws.random(), _RATIOS, _PAUSE_SECONDS)
            # The last block was not full, so the longer prompt has another one in its place.
            kept_blocks = turn.prompt_tokens // _BLOCK_TOKENS
            if draws.random() < _EDIT_RATIO:
                kept_blocks = max(len(_COMMON_BLOCKS), int(kept_blocks * draws.random()))
            kept = turn.blocks[:kept_blocks]
            blocks = _longer(kept, tokens, fresh_blocks)
            due_seconds = turn.at_seconds + pause_seconds
            heapq.heappush(
                waiting, _Turn(due_seconds, next(numbers), turn.turn + 1, tokens, blocks)
            )
        if turn.at_seconds >= 0.0:
            yield turn, output_tokens


def _longer(blocks: tuple[int, ...], tokens: int, fresh: Iterator[int]) -> tuple[int, ...]:
    """As many blocks as `tokens` need, the further ones never used before."""
    missing = -(-tokens // _BLOCK_TOKENS) - len(blocks)
    return (*blocks, *itertools.islice(fresh, max(0, missing)))


def _mean_turns() -> float:
    """Of a conversation: 1 + a1 + a1 a2 + ..., a geometric tail at the end."""
    mean, reached = 1.0, 1.0
    for again in _AGAIN_RATIOS[:-1]:
        reached *= again
        mean += reached
    last = _AGAIN_RATIOS[-1]
    return mean + reached * last / (1.0 - last)
