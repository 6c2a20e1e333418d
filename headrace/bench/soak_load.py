"""The load of `headrace bench soak`: requests of mixed sizes, and streams held open."""

import asyncio
import itertools
import random
import time
from collections.abc import Iterator

from headrace.bench.extproc_load import numbered, request_parts
from headrace.bench.open_load import Connection, OpenLoad, Parts
from headrace.bench.soak_upstream import HOLD

BODY_BYTES = {512: 0.60, 8_000: 0.30, 220_000: 0.09, 1_000_000: 0.01}
"""Sizes of request bodies, and their shares."""
HANG_UP_RATIO = 0.02
_HANG_UP_SECONDS = 4.0
_AT_ONCE = 50
_ANSWER_SECONDS = 30.0


def mixed_load(
    address: tuple[str, int], *, requests_per_second: float, numbers: Iterator[int], seed: int
) -> OpenLoad:
    """Poisson arrivals to one listener; no two prompts begin alike."""
    draws = random.Random(seed)  # noqa: S311 - load, not secrets
    return OpenLoad(
        address,
        requests=_mixed(draws, numbers),
        gaps_seconds=(draws.expovariate(requests_per_second) for _ in itertools.count()),
        draws=draws,
        hang_up_ratio=HANG_UP_RATIO,
        hang_up_seconds=_HANG_UP_SECONDS,
    )


def _mixed(draws: random.Random, numbers: Iterator[int]) -> Iterator[Parts]:
    parts = {size: request_parts(size) for size in BODY_BYTES}
    sizes, shares = list(BODY_BYTES), list(BODY_BYTES.values())
    while True:
        [size] = draws.choices(sizes, shares)
        yield numbered(parts[size], next(numbers))


async def hold_streams(
    address: tuple[str, int], count: int, numbers: Iterator[int]
) -> list[Connection]:
    """Open `count` requests whose answers begin and never end.

    Raises:
        TimeoutError: When answers do not begin.
        ConnectionError: When one was refused or cut off.
    """
    parts = request_parts(min(BODY_BYTES), header=HOLD)
    held: list[Connection] = []
    async with asyncio.timeout(_ANSWER_SECONDS + count / _AT_ONCE):
        for start in range(0, count, _AT_ONCE):
            now = range(start, min(start + _AT_ONCE, count))
            held += await asyncio.gather(
                *(_hold(address, numbered(parts, next(numbers))) for _ in now)
            )
    return held


async def _hold(address: tuple[str, int], request: Parts) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(_nothing), *address)
    connection.send(request, time.perf_counter())
    await connection.head_came.wait()
    if not connection.is_busy:
        raise ConnectionError("a request that was to be held open was answered or cut off")
    return connection


def _nothing(_connection: Connection, _is_ok: bool) -> None:
    """Its end is somebody else's matter."""
