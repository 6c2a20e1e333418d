"""The grid: carbon intensity moves the cap, downwards only."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from capper.api.fields import (
    MAX_ITEMS,
    GramsPerKilowattHour,
    PositiveSeconds,
    PositiveWatts,
    ShortText,
    Text,
    Url,
)
from capper.api.rules import ApiModel, Rule
from capper.api.secret_block import SecretKeyRef

_WITH_KEY = frozenset({"ElectricityMaps", "WattTime"})
_LOCAL = frozenset({"Static", "CSV"})
# The kind of a provider's figures, in CEL.
_FIGURES = "(self.{0}.type == 'WattTime' || has(self.{0}.kind) && self.{0}.kind == 'marginal')"


class CarbonProvider(ApiModel):
    """Where carbon intensity comes from."""

    type: Literal["UKCarbonIntensity", "ElectricityMaps", "WattTime", "Static", "CSV"]
    """WattTime's figure is marginal, the other networks' are averages: they are never mixed."""
    zone: ShortText | None = None
    """Zone (ElectricityMaps), region (WattTime) or region id (UK; none is the whole of GB)."""
    secret_ref: SecretKeyRef | None = None
    """Token, or `user:password` for WattTime; without it the capper's environment has it."""
    kind: Literal["average", "marginal"] | None = None
    """What the figures of `Static` and `CSV` are; by default averages."""
    grams_per_kilowatt_hour: GramsPerKilowattHour | None = None
    """The figure of `Static`."""
    path: Text | None = None
    """File of `CSV`: columns time (RFC 3339) and gCO2/kWh."""
    base_url: Url | None = None
    """Root of a mirror of the API; by default the public one."""
    refresh_seconds: Annotated[float, Field(ge=60)] = 1800
    """How often the provider is asked."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """For one question."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(self.type in ['ElectricityMaps', 'WattTime']) || has(self.zone)",
            lambda it: it.type not in _WITH_KEY or it.zone is not None,
            "ElectricityMaps and WattTime need it",
            "zone",
        ),
        Rule(
            "!has(self.secretRef) || self.type in ['ElectricityMaps', 'WattTime']",
            lambda it: it.secret_ref is None or it.type in _WITH_KEY,
            "belongs to ElectricityMaps and WattTime",
            "secretRef",
        ),
        # Else whoever may write this resource could have the environment's key sent anywhere.
        Rule(
            "!has(self.baseUrl) || self.type == 'UKCarbonIntensity' || has(self.secretRef)",
            lambda it: (
                it.base_url is None or it.type == "UKCarbonIntensity" or it.secret_ref is not None
            ),
            "belongs to network providers; where they need a key it comes from secretRef",
            "baseUrl",
        ),
        Rule(
            "!has(self.kind) || self.type in ['Static', 'CSV']",
            lambda it: it.kind is None or it.type in _LOCAL,
            "belongs to Static and CSV; the others have their own",
            "kind",
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

    @property
    def figures(self) -> str:
        """`average` or `marginal`."""
        return "marginal" if self.type == "WattTime" else self.kind or "average"


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
    ramp_levels: Annotated[int, Field(ge=1, le=8)] = 1
    """Levels by which one change may move the cap."""

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
    fallback: CarbonProvider | None = None
    """Source of the same kind of figures for times of which the first knows nothing."""
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
        Rule(
            f"!has(self.fallback)"
            f" || {_FIGURES.format('provider')} == {_FIGURES.format('fallback')}",
            lambda it: it.fallback is None or it.fallback.figures == it.provider.figures,
            "must have the provider's kind of figures: averages and marginals are never mixed",
            "fallback",
        ),
    )
