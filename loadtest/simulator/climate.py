"""The room of a simulated fleet: rack inlets, supply air and cooling power over time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.thermal import AIR_JOULES_PER_M3_KELVIN
from loadtest.simulator.racks import (
    REDLINE_CELSIUS,
    RackInlets,
    ThermalModel,
    cooling_watts,
    highest_supply_celsius,
)

# No sensor of a rack tells less.
_REDLINE_TOLERANCE_KELVIN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingFault:
    """A rack loses its cooling air and breathes what is around it, its own exhaust above all.

    Attributes:
        rack: Its name.
        start_seconds: When it begins.
        end_seconds: When it is mended.
        kelvin: By so much its inlet settles higher whatever it draws, 0 and more.
        kelvin_per_watt: And by so much for each watt that it draws itself, 0 and more.
    """

    rack: str
    start_seconds: float
    end_seconds: float
    kelvin: float
    kelvin_per_watt: float

    def rise_celsius(self, watts: float, *, now_seconds: float) -> float:
        """What it adds to its inlet in the steady state."""
        if not self.start_seconds <= now_seconds < self.end_seconds:
            return 0.0
        return self.kelvin + self.kelvin_per_watt * watts


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Racks and their cooling.

    Attributes:
        thermal: Racks in the order of `thermal.racks`.
        supply_celsius: Of the cooling air; None: as warm as keeps every inlet at its redline,
            within the two limits below.
        lowest_supply_celsius: What the plant can make.
        highest_supply_celsius: What it is allowed to make.
        redline_celsius: Highest inlet temperature.
        recommended_celsius: Inlet that controlled cooling aims at; None: the redline.
        airflow_m3_per_second: Through each rack; outlet temperatures follow from it.
        faults: Of the cooling.
    """

    thermal: ThermalModel
    supply_celsius: float | None = None
    lowest_supply_celsius: float = 10.0
    highest_supply_celsius: float = 25.0
    redline_celsius: float = REDLINE_CELSIUS
    recommended_celsius: float | None = None
    airflow_m3_per_second: float = 2.5
    faults: tuple[CoolingFault, ...] = ()


class Climate:
    """What the air does.

    Attributes:
        supply_celsius: Of the cooling air now.
        cooling_joules: Spent since `measure`.
        max_inlet_celsius: Highest inlet since then; None before.
        redline_seconds: Time since then with an inlet above the redline.
        redline_kelvin_seconds: Integral of the hottest inlet over the redline.
    """

    def __init__(self, room: Room, *, rack_watts: Sequence[float]) -> None:
        """Start in the steady state of `rack_watts`."""
        self._room = room
        self._rack_watts = tuple(rack_watts)
        self._ordered_celsius: float | None = None
        self.supply_celsius = self._supply(rack_watts)
        self._inlets = RackInlets(
            room.thermal, supply_celsius=self.supply_celsius, rack_watts=rack_watts
        )
        self.cooling_joules = 0.0
        self.max_inlet_celsius: float | None = None
        self.redline_seconds = 0.0
        self.redline_kelvin_seconds = 0.0

    @property
    def inlets_celsius(self) -> dict[str, float]:
        """By rack."""
        return dict(zip(self._room.thermal.racks, self._inlets.celsius, strict=True))

    @property
    def outlets_celsius(self) -> dict[str, float]:
        """By rack: the inlet and P / (rho c_p f)."""
        kelvin_per_watt = 1.0 / (AIR_JOULES_PER_M3_KELVIN * self._room.airflow_m3_per_second)
        return {
            rack: celsius + watts * kelvin_per_watt
            for (rack, celsius), watts in zip(
                self.inlets_celsius.items(), self._rack_watts, strict=True
            )
        }

    def order(self, supply_celsius: float) -> None:
        """A set-point for the plant, from now on and within what it can make."""
        room = self._room
        self._ordered_celsius = min(
            room.highest_supply_celsius, max(room.lowest_supply_celsius, supply_celsius)
        )

    def advance(
        self, *, now_seconds: float, seconds: float, rack_watts: Sequence[float], measured: bool
    ) -> float:
        """`seconds` have passed in which the racks drew `rack_watts` on average.

        Returns:
            The joules that cooling took.
        """
        joules = cooling_watts(sum(rack_watts), supply_celsius=self.supply_celsius) * seconds
        inlets = self._inlets.advance(
            now_seconds=now_seconds,
            supply_celsius=self.supply_celsius,
            rack_watts=rack_watts,
            further_celsius=self._further_celsius(rack_watts, now_seconds - seconds),
        )
        if measured:
            hottest = max(inlets)
            self.cooling_joules += joules
            self.max_inlet_celsius = max(hottest, self.max_inlet_celsius or hottest)
            redline_celsius = self._room.redline_celsius + _REDLINE_TOLERANCE_KELVIN
            self.redline_seconds += seconds * (hottest > redline_celsius)
            over_kelvin = hottest - self._room.redline_celsius
            self.redline_kelvin_seconds += seconds * max(0.0, over_kelvin)
        self._rack_watts = tuple(rack_watts)
        self.supply_celsius = self._supply(rack_watts)
        return joules

    def _further_celsius(
        self, rack_watts: Sequence[float], now_seconds: float
    ) -> tuple[float, ...] | None:
        room = self._room
        if not room.faults:
            return None
        watts = dict(zip(room.thermal.racks, rack_watts, strict=True))
        rises = dict.fromkeys(room.thermal.racks, 0.0)
        for fault in room.faults:
            rises[fault.rack] += fault.rise_celsius(watts[fault.rack], now_seconds=now_seconds)
        return tuple(rises.values())

    def _supply(self, rack_watts: Sequence[float]) -> float:
        room = self._room
        if self._ordered_celsius is not None:
            return self._ordered_celsius
        if room.supply_celsius is not None:
            return room.supply_celsius
        wanted = highest_supply_celsius(
            room.thermal, rack_watts=rack_watts, redline_celsius=room.redline_celsius
        )
        return min(room.highest_supply_celsius, max(room.lowest_supply_celsius, wanted))
