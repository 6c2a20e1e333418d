"""Arrivals: which request comes when, of what size, for which model. Pure and seeded.

The generators draw traffic shaped like Azure's LLM inference of November 2023 for users who have
no trace; `loadtest.traces` reads recorded ones and reshapes both.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate, islice
from typing import NamedTuple

from loadtest.traces import azure_code, azure_conv


class Arrival(NamedTuple):
    """One request to come.

    Attributes:
        at_seconds: Due time, from the start of the replay.
        prompt_tokens: Length of the prompt.
        output_tokens: Length of the answer.
        model: Which model is asked.
        prefix_blocks: Ids of the prompt's leading blocks, the last of which may be partial. Equal
            ids stand for equal contents *and* equal blocks before them, so prompts that begin
            alike have equal leading ids (`loadtest.traces.prefix`). Empty: nothing is known.
        prefix_block_tokens: Length of such a block.
        tenant: Who asks; None when unknown.
    """

    at_seconds: float
    prompt_tokens: int
    output_tokens: int
    model: str
    prefix_blocks: tuple[int, ...] = ()
    prefix_block_tokens: int = 512
    tenant: str | None = None


class _Shape(NamedTuple):
    """What a generator draws from.

    Attributes:
        requests_per_second: Mean rate of `due_seconds`.
        due_seconds: Endless times, the first at 0.
        lengths: Prompt and answer tokens of one request.
    """

    requests_per_second: float
    due_seconds: Callable[[random.Random], Iterator[float]]
    lengths: Callable[[random.Random], tuple[int, int]]


_CONV = _Shape(azure_conv.REQUESTS_PER_SECOND, azure_conv.due_seconds, azure_conv.lengths)
_CODE = _Shape(azure_code.REQUESTS_PER_SECOND, azure_code.due_seconds, azure_code.lengths)


def azure_like(
    count: int, *, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> list[Arrival]:
    """Draw `count` arrivals with the burstiness and the lengths of the Azure 2023 conv trace.

    The trace is sped up or slowed down as a whole to the wanted rate (its own is 5.53 requests/s),
    so bursts keep their size in requests. The drawn times are then stretched so that the first is
    at 0 and the mean rate over all gaps is exactly the wanted one: two seeds offer the same load.
    The same arguments give the same arrivals; times, lengths and models are drawn apart, so that
    another choice of models changes neither of the others.

    Args:
        count: How many, at least 1.
        requests_per_second: Mean rate, above 0.
        seed: Of all draws.
        models: Weight of each model, see `assign_models`.

    Raises:
        ValueError: An argument is outside its range.
    """
    return _drawn(_CONV, count, requests_per_second, seed, models)


def azure_code_like(
    count: int, *, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> list[Arrival]:
    """As `azure_like`, with the statistics of the code trace (its own rate is 2.57 requests/s).

    Prompts of 2,048 tokens on average, answers of 28, and bursts that leave the service silent for
    three quarters of the time. How many long pauses an hour has is chance, so stretching it to the
    wanted rate moves all its gaps, typically by a sixth.

    Raises:
        ValueError: An argument is outside its range.
    """
    return _drawn(_CODE, count, requests_per_second, seed, models)


def azure_like_stream(
    *, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> Iterator[Arrival]:
    """The arrivals of `azure_like` without an end, pulled one by one.

    The mean rate is the wanted one over long times only: an hour differs from it as hours of the
    trace do among themselves. Use `azure_like` where runs must offer the same load.

    Raises:
        ValueError: An argument is outside its range.
    """
    return _stream(_CONV, requests_per_second, seed, models)


def azure_code_like_stream(
    *, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> Iterator[Arrival]:
    """The arrivals of `azure_code_like` without an end; the rate holds as in `azure_like_stream`.

    Raises:
        ValueError: An argument is outside its range.
    """
    return _stream(_CODE, requests_per_second, seed, models)


def assign_models(
    arrivals: Iterable[Arrival], *, models: Mapping[str, float], seed: int
) -> Iterator[Arrival]:
    """Give each arrival one of `models`, drawn independently with their weights.

    Args:
        arrivals: Their own models are replaced.
        models: Weights of any scale, none negative, not all 0.
        seed: Of the draws.

    Raises:
        ValueError: The weights are not such.
    """
    names = _names(models, what="model", seed=seed)
    return (arrival._replace(model=next(names)) for arrival in arrivals)


def assign_tenants(
    arrivals: Iterable[Arrival], *, tenants: Mapping[str, float], seed: int
) -> Iterator[Arrival]:
    """Give each arrival one of `tenants`, as `assign_models` does with models.

    Raises:
        ValueError: The weights are not finite, negative or all 0.
    """
    names = _names(tenants, what="tenant", seed=seed)
    return (arrival._replace(tenant=next(names)) for arrival in arrivals)


def _drawn(
    shape: _Shape, count: int, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> list[Arrival]:
    """The first `count` of the stream, stretched to exactly the wanted mean rate."""
    if count < 1:
        raise ValueError(f"count is {count}, it must be at least 1")
    drawn = list(islice(_stream(shape, requests_per_second, seed, models), count))
    if count == 1:
        return drawn
    factor = drawn[-1].at_seconds * requests_per_second / (count - 1)
    return [arrival._replace(at_seconds=arrival.at_seconds / factor) for arrival in drawn]


def _stream(
    shape: _Shape, requests_per_second: float, seed: int, models: Mapping[str, float]
) -> Iterator[Arrival]:
    if not (math.isfinite(requests_per_second) and requests_per_second > 0):
        raise ValueError(f"requests_per_second is {requests_per_second}, it must be above 0")
    factor = requests_per_second / shape.requests_per_second
    names = _names(models, what="model", seed=seed)
    times = random.Random(f"{seed}:times")  # noqa: S311 - not for secrets
    lengths = random.Random(f"{seed}:lengths")  # noqa: S311 - not for secrets
    return (
        Arrival(at_seconds / factor, *shape.lengths(lengths), next(names))
        for at_seconds in shape.due_seconds(times)
    )


def _names(weights: Mapping[str, float], *, what: str, seed: int) -> Iterator[str]:
    """Names without end, drawn by their weights, which are checked at once."""
    values = list(weights.values())
    if not all(math.isfinite(value) and value >= 0 for value in values) or not sum(values) > 0:
        raise ValueError(
            f"{what} weights are {dict(weights)}, they must be finite, not negative and not all 0"
        )
    names = list(weights)
    draws = random.Random(f"{seed}:{what}s")  # noqa: S311 - not for secrets
    bounds = list(accumulate(values))
    # Endless: no name is None.
    return iter(lambda: draws.choices(names, cum_weights=bounds)[0], None)
