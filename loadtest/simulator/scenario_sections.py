"""The sections of a scenario file, as the file says them and as the simulation takes them. Pure."""

from typing import Annotated, Literal

import pydantic

from loadtest.simulator.actuators import ActuatorModel
from loadtest.simulator.caps import CapSteps
from loadtest.simulator.climate import CoolingFault, Room
from loadtest.simulator.controllers import NO_CONTROL
from loadtest.simulator.observation import TelemetryModel
from loadtest.simulator.racks import (
    REDLINE_CELSIUS,
    TIME_CONSTANT_SECONDS,
    Matrix,
    ThermalModel,
    recirculation,
)
from loadtest.simulator.sensors import SensorModel

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, pydantic.Field(ge=0, le=1)]
Celsius = Annotated[float, pydantic.Field(ge=-20, le=60)]
Names = Annotated[tuple[str, ...], pydantic.Field(strict=False, min_length=1)]
SecondsRange = Annotated[tuple[float, float], pydantic.Field(strict=False)]


class Section(pydantic.BaseModel):
    """What all sections share: unknown fields are errors, and types are not guessed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class BackendSection(Section):
    """Equal replicas."""

    accelerator: str
    replicas: Annotated[int, pydantic.Field(ge=1)]
    gpus_per_replica: Annotated[int, pydantic.Field(ge=1)] = 1
    models: Names | None = None


class FaultSection(Section):
    """Something that goes wrong; times count from the start of the measured window."""

    kind: Literal["telemetry-lost", "sensor-lost", "replica-wedged", "power-bias", "router-away"]
    start_seconds: NotNegative
    duration_seconds: Positive
    replica: str | None = None
    ratio: Positive = 1.0


class StepSection(Section):
    """A stretch of the measured window in which the trace is played faster."""

    start_seconds: NotNegative
    duration_seconds: Positive
    factor: Positive


class CapStepSection(Section):
    """A cap from a moment of the measured window on."""

    at_seconds: NotNegative
    watts: Positive


CapList = Annotated[tuple[CapStepSection, ...], pydantic.Field(strict=False, min_length=1)]


class CapsSection(Section):
    """Caps of the fleet and of racks, each as steps over time."""

    fleet: CapList | None = None
    racks: dict[str, CapList] = {}


def cap_steps(steps: tuple[CapStepSection, ...], *, warmup_seconds: float) -> CapSteps:
    """Steps in the simulation's time; the first holds from its very start."""
    return CapSteps(tuple((warmup_seconds + one.at_seconds, one.watts) for one in steps))


MatrixRows = Annotated[
    tuple[Annotated[tuple[NotNegative, ...], pydantic.Field(strict=False)], ...],
    pydantic.Field(strict=False, min_length=1),
]


class CoolingFaultSection(Section):
    """A rack that loses its cooling air for a while; see `CoolingFault`."""

    rack: str
    start_seconds: NotNegative
    duration_seconds: Positive
    kelvin: NotNegative = 0.0
    kelvin_per_kilowatt: NotNegative = 0.0


class RacksSection(Section):
    """Racks with their air. Matrices have a row for each rack, in the order of `names`."""

    names: Names
    replicas: dict[str, Names] | None = None
    approach_celsius: Annotated[tuple[NotNegative, ...], pydantic.Field(strict=False)]
    recirculation_kelvin_per_kilowatt: MatrixRows | None = None
    exhaust_shares: MatrixRows | None = None
    airflow_m3_per_second: Positive = 2.5
    time_constant_seconds: Positive = TIME_CONSTANT_SECONDS
    supply_celsius: Celsius | None = None
    lowest_supply_celsius: Celsius = 10.0
    highest_supply_celsius: Celsius = 25.0
    redline_celsius: Celsius = REDLINE_CELSIUS
    recommended_celsius: Celsius | None = None
    cooling_faults: Annotated[tuple[CoolingFaultSection, ...], pydantic.Field(strict=False)] = ()

    def room(self, *, warmup_seconds: float = 0.0) -> Room:
        """The thermal model.

        Args:
            warmup_seconds: Before the window, from whose start faults count.

        Raises:
            ValueError: A matrix that is missing, of the wrong size or unstable; limits of the
                supply out of order; a fault of no rack.
        """
        if (self.recommended_celsius or self.redline_celsius) > self.redline_celsius:
            raise ValueError("recommended_celsius must not be above redline_celsius")
        if not self.lowest_supply_celsius <= self.highest_supply_celsius:
            raise ValueError("lowest_supply_celsius must not be above highest_supply_celsius")
        for fault in self.cooling_faults:
            if fault.rack not in self.names:
                raise ValueError(
                    f"cooling_faults must be of {', '.join(self.names)}, got {fault.rack!r}"
                )
        return Room(
            thermal=ThermalModel(
                racks=self.names,
                approach_celsius=self.approach_celsius,
                recirculation_kelvin_per_watt=self._matrix(),
                time_constant_seconds=self.time_constant_seconds,
            ),
            supply_celsius=self.supply_celsius,
            lowest_supply_celsius=self.lowest_supply_celsius,
            highest_supply_celsius=self.highest_supply_celsius,
            redline_celsius=self.redline_celsius,
            recommended_celsius=self.recommended_celsius,
            airflow_m3_per_second=self.airflow_m3_per_second,
            faults=tuple(
                CoolingFault(
                    rack=one.rack,
                    start_seconds=warmup_seconds + one.start_seconds,
                    end_seconds=warmup_seconds + one.start_seconds + one.duration_seconds,
                    kelvin=one.kelvin,
                    kelvin_per_watt=one.kelvin_per_kilowatt / 1000.0,
                )
                for one in self.cooling_faults
            ),
        )

    def _matrix(self) -> Matrix:
        direct, shares = self.recirculation_kelvin_per_kilowatt, self.exhaust_shares
        if (direct is None) == (shares is None):
            raise ValueError(
                "exactly one of recirculation_kelvin_per_kilowatt and exhaust_shares must be given"
            )
        if direct is not None:
            return tuple(tuple(value / 1000.0 for value in row) for row in direct)
        assert shares is not None, "one of the two is given"
        return recirculation(shares, airflow_m3_per_second=self.airflow_m3_per_second)


class CarbonSection(Section):
    """A recorded series of grid intensity; `loadtest.study.carbon_files` reads the file."""

    file: str
    column: str
    time_column: str = "timestamp"
    unit: Literal["gCO2/kWh", "kgCO2/MWh", "kgCO2/kWh"] = "gCO2/kWh"
    start: str | None = None
    speed_up_ratio: Positive = 1.0
    forecast_error_ratio: Ratio = 0.0


class TelemetrySection(Section):
    """Scrapes, for arms that name no interval of their own; see `TelemetryModel`."""

    interval_seconds: Positive = TelemetryModel().interval_seconds
    delay_seconds: NotNegative = TelemetryModel().delay_seconds

    def model(self) -> TelemetryModel:
        """As the simulation takes it."""
        return TelemetryModel(**self.model_dump())


class SensorsSection(Section):
    """How boards are measured; see `SensorModel`."""

    interval_seconds: Positive = SensorModel().interval_seconds
    window_seconds: Positive = SensorModel().window_seconds
    gain_spread_ratio: Ratio = SensorModel().gain_spread_ratio
    loss_ratio: Ratio = SensorModel().loss_ratio

    def model(self) -> SensorModel:
        """As the simulation takes it."""
        return SensorModel(**self.model_dump())


class ActuatorsSection(Section):
    """How long orders take; see `ActuatorModel`."""

    clock_seconds: SecondsRange = ActuatorModel().clock_seconds
    start_seconds: SecondsRange = ActuatorModel().start_seconds
    wake_seconds: SecondsRange = ActuatorModel().wake_seconds
    drain_seconds: NotNegative = ActuatorModel().drain_seconds
    stopped_boards_powered: bool = ActuatorModel().stopped_boards_powered

    def model(self) -> ActuatorModel:
        """As the simulation takes it.

        Raises:
            ValueError: A range that is none.
        """
        return ActuatorModel(**self.model_dump())


class ReachSection(Section):
    """A target that a page about the scenario reports: so much less of a figure than another arm.

    Attributes:
        claim: As a sentence without full stop.
        scenario: That is played for it; its own name: this one.
        load_requests_per_second: One of that scenario's loads; None: its first.
        seeds: Of that scenario; None: those of the command.
        figure: What is compared, per output token.
        arm: Ours.
        against: The other.
        saves_ratio: Least part by which ours is lower.
        attainment_ratio: Least part of requests within both objectives, of ours.
        why: Said when it is missed.
    """

    claim: str
    scenario: str
    load_requests_per_second: Positive | None = None
    seeds: Annotated[tuple[int, ...], pydantic.Field(strict=False, min_length=1)] | None = None
    figure: Literal["joules_per_token", "cooling_joules_per_token"] = "joules_per_token"
    arm: str
    against: str
    saves_ratio: Ratio
    attainment_ratio: Ratio = 0.99
    why: str = ""


class ElsewhereSection(Section):
    """A target that another command reports: its page is linked.

    Attributes:
        claim: As a sentence without full stop.
        command: That measures it.
        page: Beside the page that links it.
    """

    claim: str
    command: str
    page: str


class ControlSection(Section):
    """Control loops; every arm of the scenario is played with each of them."""

    period_seconds: Positive = 1.0
    arms: Names = (NO_CONTROL,)
