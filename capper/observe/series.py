"""What a report says of domains and targets, by the ends of the metrics' names. Pure.

Unknown is None and gets no sample.
"""

from collections.abc import Mapping

from capper.decide.observation import TargetReading
from capper.decide.plan import TargetDecision
from capper.decide.state import DomainState, TargetState
from capper.operator.report import TurnReport

DOMAIN_SERIES: Mapping[str, str] = {
    "watts": "Worst of the last samples.",
    "cap_watts": "The lowest cap.",
    "allocated_watts": "Of what runs and what is admitted.",
    "reserved_watts": "Set aside for what is coming.",
    "coverage_ratio": "Meters that report over those that should.",
    "sample_age_seconds": "Of the newest sample that was believed.",
    "inlet_celsius": "The hottest inlet.",
    "max_inlet_celsius": "Its limit.",
    "band": "0 Normal, 1 Watch, 2 Restrict, 3 Shed.",
    "price_ratio": "What a joule costs the router there, over its plain price.",
    "shed_level": "0 nothing, 1 sheddable requests, 2 all new work is refused.",
    "over_timestamp_seconds": "Since when it is over its cap, epoch seconds.",
}
TARGET_SERIES: Mapping[str, str] = {
    "replicas": "Running: the largest of spec, status and the autoscaler's wish.",
    "ready_replicas": "That serve.",
    "bound_replicas": "Allowed now.",
    "goal_replicas": "Where the ramps lead to.",
    "floor_replicas": "Never fewer.",
    "max_replicas": "What the object says now.",
    "original_max_replicas": "What is restored in the end.",
    "watts": "Of all its replicas.",
    "replica_watts": "Of one more replica, as used for admission.",
    "output_tokens_per_second": "Of all its replicas.",
    "tokens_per_joule": "Output tokens per joule.",
    "clock_hertz": "Lock that is to be in force.",
    "limit_watts": "Power limit of a replica that is to be in force.",
    "band": "The worst band of the domains that it touches.",
    "reading_age_seconds": "Of what the API server says of it.",
    "reverts": "Times in a row that another writer undid its bound.",
    "direction_changes": "Of its bound, within the window of the oscillation guard.",
    "frozen_until_timestamp_seconds": "Its bound does not rise before then, epoch seconds.",
}

Values = dict[str, float | None]


def domain_values(report: TurnReport) -> dict[str, Values]:
    """Values of all domains by name."""
    limits = {domain.name: domain.max_inlet_celsius for domain in report.policy.domains}
    found = {}
    for one in report.plan.domains:
        memory = report.state.domains.get(one.name, DomainState())
        found[one.name] = {
            "watts": one.watts,
            "cap_watts": one.cap_watts,
            "allocated_watts": one.allocated_watts,
            "reserved_watts": sum(
                held.watts for held in report.state.reservations.values() if held.domain == one.name
            ),
            "coverage_ratio": one.coverage_ratio,
            "sample_age_seconds": one.age_seconds,
            "inlet_celsius": one.inlet_celsius,
            "max_inlet_celsius": limits.get(one.name),
            "band": float(one.band),
            "price_ratio": one.price_ratio,
            "shed_level": float(one.shed),
            "over_timestamp_seconds": memory.over_since_seconds,
        }
    return found


def target_values(report: TurnReport) -> dict[str, Values]:
    """Values of all targets by ref."""
    found = {}
    for one in report.plan.targets:
        reading = report.observation.targets.get(one.ref)
        memory = report.state.targets.get(one.ref, TargetState())
        found[one.ref] = {
            **_decided(one),
            **({} if reading is None else _read(reading)),
            "reverts": float(memory.reverts),
            "direction_changes": float(len(memory.turned_seconds)),
            "frozen_until_timestamp_seconds": memory.frozen_until_seconds,
        }
    return found


def _decided(one: TargetDecision) -> Values:
    return {
        "replicas": one.current_replicas,
        "bound_replicas": one.bound,
        "goal_replicas": one.goal,
        "floor_replicas": one.floor,
        "original_max_replicas": one.original_max,
        "replica_watts": one.replica_watts,
        "clock_hertz": one.clock_hertz,
        "limit_watts": one.limit_watts,
        "band": float(one.band),
    }


def _read(reading: TargetReading) -> Values:
    return {
        "ready_replicas": reading.ready_replicas,
        "max_replicas": reading.max_replicas,
        "watts": reading.watts,
        "output_tokens_per_second": reading.output_tokens_per_second,
        "tokens_per_joule": reading.tokens_per_joule,
        "reading_age_seconds": reading.age_seconds,
    }
