"""One run, or one bound, as a value that another process can be handed.

Jobs that would come to the same have the same `key`, whatever their scenarios are called and
whatever else those compare, so that a set of scenarios plays each of them once.
"""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from loadtest.bounds import Bounds, ReplicaClass, Work, bounds
from loadtest.engine_state import Limits
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.day_series import day_series
from loadtest.simulator.scenario import Point, Scenario
from loadtest.simulator.scenario_world import world_of
from loadtest.simulator.simulation import Simulation
from loadtest.simulator.tally import RunResult
from loadtest.simulator.timeline import Timeline, TimelineRecorder
from loadtest.simulator.worlds import truths
from loadtest.steady import steady_joules_per_token
from loadtest.study.carbon_files import carbon_of
from loadtest.study.slices import Source, arrivals

OnSecond = Callable[[float], None]

# Fields of a scenario that a run does not depend on beyond what its job says.
_BESIDE_A_RUN = frozenset(
    {"name", "description", "arms", "loads_requests_per_second", "fault_cases"}
    | {"notes", "reach", "reach_elsewhere"}
)
# Further ones that the work in a window and the fleet that could do it do not depend on.
_BESIDE_A_BOUND = _BESIDE_A_RUN | {
    "max_tokens",
    "overhead_watts_per_gpu",
    "power_cap_watts",
    "priority",
    "racks",
    "ttft_objective_seconds",
}
# What simulating a request costs over what simulating a replica for a second does.
_COST_PER_REQUEST = 0.25
_BOUND_COST = 500.0


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

    @property
    def key(self) -> Hashable:
        """What the outcome depends on, but for its point's names."""
        scenario = self.scenario
        return (
            scenario.model_dump_json(exclude=set(_BESIDE_A_RUN)),
            scenario.faults(self.point.case),
            self.source,
            self.point.load_requests_per_second,
            self.arm,
            self.seed,
            self.recorded,
        )

    @property
    def cost(self) -> float:
        """About how long it takes, in seconds of one simulated replica."""
        replicas = sum(plan.replicas for plan in self.scenario.plans())
        requests_per_second = self.point.load_requests_per_second
        return self.scenario.total_seconds * (replicas + _COST_PER_REQUEST * requests_per_second)

    def run(self, on_ratio: OnSecond | None = None) -> "Outcome":
        """Play it; `on_ratio` is told how much of it is done, 0 to 1."""
        if on_ratio is None:
            return play(self)
        total_seconds = self.scenario.total_seconds
        # The last answers may come after the end.
        return play(self, lambda now_seconds: on_ratio(min(now_seconds / total_seconds, 1.0)))


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

    @property
    def key(self) -> Hashable:
        """What the bounds depend on: trace, slice and fleet."""
        return (
            self.scenario.model_dump_json(exclude=set(_BESIDE_A_BOUND)),
            self.source,
            self.load_requests_per_second,
            self.seed,
        )

    @property
    def cost(self) -> float:
        """About how long it takes, in the unit of `Job.cost`."""
        return _BOUND_COST

    def run(self, _: OnSecond | None = None) -> Bounds:
        """Solve it."""
        return bound(self)


def play(job: Job, on_second: OnSecond | None = None) -> Outcome:
    """Run the simulation.

    Args:
        job: Which.
        on_second: Told the simulated seconds that have passed, once each.
    """
    scenario = job.scenario
    recorder = (
        TimelineRecorder(power_cap_watts=scenario.power_cap_watts, read_series=day_series)
        if job.recorded
        else None
    )

    def observe(now_seconds: float, simulation: Simulation) -> None:
        if recorder is not None:
            recorder(now_seconds, simulation)
        if on_second is not None:
            on_second(now_seconds)

    observed = recorder is not None or on_second is not None
    result = simulation_of(job).run(observe if observed else None)
    return Outcome(
        point=job.point,
        result=result,
        timeline=None if recorder is None else recorder.timeline(),
    )


def simulation_of(job: Job) -> Simulation:
    """The simulation of a job, to be run once."""
    scenario, plan = job.scenario, arm_plan(job.arm)
    return Simulation(
        world_of(scenario, job.point, prior_ratio=plan.prior_ratio, carbon=carbon_of(scenario)),
        plan.simulation_arm(scenario.telemetry.model()),
        arrivals(
            scenario,
            job.source,
            load_requests_per_second=job.point.load_requests_per_second,
            seed=job.seed,
        ),
        seed=job.seed,
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
                at_seconds=arrival.at_seconds - scenario.warmup_seconds,
            )
    physics = truths(scenario.plans(), scenario.model)
    classes = [
        ReplicaClass(physics[plan.name], Limits(), plan.replicas)
        for plan in scenario.plans()
        if scenario.model in plan.models
    ]
    found = bounds(work, classes, tpot_objective_seconds=scenario.tpot_objective_seconds)
    steady = steady_joules_per_token(
        work, classes, tpot_objective_seconds=scenario.tpot_objective_seconds
    )
    return replace(found, steady=steady)


def physics_sha256(scenario: Scenario) -> str:
    """Of the simulated hardware: another hash means that figures cannot be compared."""
    return hashlib.sha256(repr(truths(scenario.plans(), scenario.model)).encode()).hexdigest()
