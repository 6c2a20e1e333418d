"""A whole scenario: all points, arms and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.simulator.scenario import Point, Scenario
from loadtest.study.code import code_sha256
from loadtest.study.jobs import BoundJob, Job, Outcome, physics_sha256
from loadtest.study.slices import source_of, speed_up_ratio
from loadtest.study.summary import StudySummary, summarise_point
from loadtest.study.workers import Progress, Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What was played.

    Attributes:
        summary: Figures over seeds.
        recorded: Outcomes of the first seed, which carry timelines when they were asked for.
    """

    summary: StudySummary
    recorded: tuple[Outcome, ...]


def steps(scenario: Scenario, seeds: Sequence[int]) -> int:
    """How often `run_study` will tell its progress, in whole jobs."""
    bounds = len(scenario.loads_requests_per_second)
    return len(seeds) * (bounds + len(scenario.points()) * len(scenario.arms))


def run_study(
    scenario: Scenario,
    *,
    seeds: Sequence[int],
    crew: Workers,
    progress: Progress,
    recorded: bool = False,
) -> Study:
    """Play a scenario.

    Args:
        scenario: Which.
        seeds: Which, each once.
        crew: Who does the work.
        progress: Told of jobs that were done.
        recorded: Whether timelines of the first seed are kept.

    Raises:
        ScenarioError: The trace cannot be used.
    """
    code = code_sha256()
    source = source_of(scenario)
    loads = scenario.loads_requests_per_second
    # Before any process is started: a trace that cannot be used is told here.
    speed_ups = {load: speed_up_ratio(scenario, source, load) for load in loads}
    jobs = [
        Job(
            scenario=scenario,
            source=source,
            point=point,
            arm=arm,
            seed=seed,
            # How long a cap was exceeded is a figure of every seed.
            recorded=scenario.power_cap_watts is not None or (recorded and seed == seeds[0]),
        )
        for point in scenario.points()
        for arm in scenario.arms
        for seed in seeds
    ]
    bound_jobs = [
        BoundJob(scenario=scenario, source=source, load_requests_per_second=load, seed=seed)
        for load in loads
        for seed in seeds
    ]
    outcomes = crew.play(jobs, progress)
    bounds = crew.bound(bound_jobs, progress)
    by_arm: dict[tuple[Point, str], list[Outcome]] = {}
    for outcome in outcomes:
        by_arm.setdefault((outcome.point, outcome.result.arm), []).append(outcome)
    summary = StudySummary(
        scenario=scenario,
        source=source,
        physics_sha256=physics_sha256(scenario),
        code_sha256=code,
        seeds=tuple(seeds),
        points=tuple(
            summarise_point(
                scenario,
                point,
                speed_up_ratio=speed_ups[point.load_requests_per_second],
                outcomes={arm: by_arm[point, arm] for arm in scenario.arms},
                bounds=[
                    found
                    for job, found in zip(bound_jobs, bounds, strict=True)
                    if job.load_requests_per_second == point.load_requests_per_second
                ],
            )
            for point in scenario.points()
        ),
    )
    return Study(
        summary=summary,
        recorded=tuple(one for one in outcomes if one.result.seed == seeds[0]),
    )
