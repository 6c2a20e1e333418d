"""One manager under control: read, decide, write, read back; beside the loop, never in its way."""

import asyncio
import logging
from collections import Counter
from dataclasses import replace

from capper.api.room_blocks import Cooling
from capper.cooling.adapter import CoolingAdapter, CoolingError, CoolingTrouble, ManagerReading
from capper.cooling.looks import (
    CoolingLook,
    Room,
    believed,
    decided,
    inlets_of,
    limits_of,
    supply_of,
    without,
)
from capper.cooling.still import StillInlets
from capper.decide.cooling import SetPoint, safe_set_point
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_WORTH_WRITING_CELSIUS = 0.05
_WORTH_WRITING_RATIO = 0.02
_LET_GO_SECONDS = 5.0
_VALID_RENEWALS = 3.0
"""A manager with a watchdog may miss two renewals."""


class CoolingControl:
    """The set-points of one configuration.

    Attributes:
        look: What was done last.
    """

    def __init__(self, name: str, cooling: Cooling, adapter: CoolingAdapter, clock: Clock) -> None:
        """Nothing is asked yet; `adapter` is closed with this."""
        self._name = name
        self._spec = cooling
        self._adapter = adapter
        self._clock = clock
        self._still = StillInlets()
        self._failures: Counter[CoolingTrouble] = Counter()
        self._written: SetPoint | None = None
        self._written_seconds: float | None = None
        self._writes = 0
        self._due_seconds: float | None = None
        self._stepping: asyncio.Task[None] | None = None
        self.look = CoolingLook(active=True, adapter=cooling.adapter)

    def begin(self, room: Room) -> None:
        """Take a step if one is due; the loop does not wait for it."""
        now_seconds = self._clock.monotonic_seconds()
        if self._due_seconds is not None and now_seconds < self._due_seconds:
            return
        if self._stepping is not None and not self._stepping.done():
            return
        self._due_seconds = now_seconds + self._spec.interval_seconds
        self._stepping = asyncio.create_task(self._supervised(room), name=f"cooling {self._name}")

    async def settle(self) -> None:
        """Wait for the step in flight."""
        if self._stepping is not None:
            await asyncio.gather(self._stepping, return_exceptions=True)

    async def _supervised(self, room: Room) -> None:
        try:
            await self.step(room)
        except Exception:  # noqa: BLE001 - supervisor: the next step comes, power is capped meanwhile
            _log.exception("%s: a step of cooling control failed", self._name)
            self.look = replace(self.look, problem="a step failed, the log says how")

    async def step(self, room: Room) -> None:
        """One step."""
        reading, problem = None, ""
        if room.measure is not None and self._spec.sensor_pointer is None:
            room = replace(room, supply=await room.measure())
        try:
            reading = await self._adapter.read()
            self._check(reading)
        except CoolingError as error:
            problem = self._failed(error)
        now_seconds = self._clock.epoch_seconds()
        hanging = self._still.hanging(
            inlets_of(room),
            supply_celsius=None if self.look.point is None else self.look.point.followed_celsius,
        )
        point = decided(
            self._spec,
            without(room, hanging),
            reading,
            self.look.point,
            problem=problem,
            now_seconds=now_seconds,
        )
        if room.enforce and self._is_due(point, now_seconds, again=bool(problem)):
            reading, problem = await self._write(point, reading, problem)
        supply = supply_of(room, reading)
        self._note(problem)
        self.look = CoolingLook(
            active=True,
            adapter=self._spec.adapter,
            point=point,
            in_force_celsius=None if reading is None else believed(reading.set_celsius),
            supply_celsius=None if supply is None else supply.value,
            hottest_celsius=max(inlets_of(room).values(), default=None),
            problem=problem,
            written_seconds=self._written_seconds,
            writes=self._writes,
            failures={trouble.value: count for trouble, count in self._failures.items()},
        )

    def hold(self) -> None:
        """Somebody else may control from now on: what we ordered is no measure any more."""
        if self._stepping is not None:
            self._stepping.cancel()
        self._written = None

    async def let_go(self) -> None:
        """Nobody may come after us: order the safe set-point, if anything was ever ordered."""
        if self._written is None:
            return
        if self._stepping is not None:
            self._stepping.cancel()
            await asyncio.gather(self._stepping, return_exceptions=True)
        point = safe_set_point(
            limits_of(self._spec),
            unknown="control has ended",
            before=self._written,
            now_seconds=self._clock.epoch_seconds(),
        )
        try:
            async with asyncio.timeout(_LET_GO_SECONDS):
                await self._adapter.write(point, valid_seconds=self._valid_seconds)
        except (CoolingError, TimeoutError) as error:
            _log.warning("%s: the safe set-point could not be left behind: %s", self._name, error)
        else:
            _log.info("%s: the safe set-point is left behind.", self._name)
        self._written = None

    async def aclose(self) -> None:
        """End a step in flight and close the adapter; what is set stays."""
        if self._stepping is not None:
            self._stepping.cancel()
            await asyncio.gather(self._stepping, return_exceptions=True)
        await self._adapter.aclose()

    @property
    def _valid_seconds(self) -> float:
        spec = self._spec
        return _VALID_RENEWALS * max(spec.renew_seconds, spec.interval_seconds)

    def _check(self, reading: ManagerReading) -> None:
        """Whether what was written is what is in force."""
        found = reading.set_celsius
        if found is not None and believed(found) is None:
            raise CoolingError(
                CoolingTrouble.READ_BACK, f"the cooling manager says to hold {found:g} C."
            )
        if self._written is None:
            return
        wanted = self._written.supply_celsius
        if found is None or abs(found - wanted) > self._spec.read_back_tolerance_celsius:
            told = "nothing" if found is None else f"{found:.1f} C"
            raise CoolingError(
                CoolingTrouble.READ_BACK,
                f"the cooling manager holds {told}, {wanted:.1f} C was written.",
            )

    def _is_due(self, point: SetPoint, now_seconds: float, *, again: bool) -> bool:
        last, since = self._written, self._written_seconds
        if again or last is None or since is None:
            return True
        # A clock that was stepped back must not silence it.
        if abs(now_seconds - since) >= self._spec.renew_seconds:
            return True
        moved = abs(point.supply_celsius - last.supply_celsius) >= _WORTH_WRITING_CELSIUS
        most = self._spec.max_airflow_cubic_meters_per_second or 0.0
        air = abs((point.airflow_m3_per_second or 0.0) - (last.airflow_m3_per_second or 0.0))
        return moved or air > _WORTH_WRITING_RATIO * most

    async def _write(
        self, point: SetPoint, reading: ManagerReading | None, problem: str
    ) -> tuple[ManagerReading | None, str]:
        """Write and read back; (what is in force, what is wrong)."""
        try:
            await self._adapter.write(point, valid_seconds=self._valid_seconds)
            self._written, self._written_seconds = point, self._clock.epoch_seconds()
            self._writes += 1
            reading = await self._adapter.read()
            self._check(reading)
        except CoolingError as error:
            problem = self._failed(error)
        return reading, problem

    def _failed(self, error: CoolingError) -> str:
        self._failures[error.trouble] += 1
        return str(error).removesuffix(".")

    def _note(self, problem: str) -> None:
        """One line for each change."""
        if problem and problem != self.look.problem:
            _log.warning("%s: %s.", self._name, problem)
        elif not problem and self.look.problem:
            _log.info("%s: the cooling manager answers again.", self._name)
