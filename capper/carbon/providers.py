"""Who tells the carbon intensity of the grid: a constant, or a file."""

import asyncio
import csv
import itertools
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from capper.api.environment_blocks import CarbonProvider
from capper.decide.carbon import Slot

_HOUR_SECONDS = 3600.0
_TIME, _GRAMS = 0, 1
_MOST_BYTES = 16 * 2**20


class IntensityError(Exception):
    """The intensity cannot be told; the sentence says why."""


class Provider(Protocol):
    """Tells intensities, measured and forecast, of one kind: average or marginal."""

    async def slots(self, now_seconds: float) -> tuple[Slot, ...]:
        """What is known around and after `now_seconds` (epoch time), in order.

        Raises:
            IntensityError: Nothing can be told now.
        """
        ...


class ConstantIntensity:
    """The same figure at all times."""

    def __init__(self, grams_per_kilowatt_hour: float) -> None:
        """Tell this."""
        self._grams_per_kilowatt_hour = grams_per_kilowatt_hour

    async def slots(self, now_seconds: float) -> tuple[Slot, ...]:
        """See Provider."""
        del now_seconds
        return (
            Slot(
                start_seconds=-math.inf,
                end_seconds=math.inf,
                grams_per_kilowatt_hour=self._grams_per_kilowatt_hour,
            ),
        )


class IntensityFile:
    """A CSV file with a header and two columns: time (RFC 3339) and gCO2/kWh; empty: not known."""

    def __init__(self, path: Path) -> None:
        """Read it when asked."""
        self._path = path

    async def slots(self, now_seconds: float) -> tuple[Slot, ...]:
        """See Provider."""
        del now_seconds
        return await asyncio.to_thread(_read, self._path)


def provider_of(spec: CarbonProvider) -> Provider:
    """The provider of a configuration.

    Raises:
        IntensityError: This version has no such provider.
    """
    if spec.grams_per_kilowatt_hour is not None:
        return ConstantIntensity(spec.grams_per_kilowatt_hour)
    if spec.path is not None:
        return IntensityFile(Path(spec.path))
    raise IntensityError(f"carbon.provider: {spec.type} is not available in this version.")


def _read(path: Path) -> tuple[Slot, ...]:
    """Each row holds until the next one, the last as long as the one before it."""
    try:
        # The path comes from a resource: a device or a pipe would never end.
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise IntensityError(f"{path}: must be a file of at most {_MOST_BYTES} bytes.")
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        points = [_point(path, number, row) for number, row in enumerate(rows[1:], start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IntensityError(f"{path}: cannot be read: {error}.") from error
    if not points:
        raise IntensityError(f"{path}: has no row with a time and gCO2/kWh.")
    starts = [start for start, _ in points]
    if any(later <= earlier for earlier, later in itertools.pairwise(starts)):
        raise IntensityError(f"{path}: its times must rise from row to row.")
    last_seconds = starts[-1] - starts[-2] if len(starts) > 1 else _HOUR_SECONDS
    ends = [*starts[1:], starts[-1] + last_seconds]
    return tuple(
        Slot(start_seconds=start, end_seconds=end, grams_per_kilowatt_hour=grams)
        for (start, grams), end in zip(points, ends, strict=True)
    )


def _point(path: Path, number: int, row: list[str]) -> tuple[float, float | None]:
    sentence = f"{path}: row {number} must be a time (RFC 3339) and a number of gCO2/kWh."
    try:
        moment = datetime.fromisoformat(row[_TIME].strip())
        text = row[_GRAMS].strip()
        grams = float(text) if text else None
    except (ValueError, IndexError) as error:
        raise IntensityError(sentence) from error
    if grams is not None and not 0.0 <= grams < math.inf:
        raise IntensityError(sentence)
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return zoned.timestamp(), grams
