"""Inlet temperatures of racks as time goes by, and rooms to try things in. Pure.

The steady state and what cooling draws are those of `fleet.thermal`, which the capper uses, too;
towards the steady state the inlets move with one time constant.

Vectors have one entry per rack, in the order of `ThermalModel.racks`; matrices have a row per
receiving rack and a column per sending one.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import fleet.thermal
from fleet.thermal import (
    AIR_JOULES_PER_M3_KELVIN,
    Matrix,
    coefficient_of_performance,
    cooling_watts,
    highest_supply_celsius,
    rises_celsius,
)

__all__ = [
    "REDLINE_CELSIUS",
    "TIME_CONSTANT_SECONDS",
    "Matrix",
    "RackInlets",
    "ThermalModel",
    "coefficient_of_performance",
    "cooling_watts",
    "highest_supply_celsius",
    "recirculation",
    "steady_inlets_celsius",
    "synthetic_room",
]

# Tang et al.: a steady state takes 10 to 20 minutes after a change; 300 s closes 95 % of the
# distance in 15.
TIME_CONSTANT_SECONDS = 300.0
REDLINE_CELSIUS = 25.0
"""Highest inlet temperature in Tang et al."""

# Supply approach temperatures of racks in the outer and the inner rows of a room, from CFD
# (github.com/HewlettPackard/dc-rl, utils/dc_config*.json, MIT).
_OUTER_ROW_CELSIUS = 5.3
_INNER_ROW_CELSIUS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalModel(fleet.thermal.ThermalModel):
    """A room that takes its time.

    Attributes:
        time_constant_seconds: Of the inlets, above 0.
    """

    time_constant_seconds: float = TIME_CONSTANT_SECONDS

    def __post_init__(self) -> None:
        """Check what the steady state checks, and the time constant.

        Raises:
            ValueError: Naming the field and the rack.
        """
        fleet.thermal.ThermalModel.__post_init__(self)
        if not (math.isfinite(self.time_constant_seconds) and self.time_constant_seconds > 0):
            raise ValueError(
                f"time_constant_seconds is {self.time_constant_seconds}, it must be above 0"
            )


def steady_inlets_celsius(
    model: fleet.thermal.ThermalModel, *, supply_celsius: float, rack_watts: Sequence[float]
) -> tuple[float, ...]:
    """T_in once power and supply have been constant for long.

    Raises:
        ValueError: There is not one finite power of 0 and more per rack.
    """
    return tuple(supply_celsius + rise for rise in rises_celsius(model, rack_watts))


class RackInlets:
    """Inlet temperatures as time goes by.

    Attributes:
        celsius: Of each rack, as of the last `advance`.
    """

    __slots__ = ("_model", "_now_seconds", "celsius")

    def __init__(
        self,
        model: ThermalModel,
        *,
        supply_celsius: float,
        rack_watts: Sequence[float],
        now_seconds: float = 0.0,
    ) -> None:
        """Start in the steady state.

        Raises:
            ValueError: There is not one finite power of 0 and more per rack.
        """
        self._model = model
        self._now_seconds = now_seconds
        self.celsius = steady_inlets_celsius(
            model, supply_celsius=supply_celsius, rack_watts=rack_watts
        )

    def advance(
        self,
        *,
        now_seconds: float,
        supply_celsius: float,
        rack_watts: Sequence[float],
        further_celsius: Sequence[float] | None = None,
    ) -> tuple[float, ...]:
        """Move on to `now_seconds`; exact for power and supply that were constant since the last.

        Args:
            now_seconds: Not before the last call's; an earlier one changes nothing.
            supply_celsius: Since the last call.
            rack_watts: Mean power of each rack since the last call.
            further_celsius: What a fault adds at each inlet in the steady state; None: nothing.

        Returns:
            The new inlet temperatures.

        Raises:
            ValueError: There is not one finite power of 0 and more per rack.
        """
        settled = steady_inlets_celsius(
            self._model, supply_celsius=supply_celsius, rack_watts=rack_watts
        )
        if further_celsius is not None:
            settled = tuple(map(operator.add, settled, further_celsius))
        elapsed_seconds = max(0.0, now_seconds - self._now_seconds)
        left_ratio = math.exp(-elapsed_seconds / self._model.time_constant_seconds)
        self.celsius = tuple(
            target + (present - target) * left_ratio
            for present, target in zip(self.celsius, settled, strict=True)
        )
        self._now_seconds += elapsed_seconds
        return self.celsius


def synthetic_room(
    *,
    rows: int,
    racks_per_row: int,
    recirculated_ratio: float = 0.15,
    reach_racks: float = 1.5,
    aisle_racks: float = 2.0,
    airflow_m3_per_second: float = 2.5,
    time_constant_seconds: float = TIME_CONSTANT_SECONDS,
) -> ThermalModel:
    """A room with a declared, not measured, recirculation matrix: none is public.

    The share of one rack's exhaust that another (or itself) breathes in falls by e every
    `reach_racks`, the same in both directions; from those shares and the air flow D follows as in
    Tang et al. The approach temperatures are from CFD of a room that has some recirculation of its
    own, so that inlets are warm rather than cold of the truth.

    Args:
        rows: Of racks, at least 1.
        racks_per_row: At least 1.
        recirculated_ratio: Share of its exhaust that the best connected rack sends to inlets
            instead of back to the cooler, 0 to below 1. Assumed.
        reach_racks: Distance, in rack widths, over which shares fall by e, above 0. Assumed.
        aisle_racks: Distance of two rows in rack widths, above 0. Assumed.
        airflow_m3_per_second: Through each rack, above 0. Assumed: 40 kW warm it by 13 K.
        time_constant_seconds: See `ThermalModel`.

    Raises:
        ValueError: An argument is outside its range.
    """
    if rows < 1 or racks_per_row < 1:
        raise ValueError(f"{rows} rows of {racks_per_row} racks, there must be one or more of each")
    if not 0 <= recirculated_ratio < 1:
        raise ValueError(
            f"recirculated_ratio is {recirculated_ratio}, it must be from 0 to below 1"
        )
    for name, value in (
        ("reach_racks", reach_racks),
        ("aisle_racks", aisle_racks),
        ("airflow_m3_per_second", airflow_m3_per_second),
    ):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, it must be a number above 0")
    places = [(row, column) for row in range(rows) for column in range(racks_per_row)]
    nearness = [
        [math.exp(-math.hypot((r1 - r2) * aisle_racks, c1 - c2) / reach_racks) for r2, c2 in places]
        for r1, c1 in places
    ]
    scale = recirculated_ratio / max(sum(row) for row in nearness)
    shares = [[scale * value for value in row] for row in nearness]
    return ThermalModel(
        racks=tuple(f"row{row + 1}-rack{column + 1}" for row, column in places),
        approach_celsius=tuple(
            _OUTER_ROW_CELSIUS if row in (0, rows - 1) else _INNER_ROW_CELSIUS for row, _ in places
        ),
        recirculation_kelvin_per_watt=recirculation(
            shares, airflow_m3_per_second=airflow_m3_per_second
        ),
        time_constant_seconds=time_constant_seconds,
    )


def recirculation(shares: Sequence[Sequence[float]], *, airflow_m3_per_second: float) -> Matrix:
    """Tang's D = (K - A^T K)^-1 - K^-1 for one air flow: (S + S^2 + ...) / K with S = A^T.

    Gauss-Jordan without pivots: the rows of I - S sum to more than 0 with nothing positive off the
    diagonal, so every pivot is positive.

    Args:
        shares: A: row i, column j is the share of rack i's exhaust that rack j breathes in.
        airflow_m3_per_second: Through each rack.

    Raises:
        ValueError: The matrix is not square, or unstable: a rack that sends all of its exhaust to
            inlets heats the room without end.
    """
    for number, row in enumerate(shares, start=1):
        if len(row) != len(shares):
            raise ValueError(
                f"row {number} of exhaust_shares has {len(row)} values for {len(shares)} racks"
            )
        if sum(row) >= 1.0:
            raise ValueError(
                f"row {number} of exhaust_shares sums to {sum(row):g}, it must be below 1 or the "
                "room gets hotter without end"
            )
    watts_per_kelvin = airflow_m3_per_second * AIR_JOULES_PER_M3_KELVIN
    size = len(shares)
    system = [
        [float(i == j) - shares[j][i] for j in range(size)] + [float(i == j) for j in range(size)]
        for i in range(size)
    ]
    for pivot in range(size):
        head = system[pivot][pivot]
        pivot_row = [value / head for value in system[pivot]]
        system[pivot] = pivot_row
        for index in range(size):
            factor = system[index][pivot]
            if index != pivot and factor != 0.0:
                system[index] = [
                    value - factor * other
                    for value, other in zip(system[index], pivot_row, strict=True)
                ]
    return tuple(
        # Rounding may leave a share of 0 a little below it.
        tuple(max(0.0, system[i][size + j] - float(i == j)) / watts_per_kelvin for j in range(size))
        for i in range(size)
    )
