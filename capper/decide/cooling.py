"""Set-points for a cooling manager: as warm as the racks allow, safe whenever anything is unknown.

Supply temperature T_red - max(a + D P) with a model (Tang et al. 2008), and never warmer than
T_sup + min (limit - T_in), which is all there is without one. Colder at once, warmer on a ramp.

T_sup is the coldest of what is measured, what was ordered and what inlets follow by now: they lag
behind the supply, so that a room that is being warmed looks cooler than it will be, and a supply
sensor that reads too high must not warm the racks. Pure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from capper.decide.observation import Sample
from capper.decide.rack_room import Heat, PlacementRules, Rack, drawn_watts, temperature
from fleet.thermal import AIR_JOULES_PER_M3_KELVIN, ThermalModel, highest_supply_celsius

_SECONDS_PER_MINUTE = 60.0
# A capper that was away has not watched the room: it goes on as if one turn had passed.
_LONGEST_TURN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CoolingLimits:
    """What the plant and the racks allow.

    Attributes:
        min_supply_celsius: Coldest supply.
        max_supply_celsius: Warmest supply.
        safe_supply_celsius: Set when anything is unknown; between the two.
        redline_celsius: Highest inlet.
        margin_celsius: Kept below the redline, 0 and more: a sensor is good to about 0.5 K.
        ramp_celsius_per_minute: Fastest change upwards, above 0.
        min_airflow_m3_per_second: Least through the room; with `max_airflow_m3_per_second`.
        max_airflow_m3_per_second: Most, and the safe one; None: air flow is not ours.
        air_rise_celsius: Outlet over inlet at which air flow is set, above 0.
        lag_seconds: Time constant of inlets behind the supply, above 0. A steady state takes 10 to
            20 minutes (Tang et al.): 300 s close 95 % of the distance in 15.
    """

    min_supply_celsius: float = 15.0
    max_supply_celsius: float = 27.0
    safe_supply_celsius: float = 18.0
    redline_celsius: float = 27.0
    margin_celsius: float = 0.5
    ramp_celsius_per_minute: float = 0.5
    min_airflow_m3_per_second: float = 0.0
    max_airflow_m3_per_second: float | None = None
    air_rise_celsius: float = 12.0
    lag_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Check the order of the limits.

        Raises:
            ValueError: Naming the limit.
        """
        bounds = (self.min_supply_celsius, self.safe_supply_celsius, self.max_supply_celsius)
        if not (all(map(math.isfinite, bounds)) and list(bounds) == sorted(bounds)):
            raise ValueError(
                f"safe_supply_celsius is {self.safe_supply_celsius}, it must lie between "
                f"{self.min_supply_celsius} and {self.max_supply_celsius}"
            )
        for name in ("ramp_celsius_per_minute", "air_rise_celsius", "lag_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, it must be a number above 0")
        most, least = self.max_airflow_m3_per_second, self.min_airflow_m3_per_second
        if most is not None and not 0.0 <= least <= most < math.inf:
            raise ValueError(f"air flow goes from {least} to {most}, it must rise from 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPoint:
    """An order to the plant.

    Attributes:
        supply_celsius: Of the air.
        airflow_m3_per_second: Through the room; None: not ours.
        set_seconds: When it was decided.
        unknown: What was not known, so that it is a safe one; None: all was.
        followed_celsius: The supply that inlets follow by now; None: not known.
    """

    supply_celsius: float
    airflow_m3_per_second: float | None
    set_seconds: float
    unknown: str | None = None
    followed_celsius: float | None = None


def safe_set_point(
    limits: CoolingLimits, *, unknown: str, before: SetPoint | None, now_seconds: float
) -> SetPoint:
    """The safe supply, or the present one where that is colder, and the most air.

    Args:
        limits: Of plant and racks.
        unknown: What is not known.
        before: Set-point in force; None: not known.
        now_seconds: Epoch time.
    """
    present = limits.safe_supply_celsius if before is None else before.supply_celsius
    safe = min(limits.safe_supply_celsius, present)
    if not math.isfinite(safe):
        safe = limits.safe_supply_celsius
    return SetPoint(
        supply_celsius=max(limits.min_supply_celsius, safe),
        airflow_m3_per_second=limits.max_airflow_m3_per_second,
        set_seconds=now_seconds,
        unknown=unknown,
    )


def next_set_point(
    limits: CoolingLimits,
    racks: Mapping[str, Rack],
    *,
    supply: Sample | None,
    model: ThermalModel | None,
    before: SetPoint | None,
    now_seconds: float,
    rules: PlacementRules | None = None,
) -> SetPoint:
    """The set-point of this turn.

    While anything is unknown: the safe supply, or the present one where that is colder, and the
    most air; bad data never makes a room warmer.

    Args:
        limits: Of plant and racks.
        racks: All racks of the room by name.
        supply: Measured supply temperature.
        model: Heat recirculation; None: by measured inlets alone.
        before: Set-point in force; None: not known, the safe one is where it starts.
        now_seconds: Epoch time.
        rules: When samples are believed.
    """
    rules = rules or PlacementRules()
    measured = _measured(limits, racks, supply, model, rules)
    present = limits.safe_supply_celsius if before is None else before.supply_celsius
    if isinstance(measured, str) or not math.isfinite(present):
        unknown = measured if isinstance(measured, str) else "the set-point in force"
        return safe_set_point(limits, unknown=unknown, before=before, now_seconds=now_seconds)
    supply_celsius, room_celsius, watts = measured
    coldest = min(supply_celsius, present)
    followed = _followed(limits, before, coldest, now_seconds)
    target = min(followed, coldest) + room_celsius
    if model is not None:
        expected = highest_supply_celsius(
            model,
            rack_watts=[watts[name] for name in model.racks],
            redline_celsius=limits.redline_celsius - limits.margin_celsius,
        )
        target = min(target, expected)
    turn_seconds = 0.0 if before is None else max(0.0, now_seconds - before.set_seconds)
    turn_seconds = min(turn_seconds, _LONGEST_TURN_SECONDS)
    rise = limits.ramp_celsius_per_minute * turn_seconds / _SECONDS_PER_MINUTE
    bounded = min(target, present + rise, limits.max_supply_celsius)
    return SetPoint(
        supply_celsius=max(limits.min_supply_celsius, bounded),
        airflow_m3_per_second=_airflow(limits, math.fsum(watts.values())),
        set_seconds=now_seconds,
        followed_celsius=followed,
    )


def _followed(
    limits: CoolingLimits, before: SetPoint | None, supply_celsius: float, now_seconds: float
) -> float:
    """The supply of some minutes ago, as the inlets have it: one time constant."""
    last = None if before is None else before.followed_celsius
    if before is None or last is None:
        return supply_celsius
    seconds = max(0.0, now_seconds - before.set_seconds)
    return supply_celsius + (last - supply_celsius) * math.exp(-seconds / limits.lag_seconds)


def _measured(
    limits: CoolingLimits,
    racks: Mapping[str, Rack],
    supply: Sample | None,
    model: ThermalModel | None,
    rules: PlacementRules,
) -> tuple[float, float, dict[str, float]] | str:
    """(supply, kelvin that the hottest rack has left, watts by rack), or what is not known."""
    heat, supply_celsius = temperature(supply, rules)
    if heat is not Heat.KNOWN:
        return "the supply temperature"
    if not racks or (model is not None and set(model.racks) != set(racks)):
        return "the racks of the room"
    watts, left = {}, math.inf
    for name, rack in racks.items():
        drawn, (known, celsius) = drawn_watts(rack, rules), temperature(rack.inlet, rules)
        if drawn is None:
            return f"the power of rack {name}"
        if known is not Heat.KNOWN:
            return f"the inlet temperature of rack {name}"
        own = limits.redline_celsius if rack.max_inlet_celsius is None else rack.max_inlet_celsius
        limit = min(own, limits.redline_celsius) - limits.margin_celsius
        watts[name], left = drawn, min(left, limit - celsius)
    return supply_celsius, left, watts


def _airflow(limits: CoolingLimits, watts: float) -> float | None:
    """P / (rho c_p rise), within bounds."""
    most = limits.max_airflow_m3_per_second
    if most is None:
        return None
    needed = watts / (AIR_JOULES_PER_M3_KELVIN * limits.air_rise_celsius)
    return min(most, max(limits.min_airflow_m3_per_second, needed))
