"""Long work of the event loop in slices, so that requests get their turn in between.

A thread would not do: taking answers apart is work of the interpreter, and whoever does it holds
the lock that the event loop needs.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import TypeVar

from telemetry.attribution import Grouping
from telemetry.reading import Reading

_ItemT = TypeVar("_ItemT")
_READINGS = 256


async def in_slices(items: Iterable[_ItemT], *, size: int) -> AsyncIterator[list[_ItemT]]:
    """`items` in lists of up to `size`; whatever else waits gets its turn between two."""
    source = iter(items)
    part = list(islice(source, size))
    while part:
        yield part
        if len(part) < size:
            return
        await asyncio.sleep(0)
        part = list(islice(source, size))


async def readings_of(grouping: Grouping) -> tuple[Reading, ...]:
    """All readings of a round."""
    found: list[Reading] = []
    async for part in in_slices(grouping.readings(), size=_READINGS):
        found += part
    return tuple(found)
