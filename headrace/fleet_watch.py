"""The fleet file as a source: read again when it changes, kept as it was when a change is bad."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from headrace.config_errors import BadInputError, load_model
from headrace.fleet_file import FleetSection
from telemetry.fleet_source import FleetSourceError, FleetView, SourceState
from telemetry.source_instruments import SourceInstruments


class FleetFileSource:
    """A `telemetry.fleet_source.FleetSource`.

    The content is compared, not the time of change: a ConfigMap is mounted through links that are
    swapped, and a time may go back.
    """

    name = "fleet_file"

    def __init__(
        self,
        path: Path,
        clock: Clock,
        registry: CollectorRegistry,
        *,
        interval_seconds: float = 2.0,
    ) -> None:
        """Read nothing yet; `interval_seconds` is from one look at the file to the next."""
        self._path = path
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._instruments = SourceInstruments(self, clock, registry)
        self._content: bytes | None = None
        self._view: FleetView | None = None
        self._problem: str | None = None
        self._confirmed_seconds: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, publish: Callable[[FleetView], None]) -> FleetView:
        """Read the file, and look at it from now on.

        Raises:
            FleetSourceError: With the first problem of a file that cannot be used.
        """
        self._look()
        if self._view is None:
            raise FleetSourceError(self._problem or f"{self._path}: is empty.")
        self._task = asyncio.create_task(self._look_for_ever(publish), name="fleet-file")
        return self._view

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def state(self, *, now_seconds: float) -> SourceState:
        """Current while the file as it is now can be used."""
        confirmed = self._confirmed_seconds
        age_seconds = None if confirmed is None else now_seconds - confirmed
        if self._problem is not None:
            return SourceState(
                current=False,
                detail=f"{self._problem} The last good fleet file stays in force.",
                age_seconds=age_seconds,
            )
        return SourceState(
            current=True, detail=f"The fleet is as {self._path} has it.", age_seconds=age_seconds
        )

    async def _look_for_ever(self, publish: Callable[[FleetView], None]) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            before = self._view
            self._look()
            if self._view is not None and self._view != before:
                publish(self._view)

    def _look(self) -> None:
        """Take the file in when its content is not what it was at the last look."""
        try:
            content = self._path.read_bytes()
        except OSError as error:
            self._content = None  # whatever comes back is read
            self._reject(f"{self._path}: cannot be read: {error.strerror}.")
            return
        if content != self._content:
            self._content = content
            self._read()
        if self._problem is None:
            self._confirmed_seconds = self._clock.monotonic_seconds()

    def _read(self) -> None:
        try:
            section = load_model(self._path, FleetSection)
        except BadInputError as error:
            self._reject(" ".join(error.problems))
            return
        view = FleetView(fleet=section.to_fleet(), absent_models=section.absent_models())
        self._problem = None
        if view != self._view:
            self._view = view
            self._instruments.note_published(view)
        self._instruments.note_state()

    def _reject(self, problem: str) -> None:
        """Keep the last good view; say so once for each problem."""
        if problem != self._problem:
            self._problem = problem
            self._instruments.note_rejected(problem)
