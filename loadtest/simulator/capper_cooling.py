"""The cooling set-point in the simulator: `capper.decide.cooling` over what sensors tell."""

from collections.abc import Iterable

from capper.decide.cooling import CoolingLimits, SetPoint, next_set_point
from capper.decide.observation import Sample
from loadtest.simulator.capper_placement import seen_rack
from loadtest.simulator.control import Action, ControlView, SetSupply

# Colder at once, warmer by so much in a minute of the room's own time; the default of the capper.
_RAMP_CELSIUS_PER_MINUTE = CoolingLimits().ramp_celsius_per_minute


class CoolingLoop:
    """Orders the warmest supply that every inlet allows, colder at once and warmer on a ramp."""

    def __init__(self) -> None:
        """Nothing ordered."""
        self._before: SetPoint | None = None

    def decide(self, view: ControlView) -> Iterable[Action]:
        """A set-point every period; nothing without a room."""
        room, supply = view.room, view.supply_celsius
        if room is None or supply is None:
            return []
        limits = CoolingLimits(
            min_supply_celsius=room.lowest_supply_celsius,
            max_supply_celsius=room.highest_supply_celsius,
            safe_supply_celsius=room.lowest_supply_celsius,
            redline_celsius=room.recommended_celsius,
            ramp_celsius_per_minute=_RAMP_CELSIUS_PER_MINUTE * view.compression_ratio,
            lag_seconds=CoolingLimits().lag_seconds / view.compression_ratio,
        )
        self._before = next_set_point(
            limits,
            {one.name: seen_rack(view, one) for one in view.racks},
            supply=Sample(supply, 0.0),
            model=room.thermal,
            before=self._before,
            now_seconds=view.now_seconds,
        )
        return [SetSupply(self._before.supply_celsius)]
