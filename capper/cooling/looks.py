"""What cooling control knows of one configuration, and the set-point of one step. Pure."""

import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from capper.api.room_blocks import Cooling
from capper.cooling.adapter import ManagerReading
from capper.decide.cooling import CoolingLimits, SetPoint, next_set_point, safe_set_point
from capper.decide.observation import Sample
from capper.decide.plan import DomainDecision
from capper.decide.rack_room import Rack
from fleet.thermal import ThermalModel

COLDEST_CELSIUS, HOTTEST_CELSIUS = -20.0, 90.0
"""Of a set-point that is believed when it is read back: the range of the API's own fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What was measured when a step begins.

    Attributes:
        racks: By name.
        supply: Measured elsewhere than at the manager; None: nowhere.
        enforce: Whether set-points are written.
        measure: Asks for the supply in a step; None: nobody is asked.
        model: Heat recirculation that placement believes; None: inlets alone count.
    """

    racks: Mapping[str, Rack]
    supply: Sample | None
    enforce: bool
    measure: Callable[[], Awaitable[Sample | None]] | None = None
    model: ThermalModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingLook:
    """What cooling control did last.

    Attributes:
        active: Whether the configuration has a cooling block.
        adapter: Who is told.
        point: Decided last; None: nothing yet.
        in_force_celsius: Set-point that the manager says to hold; None: not known.
        supply_celsius: As measured; None: not known.
        hottest_celsius: Inlet; None: not known.
        problem: What is wrong with the manager; empty: nothing.
        written_seconds: When a set-point was last taken, epoch time; None: never.
        writes: Set-points that were taken.
        failures: Questions and orders that failed, by reason.
    """

    active: bool = False
    adapter: str = ""
    point: SetPoint | None = None
    in_force_celsius: float | None = None
    supply_celsius: float | None = None
    hottest_celsius: float | None = None
    problem: str = ""
    written_seconds: float | None = None
    writes: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def safe(self) -> bool:
        """Whether the safe set-point counts, since something is not known."""
        return self.point is not None and self.point.unknown is not None

    @property
    def unknown(self) -> str:
        """What is not known, so that the safe set-point counts; empty: all is."""
        return "" if self.point is None or self.problem else self.point.unknown or ""


def limits_of(cooling: Cooling) -> CoolingLimits:
    """The limits of a block."""
    return CoolingLimits(
        min_supply_celsius=cooling.min_supply_celsius,
        max_supply_celsius=cooling.max_supply_celsius,
        safe_supply_celsius=cooling.safe_supply_celsius,
        redline_celsius=cooling.redline_celsius,
        margin_celsius=cooling.margin_celsius,
        ramp_celsius_per_minute=cooling.ramp_celsius_per_minute,
        min_airflow_m3_per_second=cooling.min_airflow_cubic_meters_per_second,
        max_airflow_m3_per_second=cooling.max_airflow_cubic_meters_per_second,
        air_rise_celsius=cooling.air_rise_celsius,
    )


def racks_of(
    domains: Mapping[str, DomainDecision], limits: Mapping[str, float | None]
) -> dict[str, Rack]:
    """The racks as the loop saw them: watts and inlets that its own filters believed.

    Args:
        domains: Decisions of this turn by name.
        limits: Highest inlet of each rack, by name; None: it has none of its own.
    """
    found = {}
    for name, limit in limits.items():
        seen = domains.get(name)
        watts = None if seen is None else seen.watts
        inlet = None if seen is None else seen.inlet_celsius
        age_seconds = 0.0 if seen is None or seen.age_seconds is None else seen.age_seconds
        # A rack without a cap of its own may draw what it draws.
        cap_watts = None if seen is None else seen.cap_watts
        found[name] = Rack(
            name=name,
            cap_watts=cap_watts or max(1.0, watts or 0.0),
            power=None if watts is None else Sample(watts, age_seconds),
            inlet=None if inlet is None else Sample(inlet, 0.0),
            max_inlet_celsius=limit,
        )
    return found


def decided(
    cooling: Cooling,
    room: Room,
    reading: ManagerReading | None,
    before: SetPoint | None,
    *,
    problem: str,
    now_seconds: float,
) -> SetPoint:
    """The set-point of one step: the safe one while the manager fails or lies.

    Args:
        cooling: The block.
        room: As measured.
        reading: Of the manager; None: it gave none.
        before: Decided last; None: nothing yet.
        problem: What is wrong with the manager; empty: nothing.
        now_seconds: Epoch time.
    """
    limits = limits_of(cooling)
    in_force = None if reading is None else believed(reading.set_celsius)
    if before is None and in_force is not None:
        # Where a capper before us, or the plant itself, left it: the ramp begins there.
        before = SetPoint(
            supply_celsius=in_force, airflow_m3_per_second=None, set_seconds=now_seconds
        )
    if problem:
        return safe_set_point(limits, unknown=problem, before=before, now_seconds=now_seconds)
    return next_set_point(
        limits,
        room.racks,
        supply=supply_of(room, reading),
        model=room.model,
        before=before,
        now_seconds=now_seconds,
    )


def inlets_of(room: Room) -> dict[str, float]:
    """Inlets that are known, by rack."""
    return {
        name: one.inlet.value
        for name, one in room.racks.items()
        if one.inlet is not None and one.inlet.value is not None
    }


def without(room: Room, hanging: Collection[str]) -> Room:
    """The room with sensors that hang as unusable."""
    racks = {
        name: replace(one, inlet=Sample(math.nan, 0.0)) if name in hanging else one
        for name, one in room.racks.items()
    }
    return replace(room, racks=racks)


def supply_of(room: Room, reading: ManagerReading | None) -> Sample | None:
    """The measured supply: the manager's sensor, else that of the room."""
    if reading is not None and reading.supply_celsius is not None:
        return Sample(reading.supply_celsius, 0.0)
    return room.supply


def believed(celsius: float | None) -> float | None:
    """A set-point that can be one."""
    if celsius is None or not COLDEST_CELSIUS <= celsius <= HOTTEST_CELSIUS:
        return None
    return celsius
