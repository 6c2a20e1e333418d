"""From a scenario to the world of one of its points. Pure."""

from fleet.topology import Objective
from loadtest.simulator.carbon import CarbonSeries
from loadtest.simulator.scenario_model import Point, Scenario
from loadtest.simulator.scenario_sections import RacksSection
from loadtest.simulator.world import World
from loadtest.simulator.worlds import build_fleet, truths


def world_of(
    scenario: Scenario, point: Point, *, prior_ratio: float, carbon: CarbonSeries | None
) -> World:
    """What a simulation of the point is made from.

    Args:
        scenario: Which.
        point: Its load is that of the arrivals; its case gives the faults.
        prior_ratio: Of the arm, see `ArmPlan`.
        carbon: The series that the scenario names, already read; None when it names none.
    """
    racks = scenario.racks
    return World(
        fleet=build_fleet(
            scenario.plans(),
            model=scenario.model,
            objective=Objective(
                ttft_seconds=scenario.ttft_objective_seconds,
                tpot_seconds=scenario.tpot_objective_seconds,
            ),
            racks=scenario.rack_of(),
            prior_ratio=prior_ratio,
        ),
        truths=truths(scenario.plans(), scenario.model),
        window_seconds=scenario.window_seconds,
        warmup_seconds=scenario.warmup_seconds,
        max_tokens=scenario.max_tokens,
        priority=scenario.priority,
        faults=scenario.faults(point.case),
        sensors=scenario.sensors.model(),
        actuators=scenario.actuators.model(),
        control_period_seconds=scenario.control.period_seconds,
        caps=scenario.all_caps(),
        room=(
            racks.room(warmup_seconds=scenario.warmup_seconds)
            if isinstance(racks, RacksSection)
            else None
        ),
        carbon=carbon,
        overhead_watts_per_gpu=scenario.overhead_watts_per_gpu,
        compression_ratio=scenario.compression_ratio,
    )
