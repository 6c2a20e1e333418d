"""The room of one configuration as the decision takes it, and as the status shows it. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping

from capper.api.config import Spec
from capper.api.room_blocks import Placement, RackStatus
from capper.decide.domains import DomainTree
from capper.decide.gates import GateRules, RoomView
from capper.decide.heat_budgets import recirculation_factors
from capper.decide.observation import Sample
from capper.decide.placement import PlacementPolicy
from capper.decide.plan import DomainDecision
from capper.decide.rack_room import (
    Feed,
    Heat,
    PlacementRules,
    Rack,
    drawn_watts,
    temperature,
)
from capper.operator.report import TurnReport
from capper.racks.matrix import MatrixInForce
from capper.racks.pods import Reserved
from capper.racks.sensed import Sensed

Believe = Callable[[str, str, Sample | None, float | None], tuple[Sample | None, str]]


def rules_of(spec: Spec, placement: Placement) -> GateRules:
    """How pods are placed."""
    cooling = spec.cooling
    limits = (
        {}
        if cooling is None
        else {
            "redline_celsius": cooling.redline_celsius,
            "min_supply_celsius": cooling.min_supply_celsius,
            "max_supply_celsius": cooling.max_supply_celsius,
        }
    )
    return GateRules(
        policy=PlacementPolicy(placement.policy),
        gate_seconds=placement.gate_seconds,
        placement=PlacementRules(
            power_stale_after_seconds=spec.freshness.stale_after_seconds,
            free_ratio=spec.safety.spike_margin_ratio,
            **limits,
        ),
    )


def room_of(
    spec: Spec,
    report: TurnReport,
    *,
    late_seconds: float,
    sensed: Sensed,
    believe: Believe,
    reserved: Iterable[Reserved],
    matrix: MatrixInForce,
) -> tuple[RoomView, tuple[str, ...]]:
    """The room, and one sentence for each sensor that is not believed.

    Args:
        spec: With the racks.
        report: The newest turn: watts and inlets, after the loop's own filter.
        late_seconds: How old it is.
        sensed: The racks' sensors.
        believe: Judges a temperature: rack, sensor, sample, watts of the rack.
        reserved: All reservations there are, of whatever configuration.
        matrix: In force.
    """
    tree = DomainTree(report.policy.domains)
    seen = {one.name: one for one in report.plan.domains}
    held: dict[str, float] = {}
    for one in reserved:
        held[one.rack] = held.get(one.rack, 0.0) + one.watts
    doubts: list[str] = []
    racks, flows = [], {}
    for given in spec.rack_constraints:
        name = given.rack_id
        decision = seen.get(name)
        power = sensed.power.get(name) or _power(decision, late_seconds)
        watts = None if power is None else power.value
        inlet = sensed.inlet.get(name) or _inlet(decision, late_seconds)
        inlet, why_inlet = believe(name, "inlet", inlet, watts)
        outlet, why_outlet = believe(name, "outlet", sensed.outlet.get(name), watts)
        doubts += [why for why in (why_inlet, why_outlet) if why]
        flow = _flow(sensed.airflow.get(name), given.airflow_cubic_meters_per_second)
        if flow is not None:
            flows[name] = flow
        racks.append(
            Rack(
                name=name,
                cap_watts=given.max_power,
                power=power,
                reserved_watts=held.get(name, 0.0),
                inlet=inlet,
                outlet=outlet,
                max_inlet_celsius=given.max_temperature,
                idle_watts=given.idle_watts,
                domains=tuple(
                    above
                    for above in tree.path(name)[1:]
                    if above in seen and seen[above].cap_watts is not None
                ),
            )
        )
    feeds = {
        name: Feed(
            cap_watts=one.cap_watts,
            power=_power(one, late_seconds),
            reserved_watts=math.fsum(
                watts for rack, watts in held.items() if name in tree.path(rack)
            ),
        )
        for name, one in seen.items()
        if one.cap_watts is not None and one.cap_watts > 0.0
    }
    model = matrix.model
    factors = None if model is None else recirculation_factors(model, flows)
    room = RoomView(racks=tuple(racks), feeds=feeds, model=model, factors=factors)
    return room, tuple(doubts)


def rack_statuses(
    room: RoomView, rules: PlacementRules, nodes: Mapping[str, int]
) -> tuple[RackStatus, ...]:
    """What the status shows of each rack; what is not believed is left out."""
    found = []
    for one in room.racks:
        drawn = drawn_watts(one, rules)
        inlet, outlet = (temperature(sample, rules) for sample in (one.inlet, one.outlet))
        free = one.cap_watts * (1.0 - rules.free_ratio)
        found.append(
            RackStatus(
                rack_id=one.name,
                observed_watts=None if drawn is None else drawn - one.reserved_watts,
                reserved_watts=one.reserved_watts,
                left_watts=None if drawn is None else max(0.0, free - drawn),
                inlet_celsius=inlet[1] if inlet[0] is Heat.KNOWN else None,
                outlet_celsius=outlet[1] if outlet[0] is Heat.KNOWN else None,
                nodes=nodes.get(one.name, 0),
            )
        )
    return tuple(found)


def _power(decision: DomainDecision | None, late_seconds: float) -> Sample | None:
    """What the loop believes: filtered, and the worst of its last samples."""
    if decision is None or decision.watts is None:
        return None
    return Sample(decision.watts, (decision.age_seconds or 0.0) + late_seconds)


def _inlet(decision: DomainDecision | None, late_seconds: float) -> Sample | None:
    if decision is None or decision.inlet_celsius is None:
        return None
    return Sample(decision.inlet_celsius, late_seconds)


def _flow(sample: Sample | None, declared: float | None) -> float | None:
    """Measured where that can be, else declared."""
    value = None if sample is None else sample.value
    if value is not None and math.isfinite(value) and 0.0 < value <= 1000.0:  # noqa: PLR2004 - the API's own range
        return value
    return declared
