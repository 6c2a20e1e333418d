"""A recorded or forecast series as CSV: a time and an intensity in each row. Pure."""

import csv
from collections.abc import Iterable, Sequence

from telemetry.carbon.calendar_times import epoch_seconds
from telemetry.carbon.failures import FeedSettingsError
from telemetry.carbon.slots import MAX_GRAMS_PER_KILOWATT_HOUR, IntensitySlot, plausible_grams

TIME_COLUMNS = ("time", "timestamp", "datetime")
GRAMS_COLUMNS = (
    "grams_per_kilowatt_hour",
    "gCO2/kWh",
    "gCO2e/kWh",
    "gCO2eq/kWh",
    "g/kWh",
    "avg_CI",
)


def slots_of_rows(
    lines: Iterable[str],
    *,
    name: str,
    time_column: str | None = None,
    grams_column: str | None = None,
    estimated: bool = False,
) -> tuple[IntensitySlot, ...]:
    """Slots of equal length; a row whose intensity is empty is a declared gap.

    Args:
        lines: The file; a header, then one row per time, ascending, at one distance.
        name: Of the file, in messages.
        time_column: RFC 3339 with offset; None: the first of `TIME_COLUMNS` that is there.
        grams_column: gCO2e/kWh; None: the first of `GRAMS_COLUMNS` that is there.
        estimated: Whether the figures are forecasts.

    Raises:
        FeedSettingsError: One sentence with file and line.
    """
    reader = csv.reader(lines)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        time_at = _column(header, time_column, TIME_COLUMNS, name)
        grams_at = _column(header, grams_column, GRAMS_COLUMNS, name)
        rows = [
            _row(cells, time_at, grams_at, f"{name}: line {reader.line_num}")
            for cells in reader
            if cells
        ]
    except csv.Error as error:
        raise FeedSettingsError(f"{name}: line {reader.line_num}: {error}.") from error
    if len(rows) < 2:  # noqa: PLR2004 - a distance needs two
        raise FeedSettingsError(f"{name}: at least two rows are needed to know their distance.")
    return _slots(rows, estimated)


_Row = tuple[float, float | None, str]
"""Epoch seconds, g/kWh or None, and where it stands."""


def _row(cells: Sequence[str], time_at: int, grams_at: int, place: str) -> _Row:
    if len(cells) <= max(time_at, grams_at):
        raise FeedSettingsError(
            f"{place}: the row has {len(cells)} columns, "
            f"{max(time_at, grams_at) + 1} at least are needed."
        )
    try:
        start = epoch_seconds(cells[time_at])
    except (ValueError, OverflowError) as error:
        raise FeedSettingsError(f"{place}: {error}.") from error
    text = cells[grams_at].strip()
    if not text:
        return start, None, place
    try:
        grams = plausible_grams(float(text))
    except ValueError:
        grams = None
    if grams is None:
        raise FeedSettingsError(
            f"{place}: {text!r} is no intensity, allowed are 0 to "
            f"{MAX_GRAMS_PER_KILOWATT_HOUR:g} g/kWh or nothing where it is not known."
        )
    return start, grams, place


def _slots(rows: Sequence[_Row], estimated: bool) -> tuple[IntensitySlot, ...]:
    step = rows[1][0] - rows[0][0]
    found = []
    for index, (start, grams, place) in enumerate(rows):
        if index:
            _check_distance(start - rows[index - 1][0], step, place)
        if grams is not None:
            found.append(
                IntensitySlot(
                    start_epoch_seconds=start,
                    end_epoch_seconds=start + step,
                    grams_per_kilowatt_hour=grams,
                    estimated=estimated,
                )
            )
    return tuple(found)


def _check_distance(distance: float, step: float, place: str) -> None:
    if distance == 0.0:
        raise FeedSettingsError(f"{place}: the time is the same as in the row before.")
    if distance < 0.0:
        raise FeedSettingsError(
            f"{place}: the time is before that of the row before; rows go up in time."
        )
    if abs(distance - step) > 1e-3:  # noqa: PLR2004 - a millisecond, what a float of now resolves
        raise FeedSettingsError(
            f"{place}: the time is {distance:g} s after the row before, the first two rows are "
            f"{step:g} s apart; write a row without an intensity where it is not known."
        )


def _column(header: Sequence[str], asked: str | None, usual: Sequence[str], name: str) -> int:
    wanted = usual if asked is None else (asked,)
    lowered = [cell.lower() for cell in header]
    for column in wanted:
        if column.lower() in lowered:
            return lowered.index(column.lower())
    raise FeedSettingsError(
        f"{name}: line 1: there is no column {' or '.join(wanted)}, "
        f"the columns are {', '.join(header) or 'none'}."
    )
