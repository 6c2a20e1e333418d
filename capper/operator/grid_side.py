"""What a turn has to do with grid and room: carbon before it decides, cooling after it."""

from dataclasses import replace

from capper.carbon.watch import CarbonWatch, drawn_of
from capper.cooling.looks import Room, racks_of
from capper.cooling.watch import CoolingWatch
from capper.decide.observation import Sample
from capper.decide.plan import Plan
from capper.operator.entry import Entry
from capper.operator.grid import grid_conditions
from capper.secret_keys import Secrets
from fleet.clock import Clock


class GridSide:
    """Carbon feeds and cooling managers of all configurations of a loop."""

    def __init__(self, clock: Clock, secrets: Secrets | None = None) -> None:
        """Nothing is asked yet; `secrets` is where keys come from."""
        self._clock = clock
        self._carbon = CarbonWatch(secrets)
        self.cooling = CoolingWatch(clock, secrets)

    async def look(self, entry: Entry, last: Plan | None) -> None:
        """Take up what carbon says; `last` is the plan of the last turn."""
        spec = entry.config.spec
        entry.carbon = await self._carbon.look(
            entry.name,
            spec.carbon,
            entry.carbon.memory,
            drawn_of(spec.power_cap_limit, last),
            now_seconds=self._clock.epoch_seconds(),
        )

    async def cool(self, entry: Entry, plan: Plan, supply: Sample | None) -> Plan:
        """Let cooling follow what was seen; the plan with the conditions of both.

        Args:
            entry: The configuration.
            plan: Of this turn.
            supply: Measured supply temperature; None: it is not known here.
        """
        spec = entry.config.spec
        limits = {rack.rack_id: rack.max_temperature for rack in spec.rack_constraints}
        room = Room(
            racks=racks_of({one.name: one for one in plan.domains}, limits),
            supply=supply,
            enforce=entry.enforces,
        )
        entry.cooling = await self.cooling.look(entry.name, spec.cooling, room)
        found = tuple(grid_conditions(entry.carbon, entry.cooling))
        return replace(plan, conditions=(*plan.conditions, *found))

    async def forget(self, name: str) -> None:
        """A configuration is gone: its cooling is left at the safe set-point."""
        await self._carbon.forget(name)
        await self.cooling.forget(name)

    async def aclose(self) -> None:
        """Give back connections; what is set stays."""
        await self._carbon.aclose()
        await self.cooling.aclose()
