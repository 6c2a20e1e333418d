"""Reshapes arrivals: how many, how long, whose. Pure, seeded, streaming and composable.

Each takes arrivals in order of time and gives arrivals in order of time, one by one; arguments are
checked when it is called, not when the first arrival is pulled.
"""

import heapq
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter

from loadtest.arrivals import Arrival

_SHORTEST_SECONDS = 1e-9


def mean_requests_per_second(arrivals: Iterable[Arrival]) -> float | None:
    """Gaps over the time they span; None for fewer than two arrivals or simultaneous ones."""
    count = 0
    first_seconds = last_seconds = 0.0
    for arrival in arrivals:
        if count == 0:
            first_seconds = arrival.at_seconds
        last_seconds = arrival.at_seconds
        count += 1
    span_seconds = last_seconds - first_seconds
    # Shorter than any clock ticks is simultaneous, and its rate would not be a number.
    return (count - 1) / span_seconds if span_seconds > _SHORTEST_SECONDS else None


def limit(arrivals: Iterable[Arrival], *, count: int) -> Iterator[Arrival]:
    """The first `count`; those after them are not pulled.

    Raises:
        ValueError: `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count is {count}, it must be 0 or more")
    return islice(arrivals, count)


def window(
    arrivals: Iterable[Arrival], *, start_seconds: float, end_seconds: float
) -> Iterator[Arrival]:
    """Those due in [start, end), with `start_seconds` as the new 0; ends at the first later one."""
    for arrival in arrivals:
        if arrival.at_seconds >= end_seconds:
            return
        if arrival.at_seconds >= start_seconds:
            yield arrival._replace(at_seconds=arrival.at_seconds - start_seconds)


def thin(arrivals: Iterable[Arrival], *, keep_ratio: float, seed: int) -> Iterator[Arrival]:
    """Keep each arrival with probability `keep_ratio`, independently of all others.

    Raises:
        ValueError: The ratio is not above 0 and at most 1.
    """
    if not 0 < keep_ratio <= 1:
        raise ValueError(f"keep_ratio is {keep_ratio}, it must be above 0 and at most 1")
    draws = random.Random(f"{seed}:thin")  # noqa: S311 - not for secrets
    return (arrival for arrival in arrivals if draws.random() < keep_ratio)


def speed_up(arrivals: Iterable[Arrival], *, factor: float) -> Iterator[Arrival]:
    """Divide all due times by `factor`; state the factor wherever results are shown.

    Raises:
        ValueError: `factor` is not a positive number.
    """
    _require_positive("factor", factor)
    return (arrival._replace(at_seconds=arrival.at_seconds / factor) for arrival in arrivals)


def speed_up_factor(arrivals: Iterable[Arrival], *, requests_per_second: float) -> float:
    """The factor for `speed_up` that brings the mean rate to `requests_per_second`.

    Reads all arrivals, holding none: give it a list or a `Trace`, which can be read again.

    Raises:
        ValueError: The rate is not a positive number, or the arrivals have no mean rate.
    """
    _require_positive("requests_per_second", requests_per_second)
    present = mean_requests_per_second(arrivals)
    if present is None:
        raise ValueError("arrivals that span no time have no rate to speed up")
    return requests_per_second / present


def cap_lengths(
    arrivals: Iterable[Arrival],
    *,
    max_prompt_tokens: int | None = None,
    max_output_tokens: int | None = None,
) -> Iterator[Arrival]:
    """Cut longer prompts, with their blocks, and answers; None leaves them as they are.

    Raises:
        ValueError: A limit is below 1.
    """
    for name, most in (("prompt", max_prompt_tokens), ("output", max_output_tokens)):
        if most is not None and most < 1:
            raise ValueError(f"max_{name}_tokens is {most}, it must be at least 1")
    return (_capped(arrival, max_prompt_tokens, max_output_tokens) for arrival in arrivals)


def rename_models(arrivals: Iterable[Arrival], *, models: Mapping[str, str]) -> Iterator[Arrival]:
    """Replace the models that a trace names by those of a fleet.

    Raises:
        ValueError: While iterating: a model that `models` does not name.
    """
    for arrival in arrivals:
        if arrival.model not in models:
            raise ValueError(
                f"the trace asks for model {arrival.model!r}, which is renamed to none; "
                f"known are {', '.join(sorted(models)) or 'none'}"
            )
        yield arrival._replace(model=models[arrival.model])


def merge(*streams: Iterable[Arrival]) -> Iterator[Arrival]:
    """All arrivals of several streams, each in order, as one."""
    return heapq.merge(*streams, key=attrgetter("at_seconds"))


def repeat(arrivals: Iterable[Arrival], *, times: int | None = None) -> Iterator[Arrival]:
    """Play a trace over and over: each pass starts one mean gap after the end of the last.

    Shared prefixes repeat as well, so a prefix cache sees more hits than the trace has.

    Args:
        arrivals: Something that can be read again, as a list or a `Trace` can.
        times: How often; None without end.

    Raises:
        ValueError: `times` is below 1. While iterating: the arrivals cannot be read again, or span
            no time.
    """
    if times is not None and times < 1:
        raise ValueError(f"times is {times}, it must be at least 1")
    return _repeated(arrivals, times)


def _repeated(arrivals: Iterable[Arrival], times: int | None) -> Iterator[Arrival]:
    offset_seconds = 0.0
    passes = 0
    while times is None or passes < times:
        count = 0
        first_seconds = last_seconds = 0.0
        for arrival in arrivals:
            if count == 0:
                first_seconds = arrival.at_seconds
            last_seconds = arrival.at_seconds
            count += 1
            yield arrival._replace(at_seconds=offset_seconds + last_seconds)
        span_seconds = last_seconds - first_seconds
        passes += 1
        if count == 0 or (passes != times and not span_seconds > 0):
            raise ValueError(
                "arrivals that span no time, or that can be read only once, cannot be repeated"
            )
        # The gap between passes: n arrivals have n - 1 gaps.
        offset_seconds += span_seconds * (1.0 + 1.0 / (count - 1)) if count > 1 else 0.0


def _capped(
    arrival: Arrival, max_prompt_tokens: int | None, max_output_tokens: int | None
) -> Arrival:
    prompt_tokens = _at_most(arrival.prompt_tokens, max_prompt_tokens)
    blocks = -(-prompt_tokens // arrival.prefix_block_tokens)
    return arrival._replace(
        prompt_tokens=prompt_tokens,
        output_tokens=_at_most(arrival.output_tokens, max_output_tokens),
        prefix_blocks=arrival.prefix_blocks[:blocks],
    )


def _at_most(tokens: int, most: int | None) -> int:
    return tokens if most is None else min(tokens, most)


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}, it must be a number above 0")
