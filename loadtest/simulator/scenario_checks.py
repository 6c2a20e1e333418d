"""What is well formed in a scenario and yet cannot be simulated. Pure.

Every problem is one sentence that begins with the path of its field.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from loadtest.simulator.arms import arm_plan
from loadtest.simulator.controllers import CONTROLLERS, NO_CONTROL
from loadtest.simulator.scenario_model import Scenario
from loadtest.simulator.scenario_sections import CapStepSection, FaultSection, RacksSection
from loadtest.simulator.worlds import FLEETS, PARAMETERS, addresses, truths
from loadtest.truth import Truth

TRACES = (
    "azure-conv",
    "azure-code",
    "mooncake-conv",
    "synthetic-conv",
    "synthetic-code",
    "synthetic-mooncake",
)
"""Names of traces; any other is given as `trace_file`."""


def impossible(scenario: Scenario) -> Iterator[str]:
    """Every problem."""
    yield from _wrong_choices(scenario)
    yield from _wrong_arms(scenario)
    yield from _wrong_sections(scenario)
    if (scenario.fleet is None) == (scenario.backends is None):
        yield "fleet: exactly one of fleet and backends must be given."
    elif scenario.fleet is not None and scenario.fleet not in FLEETS:
        yield f"fleet: must be one of {', '.join(FLEETS)}, got {scenario.fleet!r}."
    else:
        yield from _wrong_fleet(scenario)


def _wrong_choices(scenario: Scenario) -> Iterator[str]:
    if scenario.model not in PARAMETERS:
        yield f"model: must be one of {', '.join(PARAMETERS)}, got {scenario.model!r}."
    given = [scenario.trace, scenario.trace_file, scenario.curve_file]
    if len(given) - given.count(None) != 1:
        yield "trace: exactly one of trace, trace_file and curve_file must be given."
    elif scenario.trace is not None and scenario.trace not in TRACES:
        yield (
            f"trace: must be one of {', '.join(TRACES)}, got {scenario.trace!r}; "
            "any other goes into trace_file."
        )
    step = scenario.step
    if step is not None and step.start_seconds + step.duration_seconds > scenario.window_seconds:
        yield (
            f"step: must end within the window of {scenario.window_seconds:g} s, "
            f"ends at {step.start_seconds + step.duration_seconds:g} s."
        )


def _wrong_arms(scenario: Scenario) -> Iterator[str]:
    named = [("arms", arm) for arm in scenario.arms]
    for number, row in enumerate(scenario.reach):
        named += [(f"reach.{number}.arm", row.arm), (f"reach.{number}.against", row.against)]
    for field, arm in named:
        try:
            arm_plan(arm)
        except KeyError as error:
            yield f"{field}: {error.args[0]}."


def _wrong_sections(scenario: Scenario) -> Iterator[str]:
    known = (NO_CONTROL, *CONTROLLERS)
    for control in scenario.control.arms:
        if control not in known:
            yield f"control.arms: must be among {', '.join(known)}, got {control!r}."
    try:
        scenario.actuators.model()
    except ValueError as error:
        yield f"actuators: {error}."
    if scenario.caps is not None and scenario.power_cap_watts is not None:
        yield "caps: at most one of caps and power_cap_watts may be given."


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
    known = tuple(addresses(plans))
    problems = list(_wrong_racks(scenario, known))
    yield from problems or _wrong_caps(scenario, physics)
    for case, faults in scenario.fault_cases.items():
        for fault in faults:
            yield from _wrong_fault(f"fault_cases.{case}", fault, known, scenario)


def _wrong_racks(scenario: Scenario, known: Sequence[str]) -> Iterator[str]:
    racks = scenario.racks
    if not isinstance(racks, RacksSection):
        return
    try:
        racks.room()
    except ValueError as error:
        yield f"racks: {error}."
    if racks.replicas is not None:
        yield from _wrong_places(racks.replicas, racks.names, known)


def _wrong_places(
    replicas: Mapping[str, Sequence[str]], racks: Sequence[str], known: Sequence[str]
) -> Iterator[str]:
    for rack in replicas:
        if rack not in racks:
            yield f"racks.replicas: must be among {', '.join(racks)}, got {rack!r}."
    placed = Counter(name for members in replicas.values() for name in members)
    for name in placed:
        if name not in known:
            yield f"racks.replicas: must be among {', '.join(known)}, got {name!r}."
    for name in known:
        if placed[name] != 1:
            yield f"racks.replicas: {name} is in {placed[name]} racks, it must be in one."


def _wrong_caps(scenario: Scenario, physics: Mapping[str, Truth]) -> Iterator[str]:
    rack_of = scenario.rack_of()
    idle_watts = {name: physics[name.partition("/")[0]].idle_watts for name in rack_of}
    fleet_watts = sum(idle_watts.values())
    if scenario.power_cap_watts is not None and scenario.power_cap_watts < fleet_watts:
        yield _too_low("power_cap_watts", "fleet", fleet_watts, scenario.power_cap_watts)
    if scenario.caps is None:
        return
    yield from _wrong_steps(scenario, "caps.fleet", scenario.caps.fleet or (), fleet_watts, "fleet")
    for rack, steps in scenario.caps.racks.items():
        if rack not in rack_of.values():
            listed = ", ".join(sorted(set(rack_of.values())))
            yield f"caps.racks: must be among {listed}, got {rack!r}."
            continue
        watts = sum(value for name, value in idle_watts.items() if rack_of[name] == rack)
        yield from _wrong_steps(scenario, f"caps.racks.{rack}", steps, watts, "rack")


def _wrong_steps(
    scenario: Scenario, field: str, steps: Sequence[CapStepSection], idle_watts: float, what: str
) -> Iterator[str]:
    for number, step in enumerate(steps):
        where = f"{field}.{number}"
        if step.watts < idle_watts:
            yield _too_low(f"{where}.watts", what, idle_watts, step.watts)
        if step.at_seconds >= scenario.window_seconds:
            yield (
                f"{where}.at_seconds: must be before the end of the window at "
                f"{scenario.window_seconds:g} s, got {step.at_seconds:g}."
            )
        if number and step.at_seconds <= steps[number - 1].at_seconds:
            yield f"{where}.at_seconds: must be after that of the step before."


def _too_low(field: str, what: str, idle_watts: float, cap_watts: float) -> str:
    return (
        f"{field}: must be at least the {idle_watts:.0f} W that the {what} draws when "
        f"idle, got {cap_watts:g}."
    )


def _wrong_fault(
    field: str, fault: FaultSection, known: Sequence[str], scenario: Scenario
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
