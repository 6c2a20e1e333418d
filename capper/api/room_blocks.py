"""The room: racks for new replicas, and cooling."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from capper.api.fields import MAX_ITEMS, Celsius, PositiveSeconds, ShortText, Url
from capper.api.rules import ApiModel, Rule
from capper.api.secret_block import SecretKeyRef


class Placement(ApiModel):
    """Where new replicas go."""

    policy: Literal["headroom", "minHR", "zbd", "coolest"] = "headroom"
    """How a rack is chosen for a new pod."""
    mode: Literal["SchedulingGates", "DeploymentAffinity"] = "SchedulingGates"
    """Gates touch new pods only. DeploymentAffinity restarts every pod of the workload."""
    rack_label: ShortText = "topology.headrace.dev/rack"
    """Node label that names the rack."""
    gate_seconds: PositiveSeconds = 30
    """A gate is lifted after this long in any case."""
    require: bool = False
    """Require the rack, not only prefer it."""
    rebalance_by_eviction: bool = False
    """Allow evictions, one at a time, to empty a hot rack."""
    recirculation_matrix: (
        Annotated[
            tuple[Annotated[tuple[float, ...], Field(max_length=MAX_ITEMS)], ...],
            Field(max_length=MAX_ITEMS),
        ]
        | None
    ) = None
    """Kelvin at inlet i for a watt at rack j, in the order of `rackConstraints`."""


class Cooling(ApiModel):
    """Set-points for a cooling manager."""

    adapter: Literal["dry-run", "http"] = "dry-run"
    """Who is told."""
    url: Url | None = None
    """Where the http adapter sends set-points."""
    secret_ref: SecretKeyRef | None = None
    """Bearer token of the http adapter."""
    min_supply_celsius: Celsius = 15
    """Lowest supply temperature."""
    max_supply_celsius: Celsius = 27
    """Highest supply temperature."""
    safe_supply_celsius: Celsius = 18
    """What is set when anything is unknown."""
    redline_celsius: Celsius = 27
    """Highest inlet temperature."""
    ramp_celsius_per_minute: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Fastest change upwards."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minSupplyCelsius <= self.safeSupplyCelsius"
            " && self.safeSupplyCelsius <= self.maxSupplyCelsius",
            lambda it: it.min_supply_celsius <= it.safe_supply_celsius <= it.max_supply_celsius,
            "must lie between minSupplyCelsius and maxSupplyCelsius",
            "safeSupplyCelsius",
        ),
        Rule(
            "(self.adapter == 'http') == has(self.url)",
            lambda it: (it.adapter == "http") == (it.url is not None),
            "belongs to adapter http, which needs it",
            "url",
        ),
    )
