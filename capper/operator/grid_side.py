"""What a turn has to do with grid and room: carbon before it decides, cooling after it."""

from dataclasses import replace
from functools import partial
from typing import Protocol

from capper.api.config import Spec
from capper.carbon.looks import CarbonLook
from capper.carbon.watch import CarbonWatch, drawn_of
from capper.cooling.bands import warm_bands
from capper.cooling.looks import CoolingLook, Room, racks_of
from capper.cooling.watch import CoolingWatch
from capper.decide.observation import Sample
from capper.decide.plan import Plan
from capper.operator.entry import Entry
from capper.operator.grid import grid_conditions, grid_events
from capper.operator.journal import Journal
from capper.secret_keys import Secrets
from fleet.clock import Clock
from fleet.thermal import ThermalModel


class Supply(Protocol):
    """Who knows the supply temperature where a cooling manager does not tell it."""

    async def read(self, spec: Spec) -> Sample | None:
        """The temperature of a configuration's room; None where nobody tells."""
        ...

    async def aclose(self) -> None:
        """Give back connections."""
        ...


class GridSide:
    """Carbon feeds and cooling managers of all configurations of a loop.

    Attributes:
        cooling: The managers.
        supply: Who knows the supply temperature otherwise; None: nobody.
    """

    def __init__(
        self, clock: Clock, secrets: Secrets | None = None, journal: Journal | None = None
    ) -> None:
        """Nothing is asked yet.

        Args:
            clock: Of the loop.
            secrets: Where keys come from.
            journal: Where events go; None: nowhere.
        """
        self._clock = clock
        self._journal = journal
        self._told: dict[str, tuple[CarbonLook, CoolingLook]] = {}
        self._carbon = CarbonWatch(secrets)
        self.cooling = CoolingWatch(clock, secrets)
        self.supply: Supply | None = None

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

    async def cool(self, entry: Entry, plan: Plan) -> Plan:
        """Let cooling follow what was seen in this turn; the plan with the conditions of both."""
        spec = entry.config.spec
        limits = {rack.rack_id: rack.max_temperature for rack in spec.rack_constraints}
        room = Room(
            racks=racks_of({one.name: one for one in plan.domains}, limits),
            supply=None,
            enforce=entry.enforces,
            measure=None if self.supply is None else partial(self.supply.read, spec),
            model=_model_of(entry),
        )
        entry.cooling = await self.cooling.look(entry.name, spec.cooling, room)
        self._tell(entry)
        found = tuple(grid_conditions(entry.carbon, entry.cooling, warm_bands(spec)))
        return replace(plan, conditions=(*plan.conditions, *found))

    def _tell(self, entry: Entry) -> None:
        before = self._told.get(entry.name, (CarbonLook(), CoolingLook()))
        self._told[entry.name] = after = (entry.carbon, entry.cooling)
        if self._journal is not None:
            for event in grid_events(before, after):
                self._journal.tell(entry.config, event, now_seconds=self._clock.epoch_seconds())

    async def forget(self, name: str) -> None:
        """A configuration is gone: its cooling is left at the safe set-point."""
        self._told.pop(name, None)
        await self._carbon.forget(name)
        await self.cooling.forget(name)

    async def aclose(self) -> None:
        """Give back connections; what is set stays."""
        await self._carbon.aclose()
        await self.cooling.aclose()
        if self.supply is not None:
            await self.supply.aclose()


def _model_of(entry: Entry) -> ThermalModel | None:
    """The matrix that placement has found to be of use."""
    look = entry.racks
    return None if look is None or look.room is None else look.room.model
