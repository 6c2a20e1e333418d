"""One run, or one bound, as a value that another process can be handed."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from fleet.topology import Objective
from loadtest.bounds import Bounds, ReplicaClass, Work, bounds
from loadtest.engine_state import Limits
from loadtest.simulator.arms import ARMS
from loadtest.simulator.scenario import Point, Scenario
from loadtest.simulator.simulation import Simulation, World
from loadtest.simulator.tally import RunResult
from loadtest.simulator.timeline import Timeline, TimelineRecorder
from loadtest.simulator.worlds import build_fleet, truths
from loadtest.study.slices import Source, arrivals

OnSecond = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An arm at a point with a seed.

    Attributes:
        scenario: What is simulated.
        source: Of its arrivals.
        point: Load and fault case.
        arm: Name, see `loadtest.simulator.arms`.
        seed: Which slice, and of all draws.
        recorded: Whether a timeline is kept.
    """

    scenario: Scenario
    source: Source
    point: Point
    arm: str
    seed: int
    recorded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job came to.

    Attributes:
        point: Load and fault case.
        result: Figures.
        timeline: When it was asked for.
    """

    point: Point
    result: RunResult
    timeline: Timeline | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundJob:
    """The bounds of a slice at a load; the same for all arms and fault cases."""

    scenario: Scenario
    source: Source
    load_requests_per_second: float
    seed: int


def play(job: Job, on_second: OnSecond | None = None) -> Outcome:
    """Run the simulation.

    Args:
        job: Which.
        on_second: Told the simulated seconds that have passed, once each.
    """
    scenario, plan = job.scenario, ARMS[job.arm]
    recorder = TimelineRecorder(power_cap_watts=scenario.power_cap_watts) if job.recorded else None

    def observe(now_seconds: float, simulation: Simulation) -> None:
        if recorder is not None:
            recorder(now_seconds, simulation)
        if on_second is not None:
            on_second(now_seconds)

    simulation = Simulation(
        _world(scenario, job.point, prior_ratio=plan.prior_ratio),
        plan.simulation_arm(),
        arrivals(
            scenario,
            job.source,
            load_requests_per_second=job.point.load_requests_per_second,
            seed=job.seed,
        ),
        seed=job.seed,
    )
    observed = recorder is not None or on_second is not None
    result = simulation.run(observe if observed else None)
    return Outcome(
        point=job.point,
        result=result,
        timeline=None if recorder is None else recorder.timeline(),
    )


def bound(job: BoundJob) -> Bounds:
    """Solve the linear programs for what arrives in the measured window."""
    scenario = job.scenario
    work = Work(window_seconds=scenario.window_seconds)
    seen: set[int] = set()
    for arrival in arrivals(
        scenario,
        job.source,
        load_requests_per_second=job.load_requests_per_second,
        seed=job.seed,
    ):
        # A cache of unlimited size, shared by all replicas: no policy finds more.
        known = 0
        while known < len(arrival.prefix_blocks) and arrival.prefix_blocks[known] in seen:
            known += 1
        seen.update(arrival.prefix_blocks)
        if arrival.at_seconds >= scenario.warmup_seconds:
            work.add(
                prompt_tokens=arrival.prompt_tokens,
                output_tokens=arrival.output_tokens,
                cached_tokens=max(
                    0, min(known * arrival.prefix_block_tokens, arrival.prompt_tokens - 1)
                ),
            )
    physics = truths(scenario.plans(), scenario.model)
    return bounds(
        work,
        [
            ReplicaClass(physics[plan.name], Limits(), plan.replicas)
            for plan in scenario.plans()
            if scenario.model in plan.models
        ],
        tpot_objective_seconds=scenario.tpot_objective_seconds,
    )


def physics_sha256(scenario: Scenario) -> str:
    """Of the simulated hardware: another hash means that figures cannot be compared."""
    return hashlib.sha256(repr(truths(scenario.plans(), scenario.model)).encode()).hexdigest()


def _world(scenario: Scenario, point: Point, *, prior_ratio: float) -> World:
    return World(
        fleet=build_fleet(
            scenario.plans(),
            model=scenario.model,
            objective=Objective(
                ttft_seconds=scenario.ttft_objective_seconds,
                tpot_seconds=scenario.tpot_objective_seconds,
            ),
            racks=scenario.racks,
            prior_ratio=prior_ratio,
        ),
        truths=truths(scenario.plans(), scenario.model),
        window_seconds=scenario.window_seconds,
        warmup_seconds=scenario.warmup_seconds,
        max_tokens=scenario.max_tokens,
        priority=scenario.priority,
        faults=scenario.faults(point.case),
    )
