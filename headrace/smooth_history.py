"""The history that `headrace smooth` reads: a CSV file, or Prometheus."""

import asyncio
import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from capper.decide.smoothing_traces import HistoryError, TraceRules, Traces
from capper.decide.smoothing_weeks import WeekBuilder
from capper.smoothing.history import DEFAULT_QUERY, read_history
from headrace.config_errors import BadInputError
from telemetry.promql import PrometheusQuerier, PrometheusSettings
from telemetry.system_clock import SystemClock

COLUMNS = ("time", "instance", "service", "watts")
OPTIONAL = "leaf"
_LAST_SECONDS = 1e10
_ANSWER_SECONDS = 120.0
_ANSWER_BYTES = 512 * 1024 * 1024

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was read.

    Attributes:
        traces: The mean week.
        source: File or URL.
        sha256: Of the file, or of all that Prometheus answered.
    """

    traces: Traces
    source: str
    sha256: str


def read_csv(path: Path, rules: TraceRules) -> History:
    """Read a file with the columns of docs/guide/smoothing.md.

    Raises:
        BadInputError: It cannot be read or is of no use; with file and line.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with path.open(newline="", encoding="utf-8") as file:
            builder = _filled(path, csv.reader(file), rules)
        return History(traces=builder.traces(), source=str(path), sha256=digest)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInputError(f"{path}: cannot be read: {reason}.") from error
    except csv.Error as error:
        raise BadInputError(f"{path}: is not a CSV file: {error}.") from error
    except HistoryError as error:
        raise BadInputError(f"{path}: {error}") from error


def read_prometheus(
    url: str, rules: TraceRules, *, query: str | None, days: int, progress: Progress
) -> History:
    """Ask a Prometheus for the last days.

    Raises:
        BadInputError: It does not answer, or what it has is of no use.
    """
    text = query or DEFAULT_QUERY
    clock = SystemClock()
    end_seconds = clock.epoch_seconds() // rules.step_seconds * rules.step_seconds
    start_seconds = end_seconds - days * 86_400.0
    settings = PrometheusSettings(
        url=url, timeout_seconds=_ANSWER_SECONDS, threads=1, max_body_bytes=_ANSWER_BYTES
    )

    async def read(builder: WeekBuilder) -> str:
        querier = PrometheusQuerier(settings, clock)
        try:
            return await read_history(
                querier,
                builder,
                query=text,
                start_seconds=start_seconds,
                end_seconds=end_seconds,
                step_seconds=rules.step_seconds,
                progress=progress,
            )
        finally:
            await querier.aclose()

    try:
        builder = WeekBuilder(rules)
        digest = asyncio.run(read(builder))
        traces = builder.traces(start_seconds=start_seconds, end_seconds=end_seconds)
    except HistoryError as error:
        raise BadInputError(f"{url}: {error}") from error
    return History(traces=traces, source=url, sha256=digest)


def _filled(path: Path, rows: Iterator[list[str]], rules: TraceRules) -> WeekBuilder:
    builder = WeekBuilder(rules)
    header = [name.strip() for name in next(rows, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise BadInputError(
            f"{path}: line 1: the columns must be {', '.join(COLUMNS)} and may be {OPTIONAL};"
            f" missing: {', '.join(missing)}."
        )
    at, instance, service, watts = (header.index(name) for name in COLUMNS)
    leaf = header.index(OPTIONAL) if OPTIONAL in header else None
    for line, row in enumerate(rows, start=2):
        if not row:
            continue
        where = f"{path}: line {line}"
        if len(row) != len(header):
            raise BadInputError(f"{where}: has {len(row)} fields, the header has {len(header)}.")
        if not row[instance] or not row[service]:
            raise BadInputError(f"{where}: instance and service must not be empty.")
        try:
            builder.add(
                row[instance],
                row[service],
                (row[leaf] or None) if leaf is not None else None,
                _epoch_seconds(where, row[at]),
                _watts(where, row[watts]),
            )
        except HistoryError as error:
            raise BadInputError(f"{where}: {error}") from error
    return builder


def _epoch_seconds(where: str, text: str) -> float:
    """Epoch seconds, or a time with its offset from UTC: local time jumps twice a year."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = _stamp(where, text).timestamp()
    if not 0.0 <= seconds <= _LAST_SECONDS:
        raise BadInputError(f"{where}: time must lie between 1970 and 2286, got {text!r}.")
    return seconds


def _stamp(where: str, text: str) -> datetime:
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(
            f"{where}: time must be epoch seconds or such as 2026-01-31T12:00:00Z, got {text!r}."
        ) from error
    if stamp.tzinfo is None:
        raise BadInputError(
            f"{where}: time must carry its offset from UTC (Z or +01:00), got {text!r}."
        )
    return stamp


def _watts(where: str, text: str) -> float:
    """Watts; an empty field is a gap."""
    try:
        return float(text) if text.strip() else float("nan")
    except ValueError as error:
        raise BadInputError(f"{where}: watts must be a number, got {text!r}.") from error
