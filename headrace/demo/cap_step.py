"""Makes the cap step while requests are replayed: rewrites the file that the capper follows."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from headrace.demo.cap_account import Caps, Seen
from headrace.demo.cap_plan import CapSchedule, cap_document
from headrace.demo.capping_log import CappingLog
from headrace.demo.layout import FLOORS, RATED_WATTS
from headrace.demo.power_windows import PowerWindow, between, mean_watts
from headrace.demo.simulated_fleet import SimulatedFleet

_WINDOW_SECONDS = 1.0
_LOOK_SECONDS = 0.5
# The first second is the rise from idle.
_RISE_SECONDS = 1.0


class PowerMeter:
    """Reads the boards' own meters once a second.

    Attributes:
        windows: Oldest first.
    """

    def __init__(self, fleet: SimulatedFleet) -> None:
        """Read `fleet`; time is counted from `begin`."""
        self._fleet = fleet
        self._origin_seconds = 0.0
        self.windows: list[PowerWindow] = []

    def now_seconds(self) -> float:
        """Since `begin`."""
        return asyncio.get_running_loop().time() - self._origin_seconds

    def begin(self) -> None:
        """Count time from now."""
        self._origin_seconds = asyncio.get_running_loop().time()

    async def totals(self) -> Mapping[str, Any]:
        """The meters now (loadtest.fleet_control, GET /totals)."""
        return await self._fleet.totals()

    async def run(self) -> None:
        """Read until cancelled."""
        before, start_seconds = await self.totals(), self.now_seconds()
        while True:
            await asyncio.sleep(_WINDOW_SECONDS)
            after, end_seconds = await self.totals(), self.now_seconds()
            simulated_seconds = after["simulated_seconds"] - before["simulated_seconds"]
            joules = after["fleet"]["joules"] - before["fleet"]["joules"]
            watts = joules / simulated_seconds
            self.windows.append(PowerWindow(start_seconds, end_seconds, watts))
            start_seconds, before = end_seconds, after


class CapStep:
    """The step of one arm.

    Attributes:
        schedule: When.
        log: What the capper shows.
        totals: Of the fleet just before the step, with all its replicas awake.
    """

    def __init__(self, schedule: CapSchedule, path: Path) -> None:
        """Write the configuration before anything is known: the capper looks on."""
        self.schedule = schedule
        self._path = path
        self._windows: list[PowerWindow] = []
        self._caps: Caps | None = None
        self._awake_before: Mapping[str, int] = {}
        self.log = CappingLog()
        self.totals: Mapping[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cap(path, RATED_WATTS, enforce=False)

    async def run(self, meter: PowerMeter) -> None:
        """Measure, set the first cap, make the step."""
        schedule, self._windows = self.schedule, meter.windows
        await _until(meter, schedule.measure_seconds)
        measured_watts = mean_watts(between(meter.windows, _RISE_SECONDS, schedule.measure_seconds))
        assert measured_watts is not None, "the schedule measures for some seconds"
        first_watts, second_watts = schedule.caps_watts(measured_watts)
        write_cap(self._path, first_watts)
        await _until(meter, schedule.step_seconds)
        self._awake_before = dict(self.log.awake)
        self.totals = await meter.totals()
        write_cap(self._path, second_watts)
        self._caps = Caps(measured_watts, first_watts, second_watts, meter.now_seconds())

    async def look(self, meter: PowerMeter, admin_url: str) -> None:
        """Follow what the capper shows, until cancelled."""
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            while True:
                async with session.get(f"{admin_url}/debug/capping") as answer:
                    page = await answer.json()
                self.log.see(page, at_seconds=meter.now_seconds())
                await asyncio.sleep(_LOOK_SECONDS)

    def seen(self) -> Seen:
        """What was recorded; after `run` has ended."""
        assert self._caps is not None, "the step has not been made"
        return Seen(
            windows=self._windows,
            caps=self._caps,
            awake=(self._awake_before, dict(self.log.awake)),
            decisions=self.log.decisions,
        )


async def _until(meter: PowerMeter, at_seconds: float) -> None:
    await asyncio.sleep(at_seconds - meter.now_seconds())


def write_cap(path: Path, cap_watts: float, *, enforce: bool = True) -> None:
    """Write the configuration whole: the capper may read it at any moment."""
    part = path.with_name(f"{path.name}.part")
    document = cap_document(cap_watts, FLOORS, enforce=enforce)
    part.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    part.replace(path)
