"""A room's recirculation matrix from its history, or one sentence why the history does not say.

Least squares with a and D at 0 or more, one inlet at a time, by coordinate descent (each entry in
turn set to its best value given the others, 0 at least). Pure; formulas in docs/placement.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fleet.thermal import ThermalModel

_SWEEPS = 5000
_SETTLED_RATIO = 1e-12

Rows = list[list[float]]


class HeatSample(NamedTuple):
    """The room in a steady state: nothing moved much for some 15 minutes.

    Attributes:
        supply_celsius: Of the air.
        rack_watts: One entry per rack.
        inlets_celsius: One entry per rack.
    """

    supply_celsius: float
    rack_watts: Sequence[float]
    inlets_celsius: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRules:
    """When a history says enough.

    Attributes:
        samples_per_rack: At least so many samples for each rack in the room.
        own_watts: Standard deviation of what a rack's power did that the others' did not do.
            200 W move an inlet by 0.01 K and more in rooms that recirculate: assumed.
        max_error_kelvin: A worse fit is no model: sensors are good to about 0.5 K.
    """

    samples_per_rack: int = 3
    own_watts: float = 200.0
    max_error_kelvin: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the history says.

    Attributes:
        model: None: refused.
        error_kelvin: Root mean square of what the fit leaves, of the worst rack.
        refusal: One sentence; None: not refused.
    """

    model: ThermalModel | None = None
    error_kelvin: float | None = None
    refusal: str | None = None


def learn(
    racks: Sequence[str], history: Sequence[HeatSample], rules: LearningRules | None = None
) -> Learned:
    """Fit a and D.

    Args:
        racks: Names, in the order of the samples' entries.
        history: Steady states.
        rules: Limits.
    """
    rules = rules or LearningRules()
    refusal = _unusable(racks, history, rules)
    if refusal:
        return Learned(refusal=refusal)
    watts = [list(column) for column in zip(*(one.rack_watts for one in history), strict=True)]
    centred = [_centred(column) for column in watts]
    gram = [[_dot(one, other) for other in centred] for one in centred]
    refusal = _unexcited(racks, gram, len(history), rules)
    if refusal:
        return Learned(refusal=refusal)
    approach, matrix, errors = [], [], []
    for rack in range(len(racks)):
        rises = [one.inlets_celsius[rack] - one.supply_celsius for one in history]
        offset, row = _fit_row(watts, gram, rises)
        left = [
            rise - offset - _dot(row, one.rack_watts)
            for rise, one in zip(rises, history, strict=True)
        ]
        approach.append(offset)
        matrix.append(tuple(row))
        errors.append(math.sqrt(_dot(left, left) / len(left)))
    return _judged(racks, approach, matrix, errors, rules)


def _judged(
    racks: Sequence[str],
    approach: list[float],
    matrix: list[tuple[float, ...]],
    errors: list[float],
    rules: LearningRules,
) -> Learned:
    worst = max(errors)
    if worst > rules.max_error_kelvin:
        rack = racks[errors.index(worst)]
        sentence = (
            f"the inlet of rack {rack} is {worst:.2f} K off the fit, at most "
            f"{rules.max_error_kelvin:g} K is allowed"
        )
        return Learned(error_kelvin=worst, refusal=sentence)
    try:
        model = ThermalModel(
            racks=tuple(racks),
            approach_celsius=tuple(approach),
            recirculation_kelvin_per_watt=tuple(matrix),
        )
    except ValueError as error:
        return Learned(error_kelvin=worst, refusal=f"what the history says is no room: {error}")
    return Learned(model=model, error_kelvin=worst)


def _unusable(
    racks: Sequence[str], history: Sequence[HeatSample], rules: LearningRules
) -> str | None:
    if not racks:
        return "there are no racks"
    least = rules.samples_per_rack * len(racks)
    if len(history) < least:
        return f"the history has {len(history)} steady states, {len(racks)} racks need {least}"
    for number, one in enumerate(history, start=1):
        if not len(one.rack_watts) == len(one.inlets_celsius) == len(racks):
            return f"sample {number} has not one power and one inlet for each of {len(racks)} racks"
        numbers = (one.supply_celsius, *one.rack_watts, *one.inlets_celsius)
        if not all(map(math.isfinite, numbers)) or min(one.rack_watts) < 0:
            return f"sample {number} has a value that is no number, or a power below 0"
    return None


def _unexcited(racks: Sequence[str], gram: Rows, samples: int, rules: LearningRules) -> str | None:
    """Name the rack whose power moved least on its own, if that is too little.

    1 / (G^-1)_jj is the squared length of what column j has that the others cannot make up.
    """
    size = len(racks)
    least = rules.own_watts**2 * samples
    rest = _own_squares(gram)
    own = min(range(size), key=lambda rack: rest[rack])
    if rest[own] >= least:
        return None
    watts = math.sqrt(max(0.0, rest[own]) / samples)
    return (
        f"the power of rack {racks[own]} moved by {watts:.0f} W (standard deviation) on its own in "
        f"the history, it must be {rules.own_watts:g} W to tell its heat from the others'"
    )


def _own_squares(gram: Rows) -> list[float]:
    """1 / (G^-1)_jj by Gauss-Jordan on [G | I]; 0 where a pivot vanishes."""
    size = len(gram)
    system = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(gram)]
    for pivot in range(size):
        head = system[pivot][pivot]
        if head <= _SETTLED_RATIO * gram[pivot][pivot] or head <= 0.0:
            return [0.0 if index == pivot else gram[index][index] for index in range(size)]
        scaled = [value / head for value in system[pivot]]
        system[pivot] = scaled
        for index in range(size):
            factor = system[index][pivot]
            if index != pivot and factor:
                system[index] = [
                    value - factor * other
                    for value, other in zip(system[index], scaled, strict=True)
                ]
    return [1.0 / system[index][size + index] for index in range(size)]


def _fit_row(watts: Rows, gram: Rows, rises: list[float]) -> tuple[float, list[float]]:
    """(a, row of D): the offset is eliminated by centring; where it would be below 0 it is 0."""
    centred = _centred(rises)
    row = _descend(gram, [_dot(_centred(column), centred) for column in watts])
    offset = math.fsum(rises) / len(rises) - math.fsum(
        kelvin * math.fsum(column) / len(column) for kelvin, column in zip(row, watts, strict=True)
    )
    if offset >= 0.0:
        return offset, row
    plain = [[_dot(one, other) for other in watts] for one in watts]
    return 0.0, _descend(plain, [_dot(column, rises) for column in watts])


def _descend(gram: Rows, target: list[float]) -> list[float]:
    """Minimise x G x / 2 - target x over x >= 0."""
    row = [0.0] * len(target)
    for _ in range(_SWEEPS):
        moved = 0.0
        for index, products in enumerate(gram):
            step = (target[index] - _dot(products, row)) / products[index]
            after = max(0.0, row[index] + step)
            moved = max(moved, abs(after - row[index]))
            row[index] = after
        if moved <= _SETTLED_RATIO * max(row):
            break
    return row


def _centred(column: Sequence[float]) -> list[float]:
    mean = math.fsum(column) / len(column)
    return [value - mean for value in column]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))
