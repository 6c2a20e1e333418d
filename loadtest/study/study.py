"""Whole scenarios: all points, arms and seeds, of one or of several that share their processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from loadtest.bounds import Bounds
from loadtest.simulator.scenario import Point, Scenario
from loadtest.study.code import code_sha256
from loadtest.study.jobs import BoundJob, Job, Outcome, physics_sha256
from loadtest.study.slices import Source, source_of, speed_up_ratio
from loadtest.study.summary import StudySummary, summarise_point
from loadtest.study.workers import Progress, Work, Workers, total_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A scenario that is to be played.

    Attributes:
        scenario: Which.
        source: Of its arrivals.
        seeds: Which, each once.
        speed_ups: Load -> how much faster than recorded the trace is played.
        jobs: By point, arm and seed.
        bound_jobs: By load and seed.
    """

    scenario: Scenario
    source: Source
    seeds: tuple[int, ...]
    speed_ups: dict[float, float]
    jobs: tuple[Job, ...]
    bound_jobs: tuple[BoundJob, ...]

    @property
    def works(self) -> tuple[Job | BoundJob, ...]:
        """All that has to be done."""
        return (*self.jobs, *self.bound_jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What was played.

    Attributes:
        summary: Figures over seeds.
        recorded: Outcomes of the first seed, which carry timelines when they were asked for.
    """

    summary: StudySummary
    recorded: tuple[Outcome, ...]


def plan_study(scenario: Scenario, *, seeds: Sequence[int], recorded: bool = False) -> Plan:
    """Say what has to be done.

    Args:
        scenario: Which.
        seeds: Which, each once.
        recorded: Whether timelines of the first seed are kept.

    Raises:
        ScenarioError: The trace cannot be used.
    """
    source = source_of(scenario)
    loads = scenario.loads_requests_per_second
    return Plan(
        scenario=scenario,
        source=source,
        seeds=tuple(seeds),
        # Before any process is started: a trace that cannot be used is told here.
        speed_ups={load: speed_up_ratio(scenario, source, load) for load in loads},
        jobs=tuple(
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
        ),
        bound_jobs=tuple(
            BoundJob(scenario=scenario, source=source, load_requests_per_second=load, seed=seed)
            for load in loads
            for seed in seeds
        ),
    )


def cost(plans: Sequence[Plan]) -> float:
    """What `run_studies` will tell its progress in all."""
    return total_cost([work for plan in plans for work in plan.works])


def run_studies(plans: Sequence[Plan], *, crew: Workers, progress: Progress) -> list[Study]:
    """Play scenarios; runs and bounds that several have in common are computed once.

    Args:
        plans: What.
        crew: Who does the work.
        progress: Told of what was done.
    """
    code = code_sha256()
    works: list[Work[Outcome | Bounds]] = [work for plan in plans for work in plan.works]
    answers = iter(crew.do(works, progress))
    return [_study(plan, answers, code) for plan in plans]


def _study(plan: Plan, answers: Iterator[Outcome | Bounds], code: str) -> Study:
    """Take the plan's answers, which are in its order, and put them together."""
    outcomes: list[Outcome] = []
    by_arm: dict[tuple[Point, str], list[Outcome]] = {}
    for job in plan.jobs:
        answer = next(answers)
        assert isinstance(answer, Outcome), "jobs come before bounds"
        # It may have been played under another name.
        outcomes.append(replace(answer, point=job.point))
        by_arm.setdefault((job.point, job.arm), []).append(outcomes[-1])
    by_load: dict[float, list[Bounds]] = {}
    for bound_job in plan.bound_jobs:
        found = next(answers)
        assert isinstance(found, Bounds), "bounds come after jobs"
        by_load.setdefault(bound_job.load_requests_per_second, []).append(found)
    scenario = plan.scenario
    summary = StudySummary(
        scenario=scenario,
        source=plan.source,
        physics_sha256=physics_sha256(scenario),
        code_sha256=code,
        seeds=plan.seeds,
        points=tuple(
            summarise_point(
                scenario,
                point,
                speed_up_ratio=plan.speed_ups[point.load_requests_per_second],
                outcomes={arm: by_arm[point, arm] for arm in scenario.arms},
                bounds=by_load[point.load_requests_per_second],
            )
            for point in scenario.points()
        ),
    )
    return Study(
        summary=summary,
        recorded=tuple(one for one in outcomes if one.result.seed == plan.seeds[0]),
    )
