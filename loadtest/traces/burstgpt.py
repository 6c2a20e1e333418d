"""BurstGPT: ChatGPT and GPT-4 traffic of a university, months long.

Columns `Timestamp` (seconds since the first midnight), `Model`, `Request tokens`, `Response
tokens`, `Total tokens`, `Log Type`; release 2 adds `Session ID` and `Elapsed time`, which are
passed over. Source: github.com/HPMLL/BurstGPT, CC BY 4.0.
"""

from collections.abc import Iterator
from pathlib import Path

from loadtest.traces.csv_records import csv_records
from loadtest.traces.fields import NANOSECONDS_PER_SECOND, number_nanoseconds, tokens
from loadtest.traces.rows import Row

COLUMNS = ("Timestamp", "Model", "Request tokens", "Response tokens", "Log Type")
"""These must be there."""
PASSED_OVER = ("Total tokens", "Session ID", "Elapsed time")
"""These may be there."""


def burstgpt_rows(path: Path, *, failures: bool) -> Iterator[Row]:
    """The rows one by one: `Model` is the arrival's model, `Log Type` its tenant.

    Args:
        path: The file.
        failures: Whether to keep failed requests, which the log marks by 0 response tokens: what
            they would have cost is not known.

    Raises:
        TraceError: While iterating: a file that cannot be read, other columns, a field that is not
            what its column holds.
    """
    for line, (timestamp, model, request, response, log_type), written in csv_records(
        path, COLUMNS, passed_over=PASSED_OVER
    ):
        output_tokens = tokens(path, line, COLUMNS[3], response)
        row = Row(
            line,
            number_nanoseconds(
                path, line, COLUMNS[0], timestamp, unit_nanoseconds=NANOSECONDS_PER_SECOND
            ),
            written,
            tokens(path, line, COLUMNS[2], request),
            output_tokens,
            model.strip(),
            tenant=log_type.strip() or None,
        )
        if output_tokens or failures:
            yield row
