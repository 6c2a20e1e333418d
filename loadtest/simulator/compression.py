"""Long days in short runs: what is slow in a scenario is played faster, the machines are not. Pure.

With `compression_ratio` c a file's times of slow things are those of the day, and c seconds of the
day pass in a simulated second: the window, steps, caps, faults, air and the grid's hours. Requests,
engines, sensors, actuators and control periods keep their own time, so that to control the day
comes c times as fast as a real one: harder, not easier.
"""

from typing import Any, TypeVar

from loadtest.simulator.scenario_model import Scenario
from loadtest.simulator.scenario_sections import CapsSection, CapStepSection, RacksSection, Section

SectionT = TypeVar("SectionT", bound=Section)

_TIMED = ("start_seconds", "duration_seconds", "at_seconds")


def compressed(scenario: Scenario) -> Scenario:
    """The same with all times in simulated seconds; to be called once."""
    ratio = scenario.compression_ratio
    if ratio == 1.0:
        return scenario
    changes: dict[str, Any] = {
        "warmup_seconds": scenario.warmup_seconds / ratio,
        "window_seconds": scenario.window_seconds / ratio,
        "fault_cases": {
            case: tuple(_shorter(fault, ratio) for fault in faults)
            for case, faults in scenario.fault_cases.items()
        },
    }
    if scenario.step is not None:
        changes["step"] = _shorter(scenario.step, ratio)
    if scenario.caps is not None:
        changes["caps"] = _caps(scenario.caps, ratio)
    if scenario.carbon is not None:
        faster = scenario.carbon.speed_up_ratio * ratio
        changes["carbon"] = scenario.carbon.model_copy(update={"speed_up_ratio": faster})
    if isinstance(scenario.racks, RacksSection):
        racks = scenario.racks
        changes["racks"] = racks.model_copy(
            update={
                "time_constant_seconds": racks.time_constant_seconds / ratio,
                "cooling_faults": tuple(_shorter(one, ratio) for one in racks.cooling_faults),
            }
        )
    return scenario.model_copy(update=changes)


def _shorter(section: SectionT, ratio: float) -> SectionT:
    times = {
        name: getattr(section, name) / ratio
        for name in _TIMED
        if name in type(section).model_fields
    }
    return section.model_copy(update=times)


def _caps(caps: CapsSection, ratio: float) -> CapsSection:
    def steps(found: tuple[CapStepSection, ...]) -> tuple[CapStepSection, ...]:
        return tuple(_shorter(one, ratio) for one in found)

    return caps.model_copy(
        update={
            "fleet": None if caps.fleet is None else steps(caps.fleet),
            "racks": {rack: steps(found) for rack, found in caps.racks.items()},
        }
    )
