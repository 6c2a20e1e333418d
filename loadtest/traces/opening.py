"""Opens a trace of any known format."""

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from loadtest.arrivals import Arrival
from loadtest.traces import azure, burstgpt, rate_curve
from loadtest.traces.azure import azure_rows
from loadtest.traces.burstgpt import burstgpt_rows
from loadtest.traces.columns import Columns, column_rows
from loadtest.traces.csv_records import csv_header
from loadtest.traces.errors import TraceError, shown
from loadtest.traces.lines import text_lines
from loadtest.traces.mooncake import mooncake_rows
from loadtest.traces.rate_curve import curve_rows
from loadtest.traces.rows import DEFAULT_BLOCK_TOKENS, Row, in_order


class TraceFormat(enum.StrEnum):
    """What can be read."""

    AZURE = "azure"
    BURSTGPT = "burstgpt"
    MOONCAKE = "mooncake"
    RATE_CURVE = "rate-curve"
    CSV = "csv"


_NAMES = {
    TraceFormat.AZURE: "Azure LLM inference CSV",
    TraceFormat.BURSTGPT: "BurstGPT CSV",
    TraceFormat.MOONCAKE: "Mooncake JSON lines",
    TraceFormat.RATE_CURVE: "curve of rates, arrivals are drawn",
    TraceFormat.CSV: "CSV with named columns",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A file that yields its arrivals one by one, from the start on every iteration.

    Attributes:
        path: The file.
        trace_format: What it was read as.
        description: One line for the user: what it was read as, and why.
        rows: Starts reading.
        repeats_allowed: See `loadtest.traces.rows`.
    """

    path: Path
    trace_format: TraceFormat
    description: str
    rows: Callable[[], Iterator[Row]]
    repeats_allowed: bool

    def __iter__(self) -> Iterator[Arrival]:
        """The arrivals, the first at 0 s.

        Raises:
            TraceError: While iterating: the file cannot be used.
        """
        return in_order(self.path, self.rows(), repeats_allowed=self.repeats_allowed)


def open_trace(
    path: Path,
    *,
    model: str,
    trace_format: TraceFormat | None = None,
    columns: Columns | None = None,
    failures: bool = False,
    block_tokens: int = DEFAULT_BLOCK_TOKENS,
    repeats_allowed: bool = False,
) -> Trace:
    """Recognise a trace by its first line; its rows are read when it is iterated over.

    Args:
        path: Plain or gzip.
        model: Set on arrivals for which the file names none.
        trace_format: Overrides what the first line looks like.
        columns: The columns of a CSV of none of the known formats; implies `TraceFormat.CSV`.
        failures: BurstGPT: whether to keep failed requests.
        block_tokens: Mooncake: length of the prompt blocks that its ids stand for, at least 1.
        repeats_allowed: Accept repeated rows that look like a log joined with itself.

    Raises:
        TraceError: The file cannot be read or not be recognised, or `columns` are missing.
        ValueError: `block_tokens` is below 1.
    """
    if block_tokens < 1:
        raise ValueError(f"block_tokens is {block_tokens}, it must be at least 1")
    first_line = next(text_lines(path), "")
    if columns is not None:
        chosen, reason = TraceFormat.CSV, "by the columns that were named"
    elif trace_format is not None:
        chosen, reason = trace_format, "as was asked for"
    else:
        chosen, reason = _recognised(path, first_line), "recognised by its first line"
    readers: dict[TraceFormat, Callable[[], Iterator[Row]]] = {
        TraceFormat.AZURE: partial(azure_rows, path, model=model),
        TraceFormat.BURSTGPT: partial(burstgpt_rows, path, failures=failures),
        TraceFormat.RATE_CURVE: partial(curve_rows, path, model=model),
        TraceFormat.MOONCAKE: partial(mooncake_rows, path, model=model, block_tokens=block_tokens),
    }
    if columns is not None:
        readers[TraceFormat.CSV] = partial(column_rows, path, columns=columns, model=model)
    if chosen not in readers:
        raise TraceError(path, None, "a CSV of no known format needs the names of its columns")
    return Trace(
        path=path,
        trace_format=chosen,
        description=f"{path}: {_NAMES[chosen]}, {reason}",
        rows=readers[chosen],
        repeats_allowed=repeats_allowed,
    )


def _recognised(path: Path, first_line: str) -> TraceFormat:
    if not first_line.strip():
        raise TraceError(path, None, "the first line is empty; it must be a header or a request")
    if first_line.lstrip().startswith("{"):
        return TraceFormat.MOONCAKE
    names = set(csv_header(first_line))
    if names == set(azure.COLUMNS):
        return TraceFormat.AZURE
    if names.issuperset(burstgpt.COLUMNS):
        return TraceFormat.BURSTGPT
    if names == set(rate_curve.COLUMNS):
        return TraceFormat.RATE_CURVE
    raise TraceError(
        path,
        1,
        f"the columns are {shown(', '.join(csv_header(first_line)))}, which is no known format: "
        f"Azure has {', '.join(azure.COLUMNS)}; BurstGPT {', '.join(burstgpt.COLUMNS)}; "
        f"a curve of rates {', '.join(rate_curve.COLUMNS)}; "
        "name the columns of any other CSV",
    )
