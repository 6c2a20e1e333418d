"""Rows of a CSV file with a header, by column name."""

import csv
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from loadtest.traces.errors import TraceError, shown
from loadtest.traces.lines import text_lines


class Record(NamedTuple):
    """One row.

    Attributes:
        line: Number of its last line in the file, from 1.
        fields: The wanted ones, in the wanted order.
        row: All of them, as in the file.
    """

    line: int
    fields: tuple[str, ...]
    row: tuple[str, ...]


def csv_records(
    path: Path, wanted: Sequence[str], *, passed_over: Collection[str] | None
) -> Iterator[Record]:
    """The rows one by one; blank lines are left out.

    Args:
        path: The file.
        wanted: Columns that the header must name, in the order of `Record.fields`.
        passed_over: Columns that it may name besides; None allows any.

    Raises:
        TraceError: While iterating: the file cannot be read, another header, a row with more or
            fewer fields than the header.
    """
    lines = _csv_lines(path)
    _, header = next(lines, (0, []))
    order = _column_order(path, header, wanted, passed_over)
    for line, row in lines:
        if not row:
            continue
        if len(row) != len(header):
            raise TraceError(path, line, f"{len(row)} fields, there must be {len(header)}")
        yield Record(line, tuple(row[index] for index in order), tuple(row))


def csv_header(line: str) -> list[str]:
    """The column names of a first line; empty for a line that is no CSV."""
    try:
        return [name.strip() for name in next(csv.reader([line]), [])]
    except csv.Error:
        return []


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text_lines(path))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise TraceError(path, reader.line_num, f"is not a CSV row: {error}") from error


def _column_order(
    path: Path, header: list[str], wanted: Sequence[str], passed_over: Collection[str] | None
) -> list[int]:
    names = [name.strip() for name in header]
    if not any(names):
        raise TraceError(path, None, "the first line is empty; it must name the columns")
    missing = [column for column in wanted if names.count(column) != 1]
    unknown = (
        [name for name in names if name not in wanted and name not in passed_over]
        if passed_over is not None
        else []
    )
    if missing or unknown:
        optional = f" (and may be {', '.join(sorted(passed_over))})" if passed_over else ""
        raise TraceError(
            path,
            1,
            f"the columns are {shown(', '.join(names))}; "
            f"they must be {', '.join(wanted)}, each once{optional}",
        )
    return [names.index(column) for column in wanted]
