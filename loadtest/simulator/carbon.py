"""Carbon intensity of the grid over simulated time, and what a forecast would have said. Pure."""

from dataclasses import dataclass

from loadtest.gpu_sensor import keyed_uniform

_JOULES_PER_KILOWATT_HOUR = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonSeries:
    """A recorded series, held constant between its points.

    Attributes:
        grams_per_kilowatt_hour: Of each interval, in order; beyond the end it begins anew.
        interval_seconds: Of the series.
        speed_up_ratio: Seconds of the series per simulated second, so that a day fits a window.
        forecast_error_ratio: Mean absolute error of a forecast, in shares of what comes.
    """

    grams_per_kilowatt_hour: tuple[float, ...]
    interval_seconds: float = 3600.0
    speed_up_ratio: float = 1.0
    forecast_error_ratio: float = 0.0

    def at(self, now_seconds: float) -> float:
        """gCO2 per kWh at a moment of the simulation."""
        return self.grams_per_kilowatt_hour[self._index(now_seconds)]

    def grams(self, joules: float, *, now_seconds: float) -> float:
        """What `joules` drawn at that moment emit."""
        return joules / _JOULES_PER_KILOWATT_HOUR * self.at(now_seconds)

    def forecast(self, now_seconds: float, *, intervals: int, seed: int) -> tuple[float, ...]:
        """What is said now of the coming intervals, the present one first and exact.

        Each interval has one error, uniform in +-2 x the mean, so that forecasts of it agree.
        """
        first = int(now_seconds * self.speed_up_ratio // self.interval_seconds)
        return tuple(
            self.grams_per_kilowatt_hour[index % len(self.grams_per_kilowatt_hour)]
            * (1.0 if index == first else self._error(index, seed))
            for index in range(first, first + intervals)
        )

    def _error(self, index: int, seed: int) -> float:
        spread = 2.0 * self.forecast_error_ratio
        return max(0.0, 1.0 + spread * (2.0 * keyed_uniform(f"{seed}/carbon/{index}") - 1.0))

    def _index(self, now_seconds: float) -> int:
        passed = int(now_seconds * self.speed_up_ratio // self.interval_seconds)
        return passed % len(self.grams_per_kilowatt_hour)
