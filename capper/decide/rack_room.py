"""Which racks can take one more replica: what is believed of each, what is left, why not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from capper.decide.observation import Sample
from fleet.thermal import ThermalModel

_SLACK = 1e-9
# More than twice what its breaker carries is no rack's draw.
_LARGEST_CAP_RATIO = 2.0
# Clocks of one site differ by less; a sample from further ahead is from no clock.
_CLOCK_SKEW_SECONDS = 5.0
_COLDEST_CELSIUS, _HOTTEST_CELSIUS = 0.0, 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRules:
    """What is believed and what is kept free.

    Attributes:
        power_stale_after_seconds: Older watts are no watts: three scrapes of 15 s.
        heat_stale_after_seconds: Older temperatures are none: inlets move within 300 s.
        free_ratio: Part of each cap kept free for spikes (POLCA: 11.8 % in one control latency).
        redline_celsius: Highest inlet for which the supply is chosen, for projected cooling.
        min_supply_celsius: Coldest supply of the plant.
        max_supply_celsius: Warmest supply of the plant.
    """

    power_stale_after_seconds: float = 45.0
    heat_stale_after_seconds: float = 300.0
    free_ratio: float = 0.12
    redline_celsius: float = 27.0
    min_supply_celsius: float = 15.0
    max_supply_celsius: float = 27.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rack:
    """One rack as it was seen.

    Attributes:
        name: Unique.
        cap_watts: It may draw, above 0.
        power: Watts of all of it; None: no meter.
        reserved_watts: Set aside for replicas that do not draw yet.
        inlet: Degrees Celsius; None: no sensor.
        outlet: Degrees Celsius; None: no sensor.
        max_inlet_celsius: Its limit; None: none.
        idle_watts: What it draws with all replicas idle, 0 and more.
        domains: Names of all domains that feed it.
    """

    name: str
    cap_watts: float
    power: Sample | None = None
    reserved_watts: float = 0.0
    inlet: Sample | None = None
    outlet: Sample | None = None
    max_inlet_celsius: float | None = None
    idle_watts: float = 0.0
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A domain above racks: a PDU, a row, the whole.

    Attributes:
        cap_watts: It may draw, above 0.
        power: Watts of all of it; None: no meter.
        reserved_watts: Set aside for replicas that do not draw yet.
    """

    cap_watts: float
    power: Sample | None = None
    reserved_watts: float = 0.0


class Heat(Enum):
    """What is known of a temperature."""

    KNOWN = "known"
    ABSENT = "absent"
    UNUSABLE = "unusable"


class Room(NamedTuple):
    """A rack that has room.

    Attributes:
        name: Of the rack.
        left_watts: Least that its own cap and its domains' leave after the replica.
        own_left_watts: That its own cap leaves.
    """

    name: str
    left_watts: float
    own_left_watts: float


def drawn_watts(rack: Rack | Feed, rules: PlacementRules) -> float | None:
    """Measured and reserved watts; None when the measurement is absent, stale or impossible."""
    watts = _fresh(rack.power, rules.power_stale_after_seconds)
    if watts is None or not 0.0 <= watts <= _LARGEST_CAP_RATIO * rack.cap_watts:
        return None
    return watts + max(0.0, rack.reserved_watts)


def temperature(sample: Sample | None, rules: PlacementRules) -> tuple[Heat, float]:
    """What is known of a temperature, and its degrees (NaN unless known)."""
    if sample is None or sample.value is None:
        return Heat.ABSENT, math.nan
    celsius = _fresh(sample, rules.heat_stale_after_seconds)
    if celsius is None or not _COLDEST_CELSIUS < celsius < _HOTTEST_CELSIUS:
        return Heat.UNUSABLE, math.nan
    return Heat.KNOWN, celsius


def rooms(
    racks: Sequence[Rack],
    feeds: Mapping[str, Feed],
    *,
    replica_watts: float,
    model: ThermalModel | None,
    rules: PlacementRules,
) -> tuple[list[Room], dict[str, str]]:
    """Racks with room for the replica, and for every other one the reason.

    Watts drawn + watts reserved + those of the replica must stay within cap x (1 - free_ratio), in
    the rack and in every domain that feeds it; with a model its heat must bring no inlet that is
    known over its limit.
    """
    found, excluded = [], {}
    spread = _Spread(racks, model, rules)
    for rack in racks:
        own = _left(rack, f"rack {rack.name}", replica_watts, rules)
        lefts = [own, *(_fed(name, feeds, replica_watts, rules) for name in rack.domains)]
        reasons = [one for one in lefts if isinstance(one, str)]
        reasons += _heat_reasons(rack, rules) or spread.reasons(rack.name, replica_watts)
        if reasons:
            excluded[rack.name] = "; ".join(reasons)
        elif not isinstance(own, str):
            left = min(one for one in lefts if not isinstance(one, str))
            found.append(Room(rack.name, left, own))
    return found, excluded


def _left(one: Rack | Feed, who: str, replica_watts: float, rules: PlacementRules) -> float | str:
    """Watts left after the replica, or why there are none."""
    drawn = drawn_watts(one, rules)
    if drawn is None:
        return f"the power of {who} is unknown, stale or impossible"
    if drawn > one.cap_watts:
        return f"{who} draws {drawn:.0f} W of {one.cap_watts:.0f} W, reservations included"
    left = one.cap_watts * (1.0 - rules.free_ratio) - drawn - replica_watts
    if left < -_SLACK * one.cap_watts:
        return f"{who} lacks {-left:.0f} W for a replica of {replica_watts:.0f} W"
    return left


def _fed(
    name: str, feeds: Mapping[str, Feed], replica_watts: float, rules: PlacementRules
) -> float | str:
    feed = feeds.get(name)
    if feed is None:
        return f"domain {name} is not known"
    return _left(feed, f"domain {name}", replica_watts, rules)


def _heat_reasons(rack: Rack, rules: PlacementRules) -> list[str]:
    known, celsius = temperature(rack.inlet, rules)
    if known is Heat.UNUSABLE:
        return [f"the inlet temperature of rack {rack.name} is stale or impossible"]
    limit = rack.max_inlet_celsius
    if known is Heat.ABSENT and limit is not None:
        return [f"rack {rack.name} has a limit of {limit:.1f} C and no inlet temperature"]
    if limit is not None and celsius > limit:
        return [f"rack {rack.name} takes in {celsius:.1f} C, its limit is {limit:.1f} C"]
    return []


class _Neighbour(NamedTuple):
    """A rack with a limit whose inlet is known, and what a watt elsewhere does to it."""

    name: str
    celsius: float
    limit_celsius: float
    kelvin_per_watt: Sequence[float]


class _Spread:
    """Whose inlets a replica's heat would bring over their limit; looked up once for all racks."""

    def __init__(
        self, racks: Sequence[Rack], model: ThermalModel | None, rules: PlacementRules
    ) -> None:
        places = {} if model is None else {name: place for place, name in enumerate(model.racks)}
        self._places = places
        self._neighbours = []
        for one in sorted(racks, key=lambda one: one.name):
            known, celsius = temperature(one.inlet, rules)
            limit, place = one.max_inlet_celsius, places.get(one.name)
            if model is None or place is None or limit is None or known is not Heat.KNOWN:
                continue
            row = model.recirculation_kelvin_per_watt[place]
            self._neighbours.append(_Neighbour(one.name, celsius, limit, row))

    def reasons(self, sender: str, replica_watts: float) -> list[str]:
        place = self._places.get(sender)
        if place is None:
            return []
        reasons = []
        for one in self._neighbours:
            kelvin = one.kelvin_per_watt[place]
            after = one.celsius + kelvin * replica_watts
            # One that is over already is no reason to keep away from racks that send it nothing.
            if after > one.limit_celsius and kelvin > 0.0:
                reasons.append(f"its heat would bring rack {one.name} to {after:.1f} C")
        return reasons


def _fresh(sample: Sample | None, stale_after_seconds: float) -> float | None:
    if sample is None or sample.value is None or not math.isfinite(sample.value):
        return None
    # Written so that an age that is no number is not fresh.
    fresh = -_CLOCK_SKEW_SECONDS <= sample.age_seconds <= stale_after_seconds
    return sample.value if fresh else None
