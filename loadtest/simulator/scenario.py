"""Scenarios: what is simulated, as files say it. Pure; `loadtest.study` reads the files.

A scenario is one or more points (an offered load, and what goes wrong meanwhile) that every arm
meets with the same arrivals.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import yaml

from loadtest.simulator.arms import ARMS
from loadtest.simulator.simulation import Fault
from loadtest.simulator.worlds import FLEETS, PARAMETERS, BackendPlan, addresses, truths

TRACES = ("azure-conv", "azure-code", "synthetic-conv", "synthetic-code")
"""Names of traces; any other is given as `trace_file`."""

DEFAULT_ARMS = ("dispatch", "merit-packing", "greedy-marginal", "queue-kv", "least-request")

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class ScenarioError(ValueError):
    """A scenario that cannot be used.

    Attributes:
        problems: One sentence each, naming file, field and what is allowed.
    """

    def __init__(self, *problems: str) -> None:
        """Collect the sentences."""
        super().__init__("\n".join(problems))
        self.problems = problems


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class BackendSection(_Section):
    """Equal replicas."""

    accelerator: str
    replicas: Annotated[int, pydantic.Field(ge=1)]
    gpus_per_replica: Annotated[int, pydantic.Field(ge=1)] = 1
    models: tuple[str, ...] | None = pydantic.Field(default=None, strict=False, min_length=1)


class FaultSection(_Section):
    """Something that goes wrong; times count from the start of the measured window."""

    kind: Literal["telemetry-lost", "replica-wedged", "power-bias", "router-away"]
    start_seconds: NotNegative
    duration_seconds: Positive
    replica: str | None = None
    ratio: Positive = 1.0


FaultList = Annotated[tuple[FaultSection, ...], pydantic.Field(strict=False)]


class StepSection(_Section):
    """A stretch of the measured window in which the trace is played faster."""

    start_seconds: NotNegative
    duration_seconds: Positive
    factor: Positive


class Scenario(_Section):
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
    loads_requests_per_second: tuple[Positive, ...] = pydantic.Field(strict=False, min_length=1)
    warmup_seconds: NotNegative = 60.0
    window_seconds: Positive = 180.0
    slices: Annotated[int, pydantic.Field(ge=1)] = 5
    ttft_objective_seconds: Positive = 1.0
    tpot_objective_seconds: Positive = 0.05
    max_tokens: Annotated[int, pydantic.Field(ge=1)] = 2048
    priority: int = 0
    racks: Annotated[int, pydantic.Field(ge=1)] = 1
    power_cap_watts: Positive | None = None
    overhead_watts_per_gpu: NotNegative = 0.0
    step: StepSection | None = None
    fault_cases: dict[str, FaultList] = pydantic.Field(
        default={"none": ()}, strict=False, min_length=1
    )
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


def parse_scenario(
    text: str, *, source: str, changes: Mapping[str, object] = MappingProxyType({})
) -> Scenario:
    """Read a scenario.

    Args:
        text: YAML.
        source: What messages call it, normally the file.
        changes: Fields that replace those of the text, and are checked with the others.

    Raises:
        ScenarioError: With every problem that was found.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise ScenarioError(f"{source}: is not valid YAML{where}: {what}.") from error
    try:
        scenario = Scenario.model_validate(
            document | dict(changes) if isinstance(document, dict) else document
        )
    except pydantic.ValidationError as error:
        raise ScenarioError(*(f"{source}: {one}" for one in _sentences(error.errors()))) from error
    problems = [f"{source}: {problem}" for problem in _impossible(scenario)]
    if problems:
        raise ScenarioError(*problems)
    return scenario


def _sentences(errors: list[Any]) -> Iterator[str]:
    """All problems, but not that a list is too short whose items were found wrong one by one."""
    fields = {error["loc"][:1] for error in errors if error["type"] != "too_short"}
    for error in errors:
        if error["type"] != "too_short" or error["loc"][:1] not in fields:
            yield _sentence(error)


def _sentence(error: Any) -> str:
    """One problem as "field.path: what is wrong, got this"."""
    field = ".".join(str(part) for part in error["loc"])
    message = error["msg"][:1].lower() + error["msg"][1:]
    if error["type"] == "extra_forbidden":
        message = "is not a known field"
    elif error["type"] == "missing":
        message = "is required"
    elif error["type"] == "too_short":
        message = "must not be empty"
    elif not isinstance(error.get("input"), dict | list):
        message = f"{message}, got {error.get('input')!r}"
    return f"{field}: {message}." if field else f"{message}."


def _impossible(scenario: Scenario) -> Iterator[str]:
    """What is well formed and yet cannot be simulated."""
    yield from _wrong_choices(scenario)
    if (scenario.fleet is None) == (scenario.backends is None):
        yield "fleet: exactly one of fleet and backends must be given."
    elif scenario.fleet is not None and scenario.fleet not in FLEETS:
        yield f"fleet: must be one of {', '.join(FLEETS)}, got {scenario.fleet!r}."
    else:
        yield from _wrong_fleet(scenario)


def _wrong_choices(scenario: Scenario) -> Iterator[str]:
    if scenario.model not in PARAMETERS:
        yield f"model: must be one of {', '.join(PARAMETERS)}, got {scenario.model!r}."
    if (scenario.trace is None) == (scenario.trace_file is None):
        yield "trace: exactly one of trace and trace_file must be given."
    elif scenario.trace is not None and scenario.trace not in TRACES:
        yield (
            f"trace: must be one of {', '.join(TRACES)}, got {scenario.trace!r}; "
            "any other goes into trace_file."
        )
    for arm in scenario.arms:
        if arm not in ARMS:
            yield f"arms: must be among {', '.join(ARMS)}, got {arm!r}."
    step = scenario.step
    if step is not None and step.start_seconds + step.duration_seconds > scenario.window_seconds:
        yield (
            f"step: must end within the window of {scenario.window_seconds:g} s, "
            f"ends at {step.start_seconds + step.duration_seconds:g} s."
        )


def _wrong_fleet(scenario: Scenario) -> Iterator[str]:
    plans = scenario.plans()
    if scenario.model not in {model for plan in plans for model in plan.models}:
        served = ", ".join(sorted({model for plan in plans for model in plan.models}))
        yield f"model: {scenario.model!r} is on no replica; the backends serve {served}."
        return
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names):
        yield f"backends: give each accelerator and parallelism once, got {', '.join(names)}."
        return
    try:
        physics = truths(plans, scenario.model)
    except ValueError as error:
        yield f"{'fleet' if scenario.backends is None else 'backends'}: {error}."
        return
    idle_watts = sum(
        physics[name].idle_watts * plan.replicas for name, plan in zip(physics, plans, strict=True)
    )
    if scenario.power_cap_watts is not None and scenario.power_cap_watts < idle_watts:
        yield (
            f"power_cap_watts: must be at least the {idle_watts:.0f} W that the fleet draws when "
            f"idle, got {scenario.power_cap_watts:g}."
        )
    known = addresses(plans)
    for case, faults in scenario.fault_cases.items():
        for fault in faults:
            yield from _wrong_fault(f"fault_cases.{case}", fault, known, scenario)


def _wrong_fault(
    field: str, fault: FaultSection, known: dict[str, str], scenario: Scenario
) -> Iterator[str]:
    if fault.kind == "replica-wedged" and fault.replica is None:
        yield f"{field}.replica: is required of {fault.kind}."
    if fault.replica is not None and fault.replica not in known:
        yield f"{field}.replica: must be one of {', '.join(known)}, got {fault.replica!r}."
    if fault.start_seconds >= scenario.window_seconds:
        yield (
            f"{field}.start_seconds: must be before the end of the window at "
            f"{scenario.window_seconds:g} s, got {fault.start_seconds:g}."
        )
