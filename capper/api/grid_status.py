"""What the status says of grid carbon and of cooling."""

from typing import Annotated

from pydantic import Field

from capper.api.rules import ApiModel

_Sentence = Annotated[str, Field(max_length=1024)]


class CarbonStatus(ApiModel):
    """Grid carbon: what is known, what it asks for, what was emitted."""

    source: str = ""
    """Who tells the intensity."""
    kind: str = ""
    """`average` or `marginal`."""
    grams_per_kilowatt_hour: float | None = None
    """Intensity now; none means that it is not known."""
    estimated: bool | None = None
    """Whether that is a forecast or an estimate."""
    age_seconds: float | None = None
    """Since the answer was made, when status was written."""
    forecast_until: str | None = None
    """End of the last slot of the forecast, RFC 3339."""
    cap_watts: float | None = None
    """The lowest cap that carbon asks for."""
    silent: str = ""
    """Why that cap is not in force: override, maxEcoSeconds or ecoModeOff."""
    eco_since: str | None = None
    """Since when carbon asks for less than powerCapLimit, RFC 3339."""
    emitted_grams: float | None = None
    """gCO2e in the present period: that of the budget, else a day."""
    budget_grams: float | None = None
    """Allowed in it."""
    budget_left_grams: float | None = None
    """What is left of that; below 0 it was exceeded."""
    period_end: str | None = None
    """When the next period begins, RFC 3339."""
    problem: _Sentence = ""
    """What is wrong with the source although it may still serve."""


class CoolingStatus(ApiModel):
    """Set-points of the cooling, and what is known of them."""

    adapter: str = ""
    """Who is told."""
    supply_set_celsius: float | None = None
    """Set-point that was decided."""
    airflow_set_cubic_meters_per_second: float | None = None
    """Likewise."""
    in_force_celsius: float | None = None
    """Set-point that the manager said to hold."""
    supply_celsius: float | None = None
    """Measured supply temperature."""
    hottest_inlet_celsius: float | None = None
    """Of all racks."""
    safe: bool = False
    """Whether it is the safe set-point, since something is not known."""
    unknown: _Sentence = ""
    """What is not known."""
    problem: _Sentence = ""
    """What is wrong with the manager."""
    set_time: str | None = None
    """When a set-point was last written, RFC 3339."""
