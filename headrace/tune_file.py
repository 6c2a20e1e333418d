"""The file of `headrace tune`."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from capper.clocks.lease import OnExpiry
from capper.clocks.sweep import Limits, clocks_to_try
from capper.clocks.targets import Terms
from capper.decide.clock_model import ClockCurve
from fleet.topology import Backend, Fleet
from fleet.units import HERTZ_PER_MEGAHERTZ
from headrace.agent_access import AgentAccessSection
from headrace.config_errors import BadInputError, load_model
from headrace.fleet_file import Name, NonNegative, Positive, Section, load_fleet
from headrace.serve_file import TelemetrySection

_LIMITS, _CURVE = Limits(tpot_seconds=1.0), ClockCurve(base_hertz=1e9, knee_hertz=1e9)


class SweepSection(Section):
    """Which clocks are tried, and for how long each."""

    min_mega_hertz: Positive
    max_mega_hertz: Positive
    step_mega_hertz: Positive = 120.0
    settle_seconds: NonNegative = 10.0
    window_seconds: Positive = 60.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_mega_hertz > self.max_mega_hertz:
            raise ValueError("min_mega_hertz <= max_mega_hertz must hold")
        return self

    def clocks(self) -> list[float]:
        """From the highest to the lowest, hertz."""
        return clocks_to_try(
            lowest_hertz=self.min_mega_hertz * HERTZ_PER_MEGAHERTZ,
            highest_hertz=self.max_mega_hertz * HERTZ_PER_MEGAHERTZ,
            step_hertz=self.step_mega_hertz * HERTZ_PER_MEGAHERTZ,
        )


class ModelSection(Section):
    """How time and power are thought to follow the clock (see capper.decide.clock_model)."""

    knee_mega_hertz: Positive = 1095.0
    time_share_ratio: Annotated[float, Field(ge=0, le=1)] = _CURVE.time_share
    power_share_ratio: Annotated[float, Field(ge=0, le=1)] = _CURVE.power_share
    static_watts: NonNegative = 0.0


class TuneSection(Section):
    """A whole tune file."""

    fleet: Path
    backend: Name
    agents: AgentAccessSection
    telemetry: TelemetrySection = TelemetrySection()
    sweep: SweepSection
    model: ModelSection = ModelSection()
    tpot_limit_seconds: Positive | None = None
    cap_watts: Positive | None = None
    power_limit_watts: Positive | None = None
    min_tokens: Positive = _LIMITS.min_tokens
    min_gain_ratio: Annotated[float, Field(ge=0, lt=1)] = _LIMITS.min_gain_ratio
    lease_seconds: Positive = 60.0
    hold_seconds: Positive = 3600.0

    def limits(self, backend: Backend) -> Limits:
        """What a clock has to keep; unsaid, the backend's own objective."""
        objective = backend.objective
        return Limits(
            tpot_seconds=self.tpot_limit_seconds or objective.tpot_seconds * objective.margin_ratio,
            cap_watts=self.cap_watts,
            min_tokens=self.min_tokens,
            min_gain_ratio=self.min_gain_ratio,
        )

    def terms(self, lease_seconds: float) -> Terms:
        """Of its leases: whatever happens, clocks come back."""
        return Terms(
            lease_seconds=lease_seconds,
            on_expiry=OnExpiry.RESTORE,
            net_watts=self.power_limit_watts,
        )

    def curve(self) -> ClockCurve:
        """The model of its backend."""
        return ClockCurve(
            base_hertz=self.sweep.max_mega_hertz * HERTZ_PER_MEGAHERTZ,
            knee_hertz=self.model.knee_mega_hertz * HERTZ_PER_MEGAHERTZ,
            time_share=self.model.time_share_ratio,
            power_share=self.model.power_share_ratio,
            static_watts=self.model.static_watts,
        )


def load_tune(path: Path) -> tuple[TuneSection, Fleet, Backend]:
    """Read a tune file and the fleet file that it names, relative to itself.

    Raises:
        BadInputError: With every problem of the first of the two that has any.
    """
    section, folder = load_model(path, TuneSection), path.parent
    fleet = load_fleet(folder / section.fleet)
    backend = next((one for one in fleet.backends if one.name == section.backend), None)
    if backend is None:
        names = ", ".join(one.name for one in fleet.backends)
        raise BadInputError(f"{path}: backend: must be one of {names}, got {section.backend!r}.")
    if not backend.replicas:
        raise BadInputError(f"{path}: backend: {section.backend} has no replicas to measure.")
    return (
        section.model_copy(update={"agents": section.agents.beside(folder)}),
        fleet,
        backend,
    )
