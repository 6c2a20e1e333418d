"""The grid and the room: carbon, placement, cooling, smoothing."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from capper.api.fields import (
    MAX_ITEMS,
    Celsius,
    Count,
    GramsPerKilowattHour,
    Name,
    PositiveSeconds,
    PositiveWatts,
    Seconds,
    ShortText,
    Text,
    Url,
)
from capper.api.rules import ApiModel, Rule


class SecretKeyRef(ApiModel):
    """A key in a Secret of this resource's namespace."""

    name: Name
    """Name of the Secret."""
    key: ShortText = "token"
    """Key in it."""


class CarbonProvider(ApiModel):
    """Where carbon intensity comes from."""

    type: Literal["UKCarbonIntensity", "ElectricityMaps", "WattTime", "Static", "CSV"]
    """WattTime's figure is marginal, the others' are averages: the two are never mixed."""
    zone: ShortText | None = None
    """Zone (ElectricityMaps), region (WattTime) or region id (UK; none is the whole of GB)."""
    secret_ref: SecretKeyRef | None = None
    """Token, or `user:password` for WattTime."""
    grams_per_kilowatt_hour: GramsPerKilowattHour | None = None
    """The figure of `Static`."""
    path: Text | None = None
    """File of `CSV`: columns time (RFC 3339) and gCO2/kWh."""
    refresh_seconds: PositiveSeconds = 1800
    """How often the provider is asked."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(self.type in ['ElectricityMaps', 'WattTime'])"
            " || (has(self.zone) && has(self.secretRef))",
            lambda it: (
                it.type not in {"ElectricityMaps", "WattTime"}
                or (it.zone is not None and it.secret_ref is not None)
            ),
            "needs zone and secretRef",
            "type",
        ),
        Rule(
            "(self.type == 'Static') == has(self.gramsPerKilowattHour)",
            lambda it: (it.type == "Static") == (it.grams_per_kilowatt_hour is not None),
            "belongs to type Static, which needs it",
            "gramsPerKilowattHour",
        ),
        Rule(
            "(self.type == 'CSV') == has(self.path)",
            lambda it: (it.type == "CSV") == (it.path is not None),
            "belongs to type CSV, which needs it",
            "path",
        ),
    )


class CarbonSchedule(ApiModel):
    """The cap follows the rank of the present hour among the next ones."""

    min_cap_watts: PositiveWatts
    """Cap in the dirtiest hours."""
    max_cap_watts: PositiveWatts
    """Cap in the cleanest hours."""
    levels: Annotated[int, Field(ge=2, le=8)] = 4
    """Steps between the two."""
    horizon_seconds: PositiveSeconds = 86_400
    """How far ahead the ranking looks."""
    min_change_seconds: PositiveSeconds = 1800
    """At most one change in this time."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minCapWatts <= self.maxCapWatts",
            lambda it: it.min_cap_watts <= it.max_cap_watts,
            "must not be above maxCapWatts",
            "minCapWatts",
        ),
    )


class CarbonBudget(ApiModel):
    """Emissions allowed in a period: power x intensity x PUE."""

    grams: Annotated[float, Field(gt=0)]
    """gCO2e in one period."""
    period_seconds: Annotated[float, Field(ge=3600, le=2_678_400)] = 86_400
    """Length of the period, counted from midnight UTC."""
    pue_ratio: Annotated[float, Field(ge=1, le=5)] = 1.0
    """Power of the site over power of the computers."""


class EcoModeOff(ApiModel):
    """A time in which carbon lowers nothing."""

    start: Annotated[str, Field(pattern=r"^\d{2}:\d{2}$")]
    """Start, UTC, as hh:mm."""
    duration_seconds: Annotated[float, Field(gt=0, le=86_400)]
    """Length."""
    weekdays: Annotated[
        tuple[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], ...], Field(max_length=7)
    ] = ()
    """Days on which it starts; none means every day."""


class Carbon(ApiModel):
    """Let the grid's carbon intensity move the cap, downwards only."""

    enabled: bool = True
    """Switch."""
    provider: CarbonProvider
    """Source of the intensity."""
    schedule: CarbonSchedule | None = None
    """Cap by rank of the hour."""
    budget: CarbonBudget | None = None
    """Cap by an emission budget."""
    default_cap_watts: PositiveWatts | None = None
    """Cap when intensity and forecast are lost; by default `powerCapLimit`."""
    max_eco_seconds: PositiveSeconds | None = None
    """Longest time in a row that carbon may hold the cap down."""
    eco_mode_off: Annotated[tuple[EcoModeOff, ...], Field(max_length=MAX_ITEMS)] = ()
    """Times in which carbon lowers nothing."""
    override: bool = False
    """Turn eco mode off by hand until set back."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.schedule) || has(self.budget)",
            lambda it: it.schedule is not None or it.budget is not None,
            "needs schedule or budget",
        ),
    )


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


class Smoothing(ApiModel):
    """Deal services over the power tree so that their peaks do not meet."""

    enabled: bool = False
    """Switch."""
    history_seconds: Annotated[float, Field(ge=604_800, le=5_184_000)] = 604_800
    """History that the scores rest on: a week at least."""
    clusters: Count = 4
    """Groups of services with like traces."""
    refresh_seconds: Seconds = 86_400
    """How often the plan is made anew."""
