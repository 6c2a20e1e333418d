"""A CSV of any origin, whose columns the user names."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtest.traces.csv_records import csv_records
from loadtest.traces.fields import instant_nanoseconds, tokens
from loadtest.traces.rows import Row


class TimeUnit(enum.IntEnum):
    """What one unit of a number in the time column is, in nanoseconds."""

    SECONDS = 1_000_000_000
    MILLISECONDS = 1_000_000
    MICROSECONDS = 1_000
    NANOSECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column holds what; further ones are passed over.

    Attributes:
        time: Arrival: a number, or a date and time such as `2024-05-10T00:00:00.009930+00:00`
            (UTC where it has no zone).
        prompt_tokens: Length of the prompt.
        output_tokens: Length of the answer.
        model: Which model is asked; None when no column says so.
        tenant: Who asks; likewise.
        time_unit: Of a number in the time column.
    """

    time: str
    prompt_tokens: str
    output_tokens: str
    model: str | None = None
    tenant: str | None = None
    time_unit: TimeUnit = TimeUnit.SECONDS


def column_rows(path: Path, *, columns: Columns, model: str) -> Iterator[Row]:
    """The rows one by one.

    Args:
        path: The file.
        columns: What to read.
        model: Where no column names one, or its field is empty.

    Raises:
        TraceError: While iterating: a file that cannot be read or lacks a column, a field that is
            not what its column holds.
    """
    wanted = [columns.time, columns.prompt_tokens, columns.output_tokens]
    wanted += [name for name in (columns.model, columns.tenant) if name is not None]
    for line, fields, written in csv_records(path, wanted, passed_over=None):
        named = dict(zip(wanted, fields, strict=True))
        yield Row(
            line,
            instant_nanoseconds(
                path, line, columns.time, named[columns.time], unit_nanoseconds=columns.time_unit
            ),
            written,
            tokens(path, line, columns.prompt_tokens, named[columns.prompt_tokens]),
            tokens(path, line, columns.output_tokens, named[columns.output_tokens]),
            _text(named, columns.model) or model,
            tenant=_text(named, columns.tenant),
        )


def _text(named: dict[str, str], column: str | None) -> str | None:
    return (named[column].strip() or None) if column is not None else None
