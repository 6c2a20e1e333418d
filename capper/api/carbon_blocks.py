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
)
from capper.api.rules import ApiModel, Rule
from capper.api.secret_block import SecretKeyRef


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
