"""Reads the carbon series that a scenario names."""

import csv
import hashlib
import math
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

from loadtest.simulator.carbon import CarbonSeries
from loadtest.simulator.scenario import Scenario, ScenarioError
from loadtest.simulator.scenario_sections import CarbonSection

_GRAMS = {"gCO2/kWh": 1.0, "kgCO2/MWh": 1.0, "kgCO2/kWh": 1000.0}


def carbon_of(scenario: Scenario) -> CarbonSeries | None:
    """The series of a scenario, from its `start` on; None when it names none.

    Raises:
        ScenarioError: The file cannot be used; with file and line.
    """
    return None if scenario.carbon is None else _series(scenario.carbon)


def carbon_sha256(scenario: Scenario) -> str | None:
    """Of the file with the series; None when the scenario names none, or it is gone."""
    if scenario.carbon is None or not Path(scenario.carbon.file).is_file():
        return None
    with Path(scenario.carbon.file).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _series(section: CarbonSection) -> CarbonSeries:
    path = Path(section.file)
    rows = list(_rows(path, section))
    if len(rows) < 2:  # noqa: PLR2004 - two points make an interval
        raise ScenarioError(f"{path}: at least two rows are needed for an interval.")
    interval_seconds = _interval_seconds(path, rows)
    values = _without_gaps(path, [value for _, _, value in rows])
    first = _first(path, rows, section.start)
    factor = _GRAMS[section.unit]
    return CarbonSeries(
        grams_per_kilowatt_hour=tuple(factor * value for value in values[first:] + values[:first]),
        interval_seconds=interval_seconds,
        speed_up_ratio=section.speed_up_ratio,
        forecast_error_ratio=section.forecast_error_ratio,
    )


def _rows(path: Path, section: CarbonSection) -> Iterator[tuple[int, datetime, float]]:
    """Line, time and value; a missing value is not a number."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            for name in (section.time_column, section.column):
                if name not in (reader.fieldnames or ()):
                    listed = ", ".join(reader.fieldnames or ())
                    raise ScenarioError(
                        f"{path}: line 1: there is no column {name!r}, the columns are {listed}."
                    )
            for line, row in enumerate(reader, start=2):
                yield line, *_parsed(path, line, row[section.time_column], row[section.column])
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ScenarioError(f"{path}: cannot be read: {reason}.") from error


def _parsed(path: Path, line: int, time: str, value: str) -> tuple[datetime, float]:
    try:
        at = datetime.fromisoformat(time)
        number = float(value) if value.strip() else math.nan
    except ValueError as error:
        raise ScenarioError(f"{path}: line {line}: {error}.") from error
    if number < 0.0 or math.isinf(number):
        raise ScenarioError(f"{path}: line {line}: {value} is no intensity, it must be 0 or more.")
    return at, number


def _interval_seconds(path: Path, rows: list[tuple[int, datetime, float]]) -> float:
    wanted = rows[1][1] - rows[0][1]
    if wanted.total_seconds() <= 0.0:
        raise ScenarioError(f"{path}: line {rows[1][0]}: the time is not after the one before.")
    for (_, before, _), (line, after, _) in pairwise(rows):
        if after - before != wanted:
            raise ScenarioError(
                f"{path}: line {line}: the time is {after - before} after the one before, "
                f"it must be {wanted} as in the first rows."
            )
    return wanted.total_seconds()


def _without_gaps(path: Path, values: list[float]) -> list[float]:
    """Missing values lie on the line between their neighbours."""
    known = [index for index, value in enumerate(values) if not math.isnan(value)]
    if not known:
        raise ScenarioError(f"{path}: the column has no values.")
    filled = list(values)
    filled[: known[0]] = [values[known[0]]] * known[0]
    filled[known[-1] + 1 :] = [values[known[-1]]] * (len(values) - 1 - known[-1])
    for left, right in pairwise(known):
        for index in range(left + 1, right):
            share = (index - left) / (right - left)
            filled[index] = values[left] + share * (values[right] - values[left])
    return filled


def _first(path: Path, rows: list[tuple[int, datetime, float]], start: str | None) -> int:
    if start is None:
        return 0
    try:
        wanted = datetime.fromisoformat(start)
    except ValueError as error:
        raise ScenarioError(f"{path}: carbon.start: {error}.") from error
    for index, (_, at, _) in enumerate(rows):
        if at == wanted:
            return index
    raise ScenarioError(
        f"{path}: carbon.start: there is no row at {start}; the series is from {rows[0][1]} to "
        f"{rows[-1][1]}."
    )
