"""Figures of every arm at every point over all seeds, compared with the scorer and the bound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.bounds import Bounds
from loadtest.simulator.arms import SCORER
from loadtest.simulator.scenario import Point, Scenario
from loadtest.simulator.tally import RunResult
from loadtest.statistics import Interval, double_ratio_interval, mean, ratio_interval
from loadtest.study.jobs import Outcome
from loadtest.study.slices import Source

TARGET_ATTAINMENT_RATIO = 0.99
"""Policies are ranked by joules among those that attain this (facts/simulation.md section 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSummary:
    """One arm at one point over all seeds; None where a seed has no such figure.

    Attributes:
        arm: Its name.
        results: By seed.
        joules_per_token: Of all boards, idle power included.
        dynamic_joules_per_token: Above idle.
        idle_joules_per_token: Idle power of all boards over the window.
        overhead_joules_per_token: Joules per token with the declared power of the hosts.
        tokens_per_joule: Output tokens per second and watt of the boards.
        attainment_ratio: Within both objectives, of offered requests.
        admitted_attainment_ratio: The same of admitted ones.
        shed_ratio: Refused, of offered ones.
        goodput_requests_per_second: Attained requests.
        ttft_p99_seconds: Mean of the seeds' quantiles.
        tpot_p99_seconds: Likewise.
        set_changes: Of the committed set, in a window.
        replicas_jain_ratio: Mean over seeds, see `Fairness`.
        tenants_jain_ratio: Likewise.
        pick_flip_ratio: Likewise.
        seconds_over_cap: Mean over seeds of the seconds, warm-up and last answers included, whose
            mean power was above the cap; None without one.
        peak_watts: Highest mean power of a second in any seed; None without a cap.
        ratio_to_scorer: Joules per token over those of the queue and KV scorer.
        ratio_to_bound: Joules per token over the co-located always-on bound.
        attains: Whether the target is kept by those that are let in.
    """

    arm: str
    results: tuple[RunResult, ...]
    joules_per_token: Interval | None
    dynamic_joules_per_token: float | None
    idle_joules_per_token: float | None
    overhead_joules_per_token: float | None
    tokens_per_joule: float | None
    attainment_ratio: Interval | None
    admitted_attainment_ratio: float | None
    shed_ratio: float | None
    goodput_requests_per_second: float
    ttft_p99_seconds: float | None
    tpot_p99_seconds: float | None
    set_changes: float
    replicas_jain_ratio: float | None
    tenants_jain_ratio: float | None
    pick_flip_ratio: float | None
    seconds_over_cap: float | None
    peak_watts: float | None
    ratio_to_scorer: Interval | None
    ratio_to_bound: Interval | None
    attains: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSummary:
    """All arms at one point, the best first: those that attain by joules, then the others.

    Attributes:
        point: Load and fault case.
        speed_up_ratio: How much faster than recorded the trace is played.
        offered_requests_per_second: What came in the windows of all seeds.
        bounds: Over all seeds.
        arms: Summaries.
    """

    point: Point
    speed_up_ratio: float
    offered_requests_per_second: float
    bounds: Bounds
    arms: tuple[ArmSummary, ...]

    def arm(self, name: str) -> ArmSummary | None:
        """One of them, None when it was not run."""
        return next((arm for arm in self.arms if arm.arm == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """A scenario that was played. Everything is simulated.

    Attributes:
        scenario: Which.
        source: Of its arrivals.
        physics_sha256: Of the simulated hardware.
        code_sha256: Of the policies and the simulator.
        seeds: Which.
        points: Figures.
    """

    scenario: Scenario
    source: Source
    physics_sha256: str
    code_sha256: str
    seeds: tuple[int, ...]
    points: tuple[PointSummary, ...]


def summarise_point(
    scenario: Scenario,
    point: Point,
    *,
    speed_up_ratio: float,
    outcomes: Mapping[str, Sequence[Outcome]],
    bounds: Sequence[Bounds],
) -> PointSummary:
    """Put together what was run at a point.

    Args:
        scenario: Which.
        point: Load and fault case.
        speed_up_ratio: Of the trace.
        outcomes: Arm -> outcomes in the order of seeds.
        bounds: In the same order.
    """
    scorer = _results(outcomes.get(SCORER, ()))
    arms = [
        _summarise_arm(scenario, played, scorer=scorer, bounds=bounds)
        for played in outcomes.values()
    ]
    first = _results(next(iter(outcomes.values())))
    return PointSummary(
        point=point,
        speed_up_ratio=speed_up_ratio,
        offered_requests_per_second=mean(run.requests / run.window_seconds for run in first),
        bounds=_mean_bounds(bounds, first),
        arms=tuple(sorted(arms, key=_rank)),
    )


def _summarise_arm(
    scenario: Scenario,
    outcomes: Sequence[Outcome],
    *,
    scorer: Sequence[RunResult],
    bounds: Sequence[Bounds],
) -> ArmSummary:
    runs = _results(outcomes)
    capped = [
        one.timeline
        for one in outcomes
        if one.timeline is not None and one.timeline.power_cap_watts is not None
    ]
    tokens = [float(run.output_tokens) for run in runs]
    admitted = _ratio([run.attained for run in runs], [run.requests - run.shed for run in runs])
    overhead_watts = scenario.overhead_watts_per_gpu * sum(plan.gpus for plan in scenario.plans())
    return ArmSummary(
        arm=runs[0].arm,
        results=runs,
        joules_per_token=_ratio(_joules(runs), tokens),
        dynamic_joules_per_token=_value(_ratio([run.dynamic_joules for run in runs], tokens)),
        idle_joules_per_token=_value(_ratio([run.idle_joules for run in runs], tokens)),
        overhead_joules_per_token=_value(
            _ratio(
                [
                    joules + _host_joules(run, overhead_watts)
                    for joules, run in zip(_joules(runs), runs, strict=True)
                ],
                tokens,
            )
        ),
        tokens_per_joule=_value(_ratio(tokens, _joules(runs))),
        attainment_ratio=_ratio([run.attained for run in runs], [run.requests for run in runs]),
        admitted_attainment_ratio=_value(admitted),
        shed_ratio=_value(_ratio([run.shed for run in runs], [run.requests for run in runs])),
        goodput_requests_per_second=mean(run.goodput_requests_per_second for run in runs),
        ttft_p99_seconds=_mean([run.ttft.p99_seconds for run in runs]),
        tpot_p99_seconds=_mean([run.tpot.p99_seconds for run in runs]),
        set_changes=mean(run.set_changes for run in runs),
        replicas_jain_ratio=_mean([run.fairness.replicas_jain_ratio for run in runs]),
        tenants_jain_ratio=_mean([run.fairness.tenants_jain_ratio for run in runs]),
        pick_flip_ratio=_mean([run.fairness.pick_flip_ratio for run in runs]),
        seconds_over_cap=mean(one.seconds_over_cap for one in capped) if capped else None,
        peak_watts=max((one.peak_watts for one in capped), default=None),
        ratio_to_scorer=_ratio_to(runs, scorer),
        ratio_to_bound=_ratio_to_bound(runs, bounds),
        attains=admitted is not None and admitted.value >= TARGET_ATTAINMENT_RATIO,
    )


def _rank(arm: ArmSummary) -> tuple[bool, float, str]:
    joules = arm.joules_per_token.value if arm.joules_per_token else float("inf")
    return (not arm.attains, joules, arm.arm)


def _results(outcomes: Sequence[Outcome]) -> tuple[RunResult, ...]:
    return tuple(one.result for one in outcomes)


def _joules(runs: Sequence[RunResult]) -> list[float]:
    return [run.dynamic_joules + run.idle_joules for run in runs]


def _ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    # A resample may repeat one seed only, so each must have something to divide by.
    return ratio_interval(numerators, denominators) if all(denominators) else None


def _ratio_to(runs: Sequence[RunResult], others: Sequence[RunResult]) -> Interval | None:
    tokens, other_tokens = [r.output_tokens for r in runs], [r.output_tokens for r in others]
    if not others or not all(tokens) or not all(other_tokens):
        return None
    return double_ratio_interval((_joules(runs), tokens), (_joules(others), other_tokens))


def _ratio_to_bound(runs: Sequence[RunResult], bounds: Sequence[Bounds]) -> Interval | None:
    """Joules over those that the bound would have taken for the same tokens."""
    floors = [
        one.colocated_always_on * run.output_tokens
        for one, run in zip(bounds, runs, strict=True)
        if one.colocated_always_on is not None
    ]
    return _ratio(_joules(runs), floors) if len(floors) == len(runs) else None


def _host_joules(run: RunResult, overhead_watts: float) -> float:
    """As counted, since hosts may be off; else all of them all the time."""
    counted = None if run.accounts is None else run.accounts.host_joules
    return overhead_watts * run.window_seconds if counted is None else counted


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def _mean_bounds(bounds: Sequence[Bounds], runs: Sequence[RunResult]) -> Bounds:
    """Over seeds, by the tokens of one of the arms."""

    def over_seeds(read: Callable[[Bounds], float | None]) -> float | None:
        joules = [
            per_token * run.output_tokens
            for per_token, run in zip(map(read, bounds), runs, strict=True)
            if per_token is not None
        ]
        tokens = sum(run.output_tokens for run in runs)
        return sum(joules) / tokens if tokens and len(joules) == len(runs) else None

    return Bounds(
        always_on=over_seeds(lambda one: one.always_on),
        may_sleep=over_seeds(lambda one: one.may_sleep),
        colocated_always_on=over_seeds(lambda one: one.colocated_always_on),
        colocated_may_sleep=over_seeds(lambda one: one.colocated_may_sleep),
        steady=over_seeds(lambda one: one.steady),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Over all seeds, if each has one: a mean over other seeds is not comparable."""
    kept = [value for value in values if value is not None]
    return mean(kept) if kept and len(kept) == len(values) else None
