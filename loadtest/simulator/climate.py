"""The room of a simulated fleet: rack inlets, supply air and cooling power over time. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

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
class Room:
    """Racks and their cooling.

    Attributes:
        thermal: Racks in the order of `thermal.racks`.
        supply_celsius: Of the cooling air; None: as warm as keeps every inlet at its redline,
            within the two limits below.
        lowest_supply_celsius: What the plant can make.
        highest_supply_celsius: What it is allowed to make.
        redline_celsius: Highest inlet temperature.
    """

    thermal: ThermalModel
    supply_celsius: float | None = None
    lowest_supply_celsius: float = 10.0
    highest_supply_celsius: float = 25.0
    redline_celsius: float = REDLINE_CELSIUS


class Climate:
    """What the air does.

    Attributes:
        supply_celsius: Of the cooling air now.
        cooling_joules: Spent since `measure`.
        max_inlet_celsius: Highest inlet since then; None before.
        redline_seconds: Time since then with an inlet above the redline.
    """

    def __init__(self, room: Room, *, rack_watts: Sequence[float]) -> None:
        """Start in the steady state of `rack_watts`."""
        self._room = room
        self.supply_celsius = self._supply(rack_watts)
        self._inlets = RackInlets(
            room.thermal, supply_celsius=self.supply_celsius, rack_watts=rack_watts
        )
        self.cooling_joules = 0.0
        self.max_inlet_celsius: float | None = None
        self.redline_seconds = 0.0

    @property
    def inlets_celsius(self) -> dict[str, float]:
        """By rack."""
        return dict(zip(self._room.thermal.racks, self._inlets.celsius, strict=True))

    def advance(
        self, *, now_seconds: float, seconds: float, rack_watts: Sequence[float], measured: bool
    ) -> float:
        """`seconds` have passed in which the racks drew `rack_watts` on average.

        Returns:
            The joules that cooling took.
        """
        joules = cooling_watts(sum(rack_watts), supply_celsius=self.supply_celsius) * seconds
        inlets = self._inlets.advance(
            now_seconds=now_seconds, supply_celsius=self.supply_celsius, rack_watts=rack_watts
        )
        if measured:
            hottest = max(inlets)
            self.cooling_joules += joules
            self.max_inlet_celsius = max(hottest, self.max_inlet_celsius or hottest)
            redline_celsius = self._room.redline_celsius + _REDLINE_TOLERANCE_KELVIN
            self.redline_seconds += seconds * (hottest > redline_celsius)
        self.supply_celsius = self._supply(rack_watts)
        return joules

    def _supply(self, rack_watts: Sequence[float]) -> float:
        room = self._room
        if room.supply_celsius is not None:
            return room.supply_celsius
        wanted = highest_supply_celsius(
            room.thermal, rack_watts=rack_watts, redline_celsius=room.redline_celsius
        )
        return min(room.highest_supply_celsius, max(room.lowest_supply_celsius, wanted))
