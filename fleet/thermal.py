"""Heat in a room of racks: inlet temperatures in the steady state and what cooling draws. Pure.

T_in = T_sup + a + D P (Tang, Gupta, Varsamopoulos, TPDS 2008): a is how much warmer than the supply
the air arrives at a rack, D how many kelvin a watt in one rack adds at the inlet of another.
Cooling draws P / CoP(T_sup) with CoP(T) = 0.0068 T^2 + 0.0008 T + 0.458 (the chilled-water plant of
Moore et al., USENIX 2005). Vectors have one entry per rack, in the order of `ThermalModel.racks`;
matrices have a row per receiving rack and a column per sending one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

AIR_JOULES_PER_M3_KELVIN = 1.19 * 1005.0
"""Heat capacity of air (Tang et al.: 1.19 kg/m3, 1005 J/kgK)."""

FEEDBACK_WATTS_PER_KELVIN = 200.0
"""What a rack draws more for one kelvin at its inlet (fans, leakage): assumed, 1 % of 20 kW."""

_POWER_STEPS = 200

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalModel:
    """A room.

    Attributes:
        racks: Their names, each once.
        approach_celsius: a: inlet over supply with all racks off, 0 and more.
        recirculation_kelvin_per_watt: D, 0 and more.
    """

    racks: tuple[str, ...]
    approach_celsius: tuple[float, ...]
    recirculation_kelvin_per_watt: Matrix

    def __post_init__(self) -> None:
        """Check sizes, ranges and stability.

        Raises:
            ValueError: Naming the field and the rack.
        """
        if not self.racks or len(set(self.racks)) != len(self.racks):
            raise ValueError(f"racks are {list(self.racks)}, there must be one or more, each once")
        self._check("approach_celsius", self.approach_celsius)
        rows = self.recirculation_kelvin_per_watt
        if len(rows) != len(self.racks):
            raise ValueError(
                f"recirculation_kelvin_per_watt has {len(rows)} rows for {len(self.racks)} racks"
            )
        for rack, row in zip(self.racks, rows, strict=True):
            self._check(f"recirculation_kelvin_per_watt of rack {rack}", row)
        gain = loop_gain_ratio(rows)
        if gain >= 1.0:
            raise ValueError(
                "recirculation_kelvin_per_watt is not stable: with "
                f"{FEEDBACK_WATTS_PER_KELVIN:g} W more per kelvin in each rack a rise comes back "
                f"{gain:.3g} times as large, it must be below 1; it is in kelvin per watt, not "
                "per kilowatt"
            )

    def _check(self, name: str, values: tuple[float, ...]) -> None:
        if len(values) != len(self.racks):
            raise ValueError(f"{name} has {len(values)} values for {len(self.racks)} racks")
        for rack, value in zip(self.racks, values, strict=True):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: {value} at {rack}, it must be finite and 0 or more")


def loop_gain_ratio(matrix: Matrix) -> float:
    """How much of a rise of all inlets comes back through warmer, hungrier racks, from above.

    The largest eigenvalue of D times `FEEDBACK_WATTS_PER_KELVIN`. For every positive vector v it is
    at most max (D v)_i / v_i (Collatz and Wielandt); steps of v towards D v bring that down to it.
    They end once the bound is below 1, which is all that stability needs.

    Args:
        matrix: D, square, finite, 0 and more.
    """
    vector = [1.0] * len(matrix)
    gain = math.inf
    for _ in range(_POWER_STEPS):
        after = [_dot(row, vector) for row in matrix]
        worst = max(new / old for new, old in zip(after, vector, strict=True))
        gain = min(gain, worst * FEEDBACK_WATTS_PER_KELVIN)
        if gain < 1.0:
            break
        # Half of the old vector keeps every entry positive; the scale keeps them in range.
        vector = [(new / worst + old) / 2.0 for new, old in zip(after, vector, strict=True)]
    return gain


def rises_celsius(model: ThermalModel, rack_watts: Sequence[float]) -> tuple[float, ...]:
    """Inlet over supply once power has been constant for long: a + D P.

    Raises:
        ValueError: There is not one finite power of 0 and more per rack.
    """
    if len(rack_watts) != len(model.racks):
        raise ValueError(f"{len(rack_watts)} powers for {len(model.racks)} racks")
    for rack, watts in zip(model.racks, rack_watts, strict=True):
        if not (math.isfinite(watts) and watts >= 0):
            raise ValueError(f"rack {rack} draws {watts} W, it must be finite and 0 or more")
    return tuple(
        approach + _dot(row, rack_watts)
        for approach, row in zip(
            model.approach_celsius, model.recirculation_kelvin_per_watt, strict=True
        )
    )


def highest_supply_celsius(
    model: ThermalModel, *, rack_watts: Sequence[float], redline_celsius: float
) -> float:
    """The warmest supply at which no inlet settles above the redline: T_red - max(a + D P).

    Raises:
        ValueError: There is not one finite power of 0 and more per rack.
    """
    return redline_celsius - max(rises_celsius(model, rack_watts))


def coefficient_of_performance(supply_celsius: float) -> float:
    """Heat moved per joule of cooling; warmer supply is cheaper to make.

    The parabola rises again below 0 degrees, where no chilled water is: it is held there.
    """
    celsius = max(0.0, supply_celsius)
    return 0.0068 * celsius**2 + 0.0008 * celsius + 0.458


def cooling_watts(heat_watts: float, *, supply_celsius: float) -> float:
    """Power that removing `heat_watts` takes."""
    return heat_watts / coefficient_of_performance(supply_celsius)


def _dot(row: Sequence[float], vector: Sequence[float]) -> float:
    return sum(one * other for one, other in zip(row, vector, strict=True))
