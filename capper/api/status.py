"""The status that the capper writes: what it saw, what it decided, and why."""

from typing import Annotated, Literal

from pydantic import Field

from capper.api.fields import MAX_ITEMS
from capper.api.grid_status import CarbonStatus, CoolingStatus
from capper.api.room_blocks import RackStatus
from capper.api.rules import ApiModel
from capper.api.smoothing_block import SmoothingStatus
from capper.api.vertical_block import VerticalStatus

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
    "SmoothingPlanned",
    "AutoscalerConflict",
    "VerticalUnsupported",
    "VerticalUnread",
    "GpuFragmented",
    "CarbonFeedFailing",
    "CarbonKindChanged",
    "CoolingUnknown",
    "CoolingFailing",
    "CoolingWarm",
    "ClocksPartial",
    "PlacementReady",
    "MatrixUnusable",
    "RackSensorDoubted",
    "RestartsPods",
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
    allowed_replicas: int | None = None
    """What KEDA is told by the external scaler, where that is enabled."""
    backend: str = ""
    """Name under which the router knows it."""
    clock_mega_hertz: float | None = None
    """Highest GPU clock, where it is locked."""
    limit_watts_per_replica: float | None = None
    """Power limit of one replica, where one is set."""
    band: str = ""
    """Worst of the domains that feed it."""
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
    carbon: CarbonStatus | None = None
    """Grid carbon in full."""
    cooling: CoolingStatus | None = None
    """Set-points of the cooling."""
    racks: Annotated[tuple[RackStatus, ...], Field(max_length=MAX_ITEMS)] = ()
    """Racks for new replicas."""
    last_turn_time: str | None = None
    """Time of the turn that this speaks of, RFC 3339."""
    next_change_time: str | None = None
    """Earliest time of the next change."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=64)] = ()
    """What holds now."""
    targets: Annotated[tuple[TargetStatus, ...], Field(max_length=MAX_ITEMS)] = ()
    """Decision by workload."""
    domains: Annotated[tuple[DomainStatus, ...], Field(max_length=MAX_ITEMS)] = ()
    """State by rack and domain."""
    smoothing: SmoothingStatus | None = None
    """The smoothing plan."""
    vertical: Annotated[tuple[VerticalStatus, ...], Field(max_length=MAX_ITEMS)] = ()
    """VerticalPodAutoscalers of the targets."""
    last_actions: Annotated[tuple[ActionStatus, ...], Field(max_length=20)] = ()
    """The newest actions, newest first."""
    originals: Annotated[tuple[SavedOriginal, ...], Field(max_length=1024)] = ()
    """What will be put back."""
    state: Annotated[str, Field(max_length=65_536)] = ""
    """The loop's own memory, for a restart: JSON, no interface."""
