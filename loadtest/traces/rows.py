"""From rows of any format to arrivals: order, repeats, the first at 0. Pure.

**Equal times are accepted, repeated rows are not always.** Simultaneous arrivals are what a clock
without fractions must write (BurstGPT counts whole seconds, Mooncake's stamps are 3 s apart), and
two equal requests in one such tick (two failures of 0 tokens, one prompt sent twice) are as
ordinary. Where a stamp tells less than a millisecond, a row that repeats another *whole* one,
further columns included, is no coincidence but a log that was joined with itself: Azure's 2023
traces, 28,185 rows at 100 ns, have none. Replaying it would double the load unseen, so it is
refused, unless the caller says that repeats are meant.
"""

from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from loadtest.arrivals import Arrival
from loadtest.traces.errors import TraceError
from loadtest.traces.fields import NANOSECONDS_PER_SECOND

DEFAULT_BLOCK_TOKENS = 512

_NANOSECONDS_PER_MILLISECOND = 1_000_000


class Row(NamedTuple):
    """One request as a file tells it.

    Attributes:
        line: Number of its line, from 1.
        at_nanoseconds: On the file's own clock.
        written: The whole row, to tell repeats.
        prompt_tokens: See `Arrival`, as the rest.
        output_tokens: Likewise.
        model: Likewise.
        tenant: Likewise.
        prefix_blocks: Likewise.
        prefix_block_tokens: Likewise.
    """

    line: int
    at_nanoseconds: int
    written: Hashable
    prompt_tokens: int
    output_tokens: int
    model: str
    tenant: str | None = None
    prefix_blocks: tuple[int, ...] = ()
    prefix_block_tokens: int = DEFAULT_BLOCK_TOKENS


def in_order(path: Path, rows: Iterable[Row], *, repeats_allowed: bool) -> Iterator[Arrival]:
    """Arrivals one by one, the first at 0 s; holds no more than the rows of one instant.

    Raises:
        TraceError: While iterating: no rows, a row earlier than the one before, or, unless
            `repeats_allowed`, one that repeats another at a time told finer than a millisecond.
    """
    first: int | None = None
    last: int | None = None
    lines_of_instant: dict[Hashable, int] = {}
    for row in rows:
        if last is None or row.at_nanoseconds > last:
            lines_of_instant.clear()
        elif row.at_nanoseconds < last:
            raise TraceError(
                path, row.line, "the time is earlier than in the row before; sort the file by time"
            )
        if not repeats_allowed and row.at_nanoseconds % _NANOSECONDS_PER_MILLISECOND:
            _refuse_repeat(path, row, lines_of_instant)
        first = row.at_nanoseconds if first is None else first
        last = row.at_nanoseconds
        yield Arrival(
            (row.at_nanoseconds - first) / NANOSECONDS_PER_SECOND,
            row.prompt_tokens,
            row.output_tokens,
            row.model,
            row.prefix_blocks,
            row.prefix_block_tokens,
            row.tenant,
        )
    if first is None:
        raise TraceError(path, None, "the trace has no requests; at least one is needed")


def _refuse_repeat(path: Path, row: Row, lines_of_instant: dict[Hashable, int]) -> None:
    line = lines_of_instant.setdefault(row.written, row.line)
    if line != row.line:
        raise TraceError(
            path,
            row.line,
            f"repeats line {line} to the fraction of a millisecond; remove rows that were logged "
            "twice, or allow repeats",
        )
