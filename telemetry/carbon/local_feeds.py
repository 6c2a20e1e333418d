"""Figures that need no network: a declared number, a file, and feeds one behind the other."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from telemetry.carbon.csv_rows import slots_of_rows
from telemetry.carbon.failures import FeedError, FeedFailure, FeedSettingsError
from telemetry.carbon.feed import CarbonFeed
from telemetry.carbon.published import CarbonReading, Published, unknown, windowed
from telemetry.carbon.slots import (
    MAX_GRAMS_PER_KILOWATT_HOUR,
    IntensityKind,
    IntensitySlot,
    plausible_grams,
)

_AHEAD_SECONDS = 2 * 86_400.0
_MOST_BYTES = 16 * 1024 * 1024


class StaticFeed:
    """One number, now and for two days."""

    source = "static"

    def __init__(
        self, grams_per_kilowatt_hour: float, *, kind: IntensityKind = IntensityKind.AVERAGE
    ) -> None:
        """Declare gCO2e/kWh.

        Raises:
            FeedSettingsError: Not between 0 and 5000.
        """
        grams = plausible_grams(grams_per_kilowatt_hour)
        if grams is None:
            raise FeedSettingsError(
                f"gramsPerKilowattHour: {grams_per_kilowatt_hour} is no intensity, "
                f"allowed are 0 to {MAX_GRAMS_PER_KILOWATT_HOUR:g}."
            )
        self._grams = grams
        self.kind = kind

    @property
    def failures(self) -> Mapping[FeedFailure, int]:
        """None ever."""
        return {}

    async def read(self, *, now_epoch_seconds: float) -> CarbonReading:
        """The number."""
        slot = IntensitySlot(
            start_epoch_seconds=now_epoch_seconds,
            end_epoch_seconds=now_epoch_seconds + _AHEAD_SECONDS,
            grams_per_kilowatt_hour=self._grams,
            estimated=True,
        )
        return CarbonReading(
            grams_per_kilowatt_hour=self._grams,
            slots=(slot,),
            kind=self.kind,
            source=self.source,
            age_seconds=0.0,
            estimated=True,
            reason=None,
            problem=None,
        )

    async def aclose(self) -> None:
        """Nothing is open."""


class CsvProvider:
    """A file, read anew at every refresh: whoever writes it may put tomorrow's forecast there."""

    source = "csv"

    def __init__(
        self,
        path: Path,
        *,
        kind: IntensityKind = IntensityKind.AVERAGE,
        time_column: str | None = None,
        grams_column: str | None = None,
    ) -> None:
        """Read nothing yet; columns as in `csv_rows.slots_of_rows`."""
        self._path = path
        self.kind = kind
        self._time_column, self._grams_column = time_column, grams_column

    async def fetch(self, *, now_epoch_seconds: float) -> Published:
        """The part of the file around a time.

        Raises:
            FeedError: The file cannot be used, or says nothing near this time.
        """
        slots = await asyncio.to_thread(self._slots)
        near = windowed(slots, now_epoch_seconds=now_epoch_seconds, ahead_seconds=_AHEAD_SECONDS)
        if not near:
            raise FeedError(
                FeedFailure.MALFORMED, f"{self._path} has no figure for now or the next two days."
            )
        return Published(slots=near, fetched_epoch_seconds=now_epoch_seconds)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _slots(self) -> tuple[IntensitySlot, ...]:
        try:
            # The path comes from a resource: a pipe or a device would never end.
            if self._path.exists() and not self._path.is_file():
                raise FeedError(FeedFailure.UNREACHABLE, f"{self._path}: is not a regular file.")
            if self._path.stat().st_size > _MOST_BYTES:
                raise FeedError(
                    FeedFailure.MALFORMED, f"{self._path}: is larger than {_MOST_BYTES} bytes."
                )
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                return slots_of_rows(
                    file,
                    name=str(self._path),
                    time_column=self._time_column,
                    grams_column=self._grams_column,
                )
        except OSError as error:
            raise FeedError(
                FeedFailure.UNREACHABLE, f"{self._path}: cannot be read: {error.strerror}."
            ) from error
        except UnicodeDecodeError as error:
            raise FeedError(FeedFailure.MALFORMED, f"{self._path}: is not UTF-8 text.") from error
        except FeedSettingsError as error:
            raise FeedError(FeedFailure.MALFORMED, str(error)) from error


class ChainedFeed:
    """The first feed that knows the present figure; all of one kind."""

    def __init__(self, feeds: Sequence[CarbonFeed]) -> None:
        """Take feeds in the order of trust; closed with the chain.

        Raises:
            FeedSettingsError: None are given, or averages and marginals together.
        """
        if not feeds:
            raise FeedSettingsError("A chain of carbon feeds needs at least one feed.")
        kinds = {feed.kind for feed in feeds}
        if len(kinds) > 1:
            named = ", ".join(f"{feed.source} ({feed.kind})" for feed in feeds)
            raise FeedSettingsError(
                f"A chain of carbon feeds must be of one kind, these are not: {named}."
            )
        self._feeds = tuple(feeds)
        self.kind = feeds[0].kind
        self.source = " then ".join(feed.source for feed in feeds)

    @property
    def failures(self) -> Mapping[FeedFailure, int]:
        """Counts of all feeds together."""
        return sum((Counter(feed.failures) for feed in self._feeds), Counter())

    async def read(self, *, now_epoch_seconds: float) -> CarbonReading:
        """The first known reading; later feeds are asked only when the ones before are silent."""
        reasons: list[str] = []
        for feed in self._feeds:
            reading = await feed.read(now_epoch_seconds=now_epoch_seconds)
            if reading.grams_per_kilowatt_hour is not None:
                silent = " ".join(reasons)
                return replace(reading, problem=silent) if silent else reading
            reasons.append(reading.reason or f"{feed.source} is silent.")
        return unknown(kind=self.kind, source=self.source, reason=" ".join(reasons))

    async def aclose(self) -> None:
        """Close all feeds."""
        for feed in self._feeds:
            await feed.aclose()
