"""Every case in which a rival does better than ours, and what the figures say about why. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loadtest.simulator.arms import OURS, SCORER
from loadtest.statistics import Interval
from loadtest.study.summary import ArmSummary, PointSummary, StudySummary

# Below this share of all requests a difference in where they went is not worth a word.
_TOLD_SHARE = 0.03
_TOLD_JOULES = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One of them.

    Attributes:
        where: Scenario and point.
        rival: Its arm.
        what: In which figure the rival is better, with both values.
        why: What else differs, from the figures of both.
    """

    where: str
    rival: str
    what: str
    why: str


def losses(studies: Mapping[str, StudySummary]) -> Iterator[Loss]:
    """Wherever a rival beats ours.

    That is: it attains the target and takes fewer joules per token, or ours misses the target and
    the rival attains more.

    Arms that are told more than a router can know are no rivals. What several scenarios have in
    common is told once.
    """
    told: set[tuple[str, str, str, str]] = set()
    for loss in _losses(studies):
        figures = (loss.rival, loss.what, loss.why, loss.where.partition(",")[2])
        if figures not in told:
            told.add(figures)
            yield loss


def _losses(studies: Mapping[str, StudySummary]) -> Iterator[Loss]:
    for summary in studies.values():
        for point in summary.points:
            for rival in filter(is_rival, point.arms):
                _, _, control = rival.arm.partition("+")
                ours = point.arm(f"{OURS}+{control}" if control else OURS)
                what = None if ours is None else _better(rival, ours)
                if ours is not None and what is not None:
                    yield Loss(
                        where=f"{summary.scenario.name}, {point.point.label}",
                        rival=rival.arm,
                        what=what,
                        why=_difference(ours, rival),
                    )


def is_rival(arm: ArmSummary) -> bool:
    """Whether it is another policy than ours, whatever controls the replicas."""
    return not arm.arm.startswith(OURS)


def _better(rival: ArmSummary, ours: ArmSummary) -> str | None:
    """In which figure the rival is ahead; None in none that counts."""
    if rival.attains:
        joules, our_joules = _value(rival.joules_per_token), _value(ours.joules_per_token)
        if joules is not None and our_joules is not None and joules < our_joules:
            return f"{joules:.3f} against {our_joules:.3f} J/token"
        if ours.attains:
            return None
    met, our_met = _value(rival.attainment_ratio), _value(ours.attainment_ratio)
    if not ours.attains and met is not None and our_met is not None and met > our_met:
        return f"{met:.2%} against {our_met:.2%} within both objectives"
    return None


def _difference(ours: ArmSummary, other: ArmSummary) -> str:
    return "; ".join(_differences(ours, other)) or "nothing else differs"


def _differences(ours: ArmSummary, other: ArmSummary) -> Iterator[str]:
    for name, mine, theirs in (
        ("dynamic", ours.dynamic_joules_per_token, other.dynamic_joules_per_token),
        ("idle", ours.idle_joules_per_token, other.idle_joules_per_token),
    ):
        if mine is not None and theirs is not None and abs(mine - theirs) >= _TOLD_JOULES:
            yield f"{name} {theirs:.3f} against {mine:.3f} J/token"
    shares, others = _backend_shares(ours), _backend_shares(other)
    for backend in sorted(shares.keys() | others.keys()):
        mine_share, their_share = shares.get(backend, 0.0), others.get(backend, 0.0)
        if abs(mine_share - their_share) >= _TOLD_SHARE:
            yield f"{backend} gets {their_share:.0%} of the requests against {mine_share:.0%}"
    for name, mine, theirs, scale, unit in (
        ("TTFT p99", ours.ttft_p99_seconds, other.ttft_p99_seconds, 1.0, "s"),
        ("TPOT p99", ours.tpot_p99_seconds, other.tpot_p99_seconds, 1000.0, "ms"),
    ):
        if mine is not None and theirs is not None and abs(mine - theirs) > 0.1 * theirs:
            yield f"{name} {theirs * scale:.3g} against {mine * scale:.3g} {unit}"
    if ours.set_changes >= 1.0:
        yield f"{ours.set_changes:.0f} changes of our committed set"


def _backend_shares(arm: ArmSummary) -> dict[str, float]:
    """Backend -> part of the requests that went to it, over all seeds."""
    counts: dict[str, int] = {}
    for run in arm.results:
        for backend, count in run.picks_by_backend.items():
            counts[backend] = counts.get(backend, 0) + count
    total = sum(counts.values())
    return {backend: count / total for backend, count in counts.items() if count}


def shortfall(point: PointSummary) -> str:
    """What the figures say about an energy or attainment that falls short of its target."""
    ours = point.arm(OURS)
    if ours is None:
        return ""
    return "; ".join(_shortfalls(point, ours))


def _shortfalls(point: PointSummary, ours: ArmSummary) -> Iterator[str]:
    joules = _value(ours.joules_per_token)
    bound = point.bounds.colocated_always_on
    if joules is not None and bound is not None and ours.idle_joules_per_token is not None:
        yield (
            f"idle power alone is {ours.idle_joules_per_token:.3f} of {joules:.3f} J/token, "
            f"the bound {bound:.3f}{_of_scorer(point, bound)}"
        )
    if joules is not None and (steady := point.bounds.steady) is not None:
        yield (
            f"the best steady states take {steady:.3f}{_of_scorer(point, steady)},"
            f" ours are {joules / steady - 1.0:+.1%} of that"
        )
    for told in point.arms:
        if told.arm in {"dispatch-oracle", "dispatch-clairvoyant"} and told.joules_per_token:
            attained = _value(told.attainment_ratio) or 0.0
            yield f"{told.arm} reaches {told.joules_per_token.value:.3f} at {attained:.2%}"
    if not ours.attains:
        yield (
            f"TTFT p99 {_shown(ours.ttft_p99_seconds, 1.0)} s, "
            f"TPOT p99 {_shown(ours.tpot_p99_seconds, 1000.0)} ms"
        )
        best = max(
            filter(is_rival, point.arms),
            key=lambda arm: _value(arm.attainment_ratio) or 0.0,
            default=None,
        )
        if best is not None:
            yield f"the best rival attains {_value(best.attainment_ratio) or 0.0:.2%} ({best.arm})"
    if ours.set_changes >= 1.0:
        yield f"{ours.set_changes:.0f} changes of the committed set in a window"


def _of_scorer(point: PointSummary, bound: float) -> str:
    """How far below the scorer the bound itself is."""
    scorer = point.arm(SCORER)
    joules = None if scorer is None else _value(scorer.joules_per_token)
    return "" if joules is None else f", itself {1.0 - bound / joules:.1%} below the scorer"


def _shown(value: float | None, scale: float) -> str:
    return "-" if value is None else f"{value * scale:.3g}"


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value
