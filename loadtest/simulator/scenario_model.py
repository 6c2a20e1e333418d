"""A scenario as a value: what is simulated, and the points that arms are compared at. Pure."""

from typing import Annotated, NamedTuple

import pydantic

from loadtest.simulator.arms import with_control
from loadtest.simulator.caps import Caps, CapSteps
from loadtest.simulator.scenario_sections import (
    ActuatorsSection,
    BackendSection,
    CapsSection,
    CarbonSection,
    ControlSection,
    ElsewhereSection,
    FaultSection,
    NotNegative,
    Positive,
    RacksSection,
    ReachSection,
    Section,
    SensorsSection,
    StepSection,
    TelemetrySection,
    cap_steps,
)
from loadtest.simulator.world import Fault
from loadtest.simulator.worlds import FLEETS, BackendPlan, addresses

DEFAULT_ARMS = ("dispatch", "merit-packing", "greedy-marginal", "queue-kv", "least-request")

NUMBER_OF_RACKS, RACKS_WITH_AIR = "a number of racks", "racks with air"
"""What `racks` may be; these names stand in the paths of validation errors and nowhere else."""

FaultList = Annotated[tuple[FaultSection, ...], pydantic.Field(strict=False)]


def _racks_kind(value: object) -> str:
    return NUMBER_OF_RACKS if isinstance(value, int | float | str) else RACKS_WITH_AIR


Racks = Annotated[
    Annotated[int, pydantic.Field(ge=1), pydantic.Tag(NUMBER_OF_RACKS)]
    | Annotated[RacksSection, pydantic.Tag(RACKS_WITH_AIR)],
    pydantic.Discriminator(_racks_kind),
]


class Scenario(Section):
    """A scenario file. See docs/simulation/scenarios.md for every field."""

    name: str
    description: str
    model: str = "llama-3.1-8b"
    fleet: str | None = None
    backends: tuple[BackendSection, ...] | None = pydantic.Field(
        default=None, strict=False, min_length=1
    )
    trace: str | None = None
    trace_file: str | None = None
    curve_file: str | None = None
    compression_ratio: Positive = 1.0
    loads_requests_per_second: tuple[Positive, ...] = pydantic.Field(strict=False, min_length=1)
    warmup_seconds: NotNegative = 60.0
    window_seconds: Positive = 180.0
    slices: Annotated[int, pydantic.Field(ge=1)] = 5
    ttft_objective_seconds: Positive = 1.0
    tpot_objective_seconds: Positive = 0.05
    max_tokens: Annotated[int, pydantic.Field(ge=1)] = 2048
    priority: int = 0
    racks: Racks = 1
    power_cap_watts: Positive | None = None
    caps: CapsSection | None = None
    carbon: CarbonSection | None = None
    telemetry: TelemetrySection = TelemetrySection()
    sensors: SensorsSection = SensorsSection()
    actuators: ActuatorsSection = ActuatorsSection()
    control: ControlSection = ControlSection()
    overhead_watts_per_gpu: NotNegative = 0.0
    step: StepSection | None = None
    fault_cases: dict[str, FaultList] = pydantic.Field(
        default={"none": ()}, strict=False, min_length=1
    )
    notes: tuple[str, ...] = pydantic.Field(default=(), strict=False)
    reach: Annotated[tuple[ReachSection, ...], pydantic.Field(strict=False)] = ()
    reach_elsewhere: Annotated[tuple[ElsewhereSection, ...], pydantic.Field(strict=False)] = ()
    arms: tuple[str, ...] = pydantic.Field(default=DEFAULT_ARMS, strict=False, min_length=1)

    def plans(self) -> tuple[BackendPlan, ...]:
        """Its fleet."""
        if self.backends is None:
            assert self.fleet is not None, "parsing saw to it"
            return tuple(plan.serving(self.model) for plan in FLEETS[self.fleet])
        return tuple(
            BackendPlan(
                accelerator=section.accelerator,
                replicas=section.replicas,
                gpus_per_replica=section.gpus_per_replica,
                models=section.models or (self.model,),
            )
            for section in self.backends
        )

    def rack_of(self) -> dict[str, str]:
        """Replica name ("h100/0") -> rack: as it says, else dealt in turn."""
        names = list(addresses(self.plans()))
        if isinstance(self.racks, int):
            return {name: f"rack-{number % self.racks}" for number, name in enumerate(names)}
        if self.racks.replicas is not None:
            return {name: rack for rack, members in self.racks.replicas.items() for name in members}
        racks = self.racks.names
        return {name: racks[number % len(racks)] for number, name in enumerate(names)}

    def all_caps(self) -> Caps:
        """Of fleet and racks, in the simulation's time."""
        if self.caps is None:
            constant = self.power_cap_watts
            return Caps(fleet=None if constant is None else CapSteps(((0.0, constant),)))
        fleet = self.caps.fleet
        return Caps(
            fleet=None if fleet is None else cap_steps(fleet, warmup_seconds=self.warmup_seconds),
            racks={
                rack: cap_steps(steps, warmup_seconds=self.warmup_seconds)
                for rack, steps in self.caps.racks.items()
            },
        )

    def faults(self, case: str) -> tuple[Fault, ...]:
        """What goes wrong in one of the fault cases, in the simulation's time."""
        by_name = addresses(self.plans())
        return tuple(
            Fault(
                kind=section.kind,
                start_seconds=self.warmup_seconds + section.start_seconds,
                duration_seconds=section.duration_seconds,
                address=None if section.replica is None else by_name[section.replica],
                ratio=section.ratio,
            )
            for section in self.fault_cases[case]
        )

    def points(self) -> tuple["Point", ...]:
        """Every load in every fault case."""
        return tuple(
            Point(load, case)
            for case in self.fault_cases
            for load in self.loads_requests_per_second
        )

    def controlled(self) -> "Scenario":
        """The same with its control loops in the names of its arms, as they are played."""
        loops = self.control.arms
        arms = [
            with_control(arm, loop) if "+" not in arm else arm
            for arm in self.arms
            for loop in loops
        ]
        return self.model_copy(update={"arms": tuple(dict.fromkeys(arms))})

    @property
    def total_seconds(self) -> float:
        """Warm-up and window."""
        return self.warmup_seconds + self.window_seconds


class Point(NamedTuple):
    """What the arms are compared at.

    Attributes:
        load_requests_per_second: Mean over the whole trace; a slice of it may differ.
        case: Name of the fault case.
    """

    load_requests_per_second: float
    case: str

    @property
    def label(self) -> str:
        """For people."""
        load = f"{self.load_requests_per_second:g} requests/s"
        return load if self.case == "none" else f"{load}, {self.case}"
