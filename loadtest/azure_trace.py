"""Reader of Azure's public LLM inference traces: `TIMESTAMP,ContextTokens,GeneratedTokens`.

Both spellings of time are read: 2023's `2023-11-16 18:15:46.6805900` (100 ns) and 2024's
`2024-05-10 00:00:00.009930+00:00`; a time without a zone is UTC. The published 2023 files are in
order and repeat no time; equal times are accepted all the same (simultaneous arrivals), because a
coarser clock must write them. Source: github.com/Azure/AzurePublicDataset, CC BY 4.0.
"""

import csv
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TextIO

from loadtest.arrivals import Arrival

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
"""Exactly these, in any order."""

_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?", re.ASCII
)
_NANOSECONDS = 1_000_000_000
_SHOWN_CHARACTERS = 80  # of a wrong value in a message
_MAX_TOKEN_DIGITS = 9  # longer ones are no token count, and int() refuses absurd ones


class AzureTraceError(ValueError):
    """The trace cannot be used; the message names the file, the line and what is allowed.

    Attributes:
        path: The file.
        line: Counted from 1; None when the file as a whole is meant.
    """

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        """Compose the sentence."""
        super().__init__(f"{path}: {problem}" if line is None else f"{path}:{line}: {problem}")
        self.path = path
        self.line = line


def stream_azure_trace(path: Path, *, model: str) -> Iterator[Arrival]:
    """Read arrivals one by one, the first at 0 s; a week's trace needs no more memory than a row.

    Args:
        path: The CSV file.
        model: Set on every arrival, as the format names none; `arrivals.assign_models` mixes.

    Raises:
        AzureTraceError: While iterating: a file that cannot be read or has no rows, other columns,
            a time that is malformed or earlier than the one before, tokens that are not whole
            numbers of 0 and more.
    """
    first: int | None = None
    last: int | None = None
    for line, (timestamp, context, generated) in _rows(path):
        at = _epoch_nanoseconds(path, line, timestamp)
        if last is not None and at < last:
            raise AzureTraceError(
                path, line, f"TIMESTAMP {timestamp!r} is earlier than the row before; sort the file"
            )
        first, last = (at if first is None else first), at
        yield Arrival(
            (at - first) / _NANOSECONDS,
            _tokens(path, line, COLUMNS[1], context),
            _tokens(path, line, COLUMNS[2], generated),
            model,
        )
    if last is None:
        raise AzureTraceError(path, None, "the trace has no rows; at least one is needed")


def load_azure_trace(path: Path, *, model: str, limit: int | None = None) -> list[Arrival]:
    """The first `limit` arrivals (None: all); rows after them are not looked at.

    Raises:
        AzureTraceError: As `stream_azure_trace`.
    """
    return list(islice(stream_azure_trace(path, model=model), limit))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and the three fields in the order of `COLUMNS`; blank lines are passed over."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = _csv_lines(path, file)
            _, header = next(lines, (0, []))
            if not header:
                raise AzureTraceError(path, None, "the first line is empty; it must be a header")
            order = _column_order(path, header)
            for line, fields in lines:
                if fields and len(fields) != len(COLUMNS):
                    raise AzureTraceError(
                        path, line, f"{len(fields)} fields, there must be {len(COLUMNS)}"
                    )
                if fields:
                    yield line, [fields[index] for index in order]
    except OSError as error:
        raise AzureTraceError(path, None, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AzureTraceError(path, None, "is not UTF-8 text; a CSV file is needed") from error


def _csv_lines(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file)
    try:
        for fields in reader:
            yield reader.line_num, fields
    except csv.Error as error:
        raise AzureTraceError(path, reader.line_num, f"is not a CSV row: {error}") from error


def _column_order(path: Path, header: list[str]) -> list[int]:
    names = [name.strip() for name in header]
    if sorted(names) != sorted(COLUMNS):
        found = ", ".join(names)[:_SHOWN_CHARACTERS]
        raise AzureTraceError(
            path, 1, f"the columns are {found}; they must be {', '.join(COLUMNS)}"
        )
    return [names.index(column) for column in COLUMNS]


def _epoch_nanoseconds(path: Path, line: int, timestamp: str) -> int:
    # Whole numbers: a float of epoch seconds no longer tells 100 ns apart.
    match = _TIMESTAMP.fullmatch(timestamp.strip())
    if match is None:
        raise _bad_timestamp(path, line, timestamp)
    day, clock, fraction, zone = match.groups()
    try:
        seconds = _epoch_seconds(f"{day}T{clock}{zone or ''}")
    except ValueError as error:
        raise _bad_timestamp(path, line, timestamp) from error
    return seconds * _NANOSECONDS + int((fraction or "").ljust(9, "0"))


def _bad_timestamp(path: Path, line: int, timestamp: str) -> AzureTraceError:
    example = "2023-11-16 18:15:46.6805900"
    return AzureTraceError(
        path,
        line,
        f"TIMESTAMP {timestamp[:_SHOWN_CHARACTERS]!r} is not a time like {example!r}",
    )


@lru_cache(maxsize=4)  # neighbours share their second
def _epoch_seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def _tokens(path: Path, line: int, column: str, text: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_TOKEN_DIGITS):
        raise AzureTraceError(
            path,
            line,
            f"{column} is {text[:_SHOWN_CHARACTERS]!r}, it must be a whole number of 0 and more",
        )
    return int(digits)
