"""What control is told of the air: sensors that are a little off and tell tenths of a kelvin."""

from collections.abc import Mapping

from loadtest.gpu_sensor import keyed_uniform
from loadtest.simulator.climate import Climate

# A sensor is good to about half a kelvin (`capper.decide.cooling` keeps as much below a redline).
_WIDEST_KELVIN = 0.5
_DIGITS = 1


class Thermometers:
    """One at the inlet and one at the outlet of each rack, each with an error of its own."""

    def __init__(self, *, seed: int) -> None:
        """Errors are uniform within half a kelvin and depend on seed and place alone."""
        self._seed = seed

    def read(self, climate: Climate | None) -> tuple[dict[str, float], dict[str, float]]:
        """Inlets and outlets by rack, degrees Celsius; empty without a room."""
        if climate is None:
            return {}, {}
        return (
            self._told("inlet", climate.inlets_celsius),
            self._told("outlet", climate.outlets_celsius),
        )

    def _told(self, place: str, celsius: Mapping[str, float]) -> dict[str, float]:
        return {
            rack: round(value + self._error(f"{place}/{rack}"), _DIGITS)
            for rack, value in celsius.items()
        }

    def _error(self, place: str) -> float:
        return _WIDEST_KELVIN * (2.0 * keyed_uniform(f"{self._seed}/{place}") - 1.0)
