"""Azure's public LLM inference traces: `TIMESTAMP,ContextTokens,GeneratedTokens`.

Both spellings of time are read: 2023's `2023-11-16 18:15:46.6805900` (100 ns) and 2024's
`2024-05-10 00:00:00.009930+00:00`; a time without a zone is UTC. Source:
github.com/Azure/AzurePublicDataset, CC BY 4.0.
"""

from collections.abc import Iterator
from pathlib import Path

from loadtest.traces.csv_records import csv_records
from loadtest.traces.fields import date_time_nanoseconds, tokens
from loadtest.traces.rows import Row

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
"""Exactly these, in any order."""


def azure_rows(path: Path, *, model: str) -> Iterator[Row]:
    """The rows one by one; `model` is set on each, as the format names none.

    Raises:
        TraceError: While iterating: a file that cannot be read, other columns, a field that is not
            what its column holds.
    """
    for line, (timestamp, context, generated), written in csv_records(
        path, COLUMNS, passed_over=()
    ):
        yield Row(
            line,
            date_time_nanoseconds(path, line, COLUMNS[0], timestamp),
            written,
            tokens(path, line, COLUMNS[1], context),
            tokens(path, line, COLUMNS[2], generated),
            model,
        )
