"""Time and power against the SM clock, fitted to Perseus' sweeps of forward passes. Pure.

T(f) = T(f0) (1 - phi + phi f0/f); P(f) = P_s + P_d r v^2 with v = max(vmin, 1 - s (1 - r)):
facts/simulation.md 2.3. A forward pass is bound by compute, as prefill is; decode is not.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from loadtest.fit.regression import Vector, fit_relative, mean
from loadtest.fit.sources import Pass


class SweepFit(NamedTuple):
    """One workload; powers in watts, clocks in hertz, medians over pipeline stages.

    Attributes:
        max_clock: f0, the highest of the sweep.
        phi: Share of the time that scales with 1/f.
        static: P_s.
        dynamic: P_d.
        voltage_floor: vmin.
        voltage_slope: s.
        knee: Clock where the voltage reaches its floor.
        optimal: Measured clock of the least energy of all stages together.
        optimal_energy: Energy there over that at f0.
        optimal_time: Time there over that at f0.
        errors: Ratio by quantity.
        clocks: Lowest and highest clock of the sweep.
    """

    max_clock: float
    phi: float
    static: float
    dynamic: float
    voltage_floor: float
    voltage_slope: float
    knee: float
    optimal: float
    optimal_energy: float
    optimal_time: float
    errors: dict[str, float]
    clocks: tuple[float, float]

    @property
    def static_ratio(self) -> float:
        """P_s over the power at full clock."""
        return self.static / (self.static + self.dynamic)

    def energy_ratio(self, clock_hz: float) -> float:
        """Energy of a pass at a clock over that at f0, by the fit."""
        ratio = clock_hz / self.max_clock
        voltage = max(self.voltage_floor, 1.0 - self.voltage_slope * (1.0 - ratio))
        power = self.static_ratio + (1.0 - self.static_ratio) * ratio * voltage**2
        return power * (1.0 - self.phi + self.phi / ratio)


def fit_sweep(passes: Sequence[Pass]) -> SweepFit:
    """Fit one workload, stage by stage."""
    stages = sorted({one.stage for one in passes})
    max_clock = max(one.clock_hz for one in passes)
    times, powers = [], []
    for stage in stages:
        mine = [one for one in passes if one.stage == stage]
        ratios = np.asarray([one.clock_hz / max_clock for one in mine])
        times.append(_fit_time(ratios, [one.seconds for one in mine]))
        powers.append(_fit_power(ratios, [one.joules / one.seconds for one in mine]))
    static, dynamic, floor, slope = (
        median(column) for column in list(zip(*powers, strict=True))[:4]
    )
    totals = _totals(passes)
    optimal = min(totals, key=lambda clock: totals[clock][1])
    return SweepFit(
        max_clock=max_clock,
        phi=median(phi for phi, _ in times),
        static=static,
        dynamic=dynamic,
        voltage_floor=floor,
        voltage_slope=slope,
        knee=max_clock * (1.0 - (1.0 - floor) / slope),
        optimal=optimal,
        optimal_energy=totals[optimal][1] / totals[max_clock][1],
        optimal_time=totals[optimal][0] / totals[max_clock][0],
        errors={
            "in_sample time": mean([error for _, error in times]),
            "in_sample power": mean([error for *_, error in powers]),
        },
        clocks=(min(totals), max_clock),
    )


def energy_transfer_error(fit: SweepFit, passes: Sequence[Pass]) -> float:
    """Mean relative error of the energy ratio that one workload's fit foretells of another's."""
    totals = _totals(passes)
    full_joules = totals[max(totals)][1]
    return mean(
        [
            abs(fit.energy_ratio(clock) * full_joules / joules - 1.0)
            for clock, (_, joules) in totals.items()
        ]
    )


def _totals(passes: Sequence[Pass]) -> dict[float, tuple[float, float]]:
    """Clock -> seconds and joules of all stages together."""
    totals: dict[float, tuple[float, float]] = {}
    for one in passes:
        seconds, joules = totals.get(one.clock_hz, (0.0, 0.0))
        totals[one.clock_hz] = (seconds + one.seconds, joules + one.joules)
    return totals


def _fit_time(ratios: Vector, seconds: list[float]) -> tuple[float, float]:
    """Phi and its error."""
    columns = ([1.0] * len(seconds), [1.0 / ratio for ratio in ratios])
    fixed, scaled = map(float, fit_relative(columns, seconds))
    errors = [
        abs((fixed + scaled / ratio) / value - 1.0)
        for ratio, value in zip(ratios, seconds, strict=True)
    ]
    return scaled / (fixed + scaled), mean(errors)


def _fit_power(ratios: Vector, watts: list[float]) -> tuple[float, float, float, float, float]:
    """P_s, P_d, vmin, s and the error."""
    measured = np.asarray(watts)

    def residuals(found: Vector) -> Vector:
        static, dynamic, floor, slope = found
        voltage = np.maximum(floor, 1.0 - slope * (1.0 - ratios))
        power: Vector = (static + dynamic * ratios * voltage**2) / measured
        return power - 1.0

    solutions = [
        least_squares(
            residuals,
            (60.0, max(watts) - 60.0, floor, slope),
            bounds=((0.0, 1.0, 0.5, 0.1), (200.0, 1000.0, 1.0, 2.0)),
            x_scale=(100.0, 100.0, 1.0, 1.0),
        )
        for floor in (0.78, 0.82, 0.86)
        for slope in (0.6, 0.8, 1.0)
    ]
    best = min(solutions, key=lambda solution: round(float(solution.cost), 9))
    static, dynamic, floor, slope = map(float, best.x)
    return static, dynamic, floor, slope, float(np.mean(np.abs(best.fun)))
