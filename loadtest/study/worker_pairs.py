"""Several router workers against one, on the same arrivals, seed by seed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.simulator.arms import with_workers
from loadtest.simulator.tally import RunResult
from loadtest.statistics import Interval, difference_interval, double_ratio_interval, mean
from loadtest.study.summary import PointSummary

WITHIN_RATIO = 0.01
"""How far several workers may be from one: issue target, of joules per token and of attainment."""


def arms_of(policies: Sequence[str], workers: int) -> tuple[str, ...]:
    """Each policy alone, as workers that share a ledger, and as workers that do not."""
    return tuple(
        arm
        for policy in dict.fromkeys(policies)
        for arm in (
            policy,
            with_workers(policy, workers, shared=True),
            with_workers(policy, workers, shared=False),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPair:
    """One arm of several workers against one worker, at one load.

    Attributes:
        point: Load and fault case, for people.
        arm: Of several workers.
        joules_per_token: Of it.
        joules_ratio: Its joules per token over those of one worker; None: nothing was written.
        attainment_difference: Its attainment minus that of one worker.
        joules_ratios: By seed.
        attainment_differences: By seed.
    """

    point: str
    arm: str
    joules_per_token: float | None
    joules_ratio: Interval | None
    attainment_difference: Interval | None
    joules_ratios: tuple[float, ...]
    attainment_differences: tuple[float, ...]

    @property
    def within(self) -> bool:
        """Whether both are as near to one worker's as is asked."""
        joules, attainment = self.joules_ratio, self.attainment_difference
        return (
            joules is not None
            and attainment is not None
            and abs(joules.value - 1.0) <= WITHIN_RATIO
            and abs(attainment.value) <= WITHIN_RATIO
        )


def worker_pairs(
    points: Sequence[PointSummary], policy: str, workers: int, *, shared: bool
) -> tuple[WorkerPair, ...]:
    """The pairs of a policy, by point; points at which an arm was not played are left out."""
    name = with_workers(policy, workers, shared=shared)
    pairs = []
    for point in points:
        several, one = point.arm(name), point.arm(policy)
        if several is not None and one is not None:
            pairs.append(_pair(point.point.label, name, several.results, one.results))
    return tuple(pairs)


def mean_joules_ratio(pairs: Sequence[WorkerPair]) -> float | None:
    """Over all points, each as heavy as any other."""
    known = [pair.joules_ratio.value for pair in pairs if pair.joules_ratio is not None]
    return mean(known) if known else None


def _pair(
    point: str, arm: str, several: Sequence[RunResult], one: Sequence[RunResult]
) -> WorkerPair:
    ours, theirs = _joules_and_tokens(several), _joules_and_tokens(one)
    written = all(ours[1]) and all(theirs[1])
    offered = all(run.requests for run in (*several, *one))
    return WorkerPair(
        point=point,
        arm=arm,
        joules_per_token=sum(ours[0]) / sum(ours[1]) if written else None,
        joules_ratio=double_ratio_interval(ours, theirs) if written else None,
        attainment_difference=(
            difference_interval(_attained(several), _attained(one)) if offered else None
        ),
        joules_ratios=tuple(
            (joules / tokens) / (other_joules / other_tokens)
            for joules, tokens, other_joules, other_tokens in zip(*ours, *theirs, strict=True)
        )
        if written
        else (),
        attainment_differences=tuple(
            mine.attained / mine.requests - other.attained / other.requests
            for mine, other in zip(several, one, strict=True)
        )
        if offered
        else (),
    )


def _joules_and_tokens(runs: Sequence[RunResult]) -> tuple[list[float], list[float]]:
    joules = [run.dynamic_joules + run.idle_joules for run in runs]
    return joules, [float(run.output_tokens) for run in runs]


def _attained(runs: Sequence[RunResult]) -> tuple[list[float], list[float]]:
    return [float(run.attained) for run in runs], [float(run.requests) for run in runs]
