"""The status that the capper writes: what it saw, what it decided, and why."""

from typing import Annotated, Literal

from pydantic import Field

from capper.api.fields import MAX_ITEMS
from capper.api.rules import ApiModel

ConditionType = Literal[
    "Ready",
    "Enforcing",
    "TelemetryStale",
    "CoverageLow",
    "CapExceeded",
    "BudgetOverAllocated",
    "FieldConflict",
    "RevertFight",
    "Oscillation",
    "Overlap",
    "Deprecated",
    "InletHot",
    "LeaseExpired",
    "SensorImplausible",
    "CapUnreachable",
    "SlowActuators",
    "CarbonUnknown",
]


class Condition(ApiModel):
    """A condition in the form that all of Kubernetes uses."""

    type: str
    """Kind of condition."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=128)]
    """One word for programs."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """One sentence for people."""
    last_transition_time: str
    """When it changed, RFC 3339."""
    observed_generation: int | None = None
    """Generation of the spec that it speaks of."""


class TargetStatus(ApiModel):
    """What was decided for one workload."""

    ref: str
    """kind/name of the reference."""
    actuation_target: str | None = None
    """kind/name of the object that is written: KServe's parent, when it owns the reference."""
    observed_watts: float | None = None
    """Its watts, where they are known."""
    tokens_per_joule: float | None = None
    """Output tokens per joule, where they are known."""
    current_replicas: int | None = None
    """Largest of spec, status and the autoscaler's wish."""
    max_replicas: int | None = None
    """Bound that is, or would be, in force."""
    original_max_replicas: int | None = None
    """Bound before the capper, restored when this resource goes."""
    decision: str = ""
    """What was decided."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """Why."""


class DomainStatus(ApiModel):
    """One rack or domain."""

    name: str
    """Its name."""
    observed_watts: float | None = None
    """Its watts."""
    cap_watts: float | None = None
    """Its cap now."""
    band: str = ""
    """Normal, Watch, Restrict or Shed."""
    inlet_celsius: float | None = None
    """Inlet temperature."""
    price: float | None = None
    """Multiplier that the router sees."""


class ActionStatus(ApiModel):
    """One thing that was done, or would have been."""

    time: str
    """When, RFC 3339."""
    action: Annotated[str, Field(max_length=256)]
    """What."""
    outcome: Literal["Applied", "Recommended", "Refused", "Failed"]
    """How it ended."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """Why."""


class SavedOriginal(ApiModel):
    """A value that the capper replaced and will put back."""

    target: str
    """kind/name of the object."""
    field: str
    """Field or annotation."""
    value: str | None = None
    """Its value before; none means that it was not set."""


class Status(ApiModel):
    """Everything that the capper reports."""

    observed_generation: int | None = None
    """Generation of the spec that was last read."""
    observed_watts: float | None = None
    """Worst of the last samples."""
    coverage_ratio: float | None = None
    """Part of the boards that report."""
    sample_age_seconds: float | None = None
    """Age of the newest sample, when status was written."""
    effective_cap_watts: float | None = None
    """Cap in force now."""
    cap_reason: Annotated[str, Field(max_length=1024)] = ""
    """Why it is that: the limit itself, carbon, a parent's share, a default."""
    band: str = ""
    """Normal, Watch, Restrict or Shed."""
    carbon_grams_per_kilowatt_hour: float | None = None
    """Carbon intensity now."""
    emitted_grams: float | None = None
    """gCO2e in the present budget period."""
    next_change_time: str | None = None
    """Earliest time of the next change."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=32)] = ()
    """What holds now."""
    targets: Annotated[tuple[TargetStatus, ...], Field(max_length=MAX_ITEMS)] = ()
    """Decision by workload."""
    domains: Annotated[tuple[DomainStatus, ...], Field(max_length=MAX_ITEMS)] = ()
    """State by rack and domain."""
    last_actions: Annotated[tuple[ActionStatus, ...], Field(max_length=20)] = ()
    """The newest actions, newest first."""
    originals: Annotated[tuple[SavedOriginal, ...], Field(max_length=1024)] = ()
    """What will be put back."""
    state: Annotated[str, Field(max_length=65_536)] = ""
    """The loop's own memory, for a restart: JSON, no interface."""
