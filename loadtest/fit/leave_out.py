"""Tables and lines judged by points that were left out. Pure.

The table is the one the simulator interpolates (`loadtest.models.tables`); its ends are never left
out, since nothing is claimed beyond them.
"""

from collections.abc import Callable, Iterator, Sequence

from loadtest.fit.regression import fit_relative
from loadtest.models.tables import Points, step_seconds_at, watts_at

Predictor = Callable[[Points, float], float]


def line_through(points: Points) -> tuple[float, float]:
    """The line a + b B of the least relative error: a and b."""
    columns = ([1.0] * len(points), [batch for batch, _ in points])
    base, per_request = fit_relative(columns, [value for _, value in points])
    return float(base), float(per_request)


def line_errors(points: Points) -> list[float]:
    """Relative errors of the line at its own points."""
    base, per_request = line_through(points)
    return [abs((base + per_request * batch) / value - 1.0) for batch, value in points]


def step_table(points: Points, batch: float) -> float:
    """The simulator's table of step times."""
    return step_seconds_at(points, batch, slope_above=0.0)


def step_line(points: Points, batch: float) -> float:
    """The line through the points."""
    base, per_request = line_through(points)
    return base + per_request * batch


def power_table(points: Points, batch: float) -> float:
    """The simulator's table of watts."""
    return watts_at(points, batch)


def left_out_errors(points: Points, predict: Predictor) -> list[float]:
    """Relative errors at every inner point, predicted from the others."""
    return [abs(guess / value - 1.0) for guess, value in _left_out(points, predict)]


def left_out_energy_errors(steps: Points, watts: Points) -> list[float]:
    """Relative errors of joules per step (W x T) at every inner point, both predicted."""
    pairs = zip(_left_out(steps, step_table), _left_out(watts, power_table), strict=True)
    return [
        abs(step_guess * watt_guess / (seconds * power) - 1.0)
        for (step_guess, seconds), (watt_guess, power) in pairs
    ]


def _left_out(points: Points, predict: Predictor) -> Iterator[tuple[float, float]]:
    """Prediction and value of every inner point."""
    for index in range(1, len(points) - 1):
        batch, value = points[index]
        others: Sequence[tuple[float, float]] = [*points[:index], *points[index + 1 :]]
        yield predict(others, batch), value
