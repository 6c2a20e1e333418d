"""What the benchmark set out to reach, and whether it did. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from headrace.bench.losses import is_rival, shortfall
from loadtest.simulator.arms import LEAST_REQUEST, OURS, arm_plan
from loadtest.statistics import Interval, difference_interval
from loadtest.study.summary import ArmSummary, PointSummary, StudySummary

_PACKERS = ("greedy-marginal", "merit-packing")
# Load -> part of the scorer's joules per token to save.
_SAVINGS = {6.0: 0.58, 11.0: 0.58, 22.0: 0.58, 56.0: 0.36, 78.0: 0.20}
_OF_BOUND_RATIO = 1.15
_OF_BOUND_LOAD = 22.0
# Half a per cent is less than seeds tell apart.
_EQUAL_RATIO = 1.005
_FAULT_LOSS_RATIO = 0.01
_MISMATCH_RATIO = 1.05
_HOUR_WALL_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One of them.

    Attributes:
        claim: What is to be reached.
        measured: What was.
        met: Whether that is enough.
        why: Where it is not, what the figures say about it.
        simulated: False for what depends on the machine, wall time.
    """

    claim: str
    measured: str
    met: bool
    why: str = ""
    simulated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast the simulation itself is.

    Attributes:
        wall_seconds: On one core of this machine.
        simulated_seconds: Of traffic.
        requests: In it.
        replicas: Simulated.
    """

    wall_seconds: float
    simulated_seconds: float
    requests: int
    replicas: int


def targets(studies: Mapping[str, StudySummary], speed: Speed | None) -> Iterator[Target]:
    """All of them, in the order of the page.

    Args:
        studies: By the name of the scenario; those of a missing one are left out.
        speed: None when it was not measured.
    """
    for name, judge in (
        ("azure-conv-f2", _judge_chat),
        ("azure-conv-f1", _judge_shape),
        ("azure-conv-f3", _judge_shape),
        ("azure-conv-f4-70b", _judge_shape),
        ("overload", _judge_overload),
        ("azure-code-f2", _judge_admission),
        ("faults", _judge_faults),
        ("mismatch", _judge_mismatch),
    ):
        if name in studies:
            yield from judge(studies[name])
    yield from _judge_conservation(studies)
    if speed is not None:
        yield Target(
            claim=f"an hour at 20 requests/s on {speed.replicas} replicas in 30 s on one core",
            measured=f"{speed.wall_seconds:.0f} s for {speed.requests} requests",
            met=speed.wall_seconds <= _HOUR_WALL_SECONDS,
            simulated=False,
        )


def _judge_chat(summary: StudySummary) -> Iterator[Target]:
    for point, ours in _ours(summary):
        saving = _SAVINGS.get(point.point.load_requests_per_second)
        if saving is not None and ours.ratio_to_scorer is not None:
            measured = 1.0 - ours.ratio_to_scorer.value
            yield _target(
                (summary, point),
                f"{saving:.0%} below the scorer at 99 % attainment",
                f"{_below(ours.ratio_to_scorer)} at {_attained(ours):.2%}",
                met=measured >= saving and ours.attains,
            )
        near = point.point.load_requests_per_second >= _OF_BOUND_LOAD
        if near and ours.ratio_to_bound is not None:
            above = ours.ratio_to_bound
            yield _target(
                (summary, point),
                "within 15 % of the co-located bound",
                f"{above.value - 1.0:.1%} above"
                f"{_span(above.low - 1.0, above.high - 1.0, above.seeds)}",
                met=above.value <= _OF_BOUND_RATIO,
            )
        yield from _judge_packers(summary, point, ours)


def _judge_packers(
    summary: StudySummary, point: PointSummary, ours: ArmSummary
) -> Iterator[Target]:
    rivals = [point.arm(name) for name in _PACKERS]
    costs = [
        (rival.joules_per_token.value, rival.arm)
        for rival in rivals
        if rival is not None and rival.attains and rival.joules_per_token is not None
    ]
    if not costs or ours.joules_per_token is None:
        return
    joules, name = min(costs)
    ratio = ours.joules_per_token.value / joules
    yield _target(
        (summary, point),
        "no worse than the better of greedy and merit packing",
        f"{ratio:.3f} of {name} at {_attained(ours):.2%}",
        met=ratio <= _EQUAL_RATIO and ours.attains,
    )


def _judge_shape(summary: StudySummary) -> Iterator[Target]:
    """The same shape on another fleet: below the scorer at 99 %, no worse than the packers."""
    for point, ours in _ours(summary):
        if ours.ratio_to_scorer is not None:
            measured = 1.0 - ours.ratio_to_scorer.value
            yield _target(
                (summary, point),
                "below the scorer at 99 % attainment",
                f"{_below(ours.ratio_to_scorer)} at {_attained(ours):.2%}",
                met=measured > 0.0 and ours.attains,
            )
        yield from _judge_packers(summary, point, ours)


def _judge_overload(summary: StudySummary) -> Iterator[Target]:
    for point, ours in _ours(summary):
        other = point.arm(LEAST_REQUEST)
        if other is not None:
            yield _target(
                (summary, point),
                "attainment not below least-request",
                f"{_attained(ours):.2%} against {_attained(other):.2%}",
                met=_attained(ours) >= _attained(other),
            )


def _judge_admission(summary: StudySummary) -> Iterator[Target]:
    for point, ours in _ours(summary):
        admitted = ours.admitted_attainment_ratio
        rivals = [arm for arm in point.arms if is_rival(arm)]
        if admitted is None or not rivals:
            continue
        best = max(rivals, key=lambda arm: arm.goodput_requests_per_second)
        yield _target(
            (summary, point),
            "99 % of admitted requests, with the highest goodput of all",
            f"{admitted:.2%}, {ours.goodput_requests_per_second:.2f}/s against "
            f"{best.goodput_requests_per_second:.2f}/s ({best.arm})",
            met=ours.attains
            and ours.goodput_requests_per_second >= best.goodput_requests_per_second,
        )


def _judge_faults(summary: StudySummary) -> Iterator[Target]:
    for point, ours in _ours(summary):
        other = point.arm(LEAST_REQUEST)
        if other is None:
            continue
        loss = difference_interval(_attained_of(ours), _attained_of(other))
        yield _target(
            (summary, point),
            "at most 1 point below least-request",
            f"{100.0 * loss.value:+.2f} points ({_attained(ours):.2%})",
            met=loss.value >= -_FAULT_LOSS_RATIO,
        )


def _judge_conservation(studies: Mapping[str, StudySummary]) -> Iterator[Target]:
    """No request is lost or answered twice in any run."""
    runs = [
        run
        for summary in studies.values()
        for point in summary.points
        for arm in point.arms
        for run in arm.results
    ]
    exact = sum(run.requests == run.completed + run.shed for run in runs)
    if runs:
        yield Target(
            claim="every offered request is answered or refused, once",
            measured=f"{exact} of {len(runs)} runs",
            met=exact == len(runs),
        )


def _judge_mismatch(summary: StudySummary) -> Iterator[Target]:
    for point, ours in _ours(summary):
        for arm in point.arms:
            if arm_plan(arm.arm).prior_ratio == 1.0:
                continue
            if arm.joules_per_token is None or ours.joules_per_token is None:
                continue
            ratio = arm.joules_per_token.value / ours.joules_per_token.value
            yield _target(
                (summary, point),
                f"{arm.arm} at most 5 % worse after 5 minutes",
                f"{ratio - 1.0:+.1%} at {_attained(arm):.2%}",
                met=ratio <= _MISMATCH_RATIO,
            )


def _ours(summary: StudySummary) -> Iterator[tuple[PointSummary, ArmSummary]]:
    for point in summary.points:
        ours = point.arm(OURS)
        if ours is not None:
            yield point, ours


def _target(
    place: tuple[StudySummary, PointSummary], claim: str, measured: str, *, met: bool
) -> Target:
    """What was to be reached at a point, with what the figures say where it was not."""
    summary, point = place
    return Target(
        claim=f"{summary.scenario.name}, {point.point.label}: {claim}",
        measured=measured,
        met=met,
        why="" if met else shortfall(point),
    )


def _below(ratio: Interval) -> str:
    return f"{1.0 - ratio.value:.1%} below{_span(1.0 - ratio.high, 1.0 - ratio.low, ratio.seeds)}"


def _span(low: float, high: float, seeds: int) -> str:
    return f" ({low:.1%} to {high:.1%})" if seeds > 1 else ""


def _attained(arm: ArmSummary) -> float:
    return 0.0 if arm.attainment_ratio is None else arm.attainment_ratio.value


def _attained_of(arm: ArmSummary) -> tuple[list[float], list[float]]:
    return [float(r.attained) for r in arm.results], [float(r.requests) for r in arm.results]
