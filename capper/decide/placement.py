"""Racks for one new replica, best first, with the reason for each. Pure; docs/placement.md."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from capper.decide.heat_budgets import (
    after_poaching,
    analog_factors,
    budgets_watts,
    nearness_of,
    recirculation_factors,
)
from capper.decide.rack_room import (
    Feed,
    Heat,
    PlacementRules,
    Rack,
    Room,
    drawn_watts,
    rooms,
    temperature,
)
from fleet.thermal import ThermalModel, cooling_watts, rises_celsius


class PlacementPolicy(Enum):
    """How racks with room are ordered."""

    HEADROOM = "headroom"
    COOLEST = "coolest"
    MIN_HR = "minHR"
    ZBD = "zbd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A rack that can take the replica.

    Attributes:
        rack: Its name.
        left_watts: Least that its cap and its domains' leave after the replica.
        score: Higher is better among racks of one reason: watts; for `coolest` degrees below 0;
            kelvin below the limit where temperatures stand in for a matrix.
        blind: Ranked by headroom alone because its temperature is not known.
        reason: One sentence.
        cooling_watts: Cooling of the whole room with the replica there; None: not known.
    """

    rack: str
    left_watts: float
    score: float
    blind: bool
    reason: str
    cooling_watts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The answer.

    Attributes:
        choices: Best first; empty: no rack, lift the gate unchanged or wait.
        excluded: Rack -> why it cannot take the replica.
        fallback: Why headroom (of temperature, else of watts) was used instead of the policy; None:
            the policy was.
    """

    choices: tuple[Choice, ...]
    excluded: Mapping[str, str]
    fallback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """Scores by rack; a rack without one is ranked blind, behind all that have one."""

    values: Mapping[str, float]
    fallback: str | None = None
    by: str = "headroom"


def rank(
    policy: PlacementPolicy,
    racks: Sequence[Rack],
    feeds: Mapping[str, Feed],
    *,
    replica_watts: float,
    model: ThermalModel | None = None,
    factors: Mapping[str, float] | None = None,
    rules: PlacementRules | None = None,
) -> Ranking:
    """Order the racks that have room for one replica.

    Args:
        policy: How.
        racks: All racks of the room, each name once.
        feeds: Domains above them by name.
        replica_watts: What the replica will draw (95th percentile), above 0.
        model: Heat recirculation; None: not known.
        factors: Heat recirculation factors by rack from measured runs, above 0
            (`recirculation_factor`), for minHR; None: those of the model.
        rules: Limits.

    Raises:
        ValueError: `replica_watts` is not a finite number above 0.
    """
    if not (math.isfinite(replica_watts) and replica_watts > 0):
        raise ValueError(f"replica_watts is {replica_watts}, it must be a finite number above 0")
    rules = rules or PlacementRules()
    found, excluded = rooms(racks, feeds, replica_watts=replica_watts, model=model, rules=rules)
    if factors is None and model is not None:
        factors = recirculation_factors(model)
    if policy is PlacementPolicy.HEADROOM:
        scores = _headroom(found, None)
    elif policy is PlacementPolicy.COOLEST:
        scores = _coolest(racks, found, rules)
    elif policy is PlacementPolicy.MIN_HR:
        left = _under_budget(racks, factors or {}, replica_watts, rules)
        scores = _or_heat(left, "minHR has no recirculation matrix or factors", racks, found, rules)
    else:
        scores = _zbd(racks, found, replica_watts, model, rules)

    def order(room: Room) -> tuple[bool, float, float, float, str]:
        score = scores.values.get(room.name)
        return (score is None, -(score or 0.0), -room.left_watts, -room.own_left_watts, room.name)

    projection = _Projection(racks, model, rules)
    choices = tuple(
        _choice(room, policy, scores, projection.cooling_watts(room.name, replica_watts))
        for room in sorted(found, key=order)
    )
    return Ranking(choices=choices, excluded=excluded, fallback=scores.fallback)


def projected_cooling_watts(
    racks: Sequence[Rack],
    rack: str,
    replica_watts: float,
    model: ThermalModel | None,
    rules: PlacementRules,
) -> float | None:
    """P / CoP(T_sup) of the room with the replica in the rack, at the warmest supply that is safe.

    None without a model of these racks, or while the watts of one of them are unknown.
    """
    return _Projection(racks, model, rules).cooling_watts(rack, replica_watts)


class _Projection:
    """Cooling of one room with one more replica: what is the same for all racks is found once."""

    def __init__(
        self, racks: Sequence[Rack], model: ThermalModel | None, rules: PlacementRules
    ) -> None:
        self._rules = rules
        self._rises: tuple[float, ...] | None = None
        if model is None or sorted(model.racks) != sorted(one.name for one in racks):
            return
        drawn = {one.name: drawn_watts(one, rules) for one in racks}
        watts = [known for name in model.racks if (known := drawn[name]) is not None]
        if len(watts) < len(drawn):
            return
        self._watts = math.fsum(watts)
        self._rises = rises_celsius(model, watts)
        columns = zip(*model.recirculation_kelvin_per_watt, strict=True)
        self._columns = dict(zip(model.racks, columns, strict=True))

    def cooling_watts(self, rack: str, replica_watts: float) -> float | None:
        if self._rises is None:
            return None
        rules = self._rules
        column = self._columns.get(rack, (0.0,) * len(self._rises))
        hottest = max(
            rise + kelvin * replica_watts for rise, kelvin in zip(self._rises, column, strict=True)
        )
        supply = rules.redline_celsius - hottest
        supply = max(rules.min_supply_celsius, min(rules.max_supply_celsius, supply))
        more = replica_watts if rack in self._columns else 0.0
        return cooling_watts(self._watts + more, supply_celsius=supply)


def _coolest(racks: Sequence[Rack], found: Sequence[Room], rules: PlacementRules) -> _Scores:
    inlets = {one.name: temperature(one.inlet, rules) for one in racks}
    values = {name: -celsius for name, (heat, celsius) in inlets.items() if heat is Heat.KNOWN}
    return _or_headroom(values, "no inlet temperature is known", found)


def _zbd(
    racks: Sequence[Rack],
    found: Sequence[Room],
    replica_watts: float,
    model: ThermalModel | None,
    rules: PlacementRules,
) -> _Scores:
    outlets = {one.name: temperature(one.outlet, rules) for one in racks}
    known = {name: celsius for name, (heat, celsius) in outlets.items() if heat is Heat.KNOWN}
    factors = analog_factors(known) if known else {}
    left = _under_budget(racks, factors, replica_watts, rules)
    if model is not None:
        left = after_poaching(left, nearness_of(model))
    return _or_heat(left, "no outlet temperature is known", racks, found, rules)


def _under_budget(
    racks: Sequence[Rack],
    factors: Mapping[str, float],
    replica_watts: float,
    rules: PlacementRules,
) -> dict[str, float]:
    """Budget less watts drawn and reserved, of racks whose watts and factor are known."""
    known = []
    for rack in racks:
        drawn = drawn_watts(rack, rules)
        if drawn is not None and rack.name in factors:
            known.append((rack, drawn))
    if not known:
        return {}
    most = [rack.cap_watts * (1.0 - rules.free_ratio) for rack, _ in known]
    least = [
        min(rack.idle_watts, one, drawn) for (rack, drawn), one in zip(known, most, strict=True)
    ]
    total = min(math.fsum(drawn for _, drawn in known) + replica_watts, math.fsum(most))
    budgets = budgets_watts(
        [factors[rack.name] for rack, _ in known],
        total_watts=total,
        least_watts=least,
        most_watts=most,
    )
    return {rack.name: budget - drawn for (rack, drawn), budget in zip(known, budgets, strict=True)}


def _headroom(found: Sequence[Room], fallback: str | None) -> _Scores:
    return _Scores(values={room.name: room.left_watts for room in found}, fallback=fallback)


def _or_headroom(values: Mapping[str, float], lacking: str, found: Sequence[Room]) -> _Scores:
    if any(room.name in values for room in found):
        return _Scores(values=values)
    return _headroom(found, lacking if found else None)


def _or_heat(
    values: Mapping[str, float],
    lacking: str,
    racks: Sequence[Rack],
    found: Sequence[Room],
    rules: PlacementRules,
) -> _Scores:
    """What a heat policy falls back to: kelvin below the limit, and only then watts."""
    if any(room.name in values for room in found):
        return _Scores(values=values)
    known = {one.name: (one, temperature(one.inlet, rules)) for one in racks}
    kelvin = {
        name: (rules.redline_celsius if one.max_inlet_celsius is None else one.max_inlet_celsius)
        - celsius
        for name, (one, (heat, celsius)) in known.items()
        if heat is Heat.KNOWN
    }
    if any(room.name in kelvin for room in found):
        return _Scores(values=kelvin, fallback=lacking, by="temperature headroom")
    return _headroom(found, lacking if found else None)


def _choice(
    room: Room, policy: PlacementPolicy, scores: _Scores, projected_watts: float | None
) -> Choice:
    score = scores.values.get(room.name)
    left = f"{room.left_watts:.0f} W left after the replica"
    if scores.fallback is not None:
        reason = f"{left}, by {scores.by} because {scores.fallback}"
    elif score is None:
        reason = f"{left}, behind the others because {policy.value} does not know its heat"
    elif policy is PlacementPolicy.HEADROOM:
        reason = left
    elif policy is PlacementPolicy.COOLEST:
        reason = f"inlet at {-score:.1f} C, {left}"
    else:
        side = "under" if score >= 0 else "over"
        reason = f"{abs(score):.0f} W {side} its {policy.value} budget, {left}"
    heat_policy = policy is not PlacementPolicy.HEADROOM
    return Choice(
        rack=room.name,
        left_watts=room.left_watts,
        score=room.left_watts if score is None else score,
        blind=heat_policy and (score is None or scores.fallback is not None),
        reason=reason,
        cooling_watts=projected_watts,
    )
