"""The bound of one target: growth stopped at once, replicas taken and given back one at a time."""

from dataclasses import dataclass

from capper.decide.observe import Trust
from capper.decide.state import Band
from capper.decide.tuning import Freshness, Pacing
from capper.decide.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the fleet has for a target.

    Attributes:
        kept: Of its present replicas.
        growth: More that fit with the margin.
        sure_growth: More that fit even with the margin and the gap.
        band: Worst of the domains it touches.
        trust: Worst of the domains it touches.
        may_shed: Whether the faster rungs had their time.
        giving_way: Of the kept ones, those that make room for a model that has none.
    """

    kept: int
    growth: int
    sure_growth: int
    band: Band
    trust: Trust
    may_shed: bool
    giving_way: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The bound to be in force.

    Attributes:
        bound: None: none.
        goal: Where the ramps lead; None: no bound.
        sentence: Why.
        next_change_seconds: Not before then; None: whenever the watts say so.
    """

    bound: int | None
    goal: int | None
    sentence: str
    next_change_seconds: float | None = None


def next_bound(
    one: Workload, room: Room, pacing: Pacing, *, draw: float, now_seconds: float
) -> Step:
    """One step of one target whose domains are measured.

    Args:
        one: The target; its `current` is known.
        room: What there is for it.
        pacing: Ramps.
        draw: In [0, 1), spreads the ramp up.
        now_seconds: Epoch time.
    """
    current = one.current or 0
    if room.kept < current:
        return _shed(one, room, pacing, current, now_seconds)
    if room.giving_way > 0:
        return _give_way(one, room, pacing, current, now_seconds)
    if one.ceiling is None and one.in_force is None and room.growth and room.band is Band.NORMAL:
        return Step(bound=None, goal=None, sentence="there is room, and no bound is set")
    tight = _capped(one, current + room.growth)
    loose = _capped(one, current + room.sure_growth)
    if one.in_force is None or tight < one.in_force:
        return Step(bound=tight, goal=tight, sentence=_growth_sentence(room, current, tight))
    if loose <= one.in_force:
        sentence = _growth_sentence(room, current, one.in_force)
        return Step(bound=one.in_force, goal=tight, sentence=sentence)
    return _loosen(one, room, pacing, loose, draw, now_seconds)


def safe_bound(one: Workload, safe_max: int, pacing: Pacing, *, now_seconds: float) -> Step:
    """While blind: static, never up, and down to a declared safe bound one replica at a time."""
    current = one.current or 0
    target = safe_max
    waits = None
    if safe_max < current:
        waits = _ready_at(one.memory.shed_seconds, pacing.shed_interval_seconds, now_seconds)
        target = max(safe_max, current - 1) if waits is None else current
    bound = target if one.in_force is None else min(one.in_force, target)
    return Step(
        bound=max(bound, one.floor),
        goal=max(safe_max, one.floor),
        sentence=f"blind: held at the safe bound of {safe_max}, nothing grows",
        next_change_seconds=waits,
    )


def safe_max_of(one: Workload, freshness: Freshness) -> int:
    """The static bound: as it was when sight was lost, or the declared one in between."""
    current = one.current or 0
    if one.memory.safe_max is not None:
        return one.memory.safe_max
    wished = current if freshness.safe_max_replicas is None else freshness.safe_max_replicas
    return max(min(wished, current), min(one.floor, current))


def _shed(one: Workload, room: Room, pacing: Pacing, current: int, now_seconds: float) -> Step:
    goal = max(room.kept, one.floor)
    if room.may_shed:
        sentence = f"over the cap: {goal} of {current} replicas fit, one at a time"
        return _fewer(one, goal, pacing, sentence, now_seconds)
    sentence = f"over the cap: {goal} of {current} replicas fit, faster rungs act first"
    bound = current if one.in_force is None else min(one.in_force, current)
    return Step(bound=max(bound, one.floor), goal=goal, sentence=sentence)


def _give_way(one: Workload, room: Room, pacing: Pacing, current: int, now_seconds: float) -> Step:
    goal = max(current - room.giving_way, one.floor)
    sentence = (
        f"{room.giving_way} of {current} replicas are not needed and make room for a model that has"
        " none, one at a time"
    )
    return _fewer(one, goal, pacing, sentence, now_seconds)


def _fewer(one: Workload, goal: int, pacing: Pacing, sentence: str, now_seconds: float) -> Step:
    """One replica less, once the last one that was taken had its time."""
    current = one.current or 0
    target = current
    waits = _ready_at(one.memory.shed_seconds, pacing.shed_interval_seconds, now_seconds)
    if waits is None:
        # Replicas that are still ending count as current, so no second one is taken meanwhile.
        target = max(goal, current - pacing.shed_replicas)
        waits = now_seconds + pacing.shed_interval_seconds
    bound = target if one.in_force is None else min(one.in_force, target)
    return Step(
        bound=max(bound, one.floor), goal=goal, sentence=sentence, next_change_seconds=waits
    )


def _loosen(
    one: Workload, room: Room, pacing: Pacing, goal: int, draw: float, now_seconds: float
) -> Step:
    held = one.in_force or 0
    frozen = one.memory.frozen_until_seconds
    if frozen is not None and now_seconds < frozen:
        return Step(
            bound=held,
            goal=goal,
            sentence="changed direction too often: frozen, only tightening is allowed",
            next_change_seconds=frozen,
        )
    spread = 1.0 + pacing.grow_jitter_ratio * (2.0 * min(max(draw, 0.0), 1.0) - 1.0)
    last = max(one.memory.written_seconds or -1e300, one.memory.grown_seconds or -1e300)
    waits = _ready_at(last, pacing.grow_interval_seconds * spread, now_seconds)
    if waits is not None:
        sentence = f"there is room up to {goal}, given back one at a time"
        return Step(bound=held, goal=goal, sentence=sentence, next_change_seconds=waits)
    idle = room.band is Band.NORMAL and (one.current or 0) < held
    if idle and one.ceiling in {None, goal}:
        sentence = "all that may come fits: the bound is lifted"
        return Step(bound=one.ceiling, goal=one.ceiling, sentence=sentence)
    return Step(
        bound=min(goal, held + 1),
        goal=goal,
        sentence=f"there is room up to {goal}, given back one at a time",
        next_change_seconds=now_seconds + pacing.grow_interval_seconds * spread,
    )


def _capped(one: Workload, replicas: int) -> int:
    """Within floor and ceiling."""
    if one.ceiling is not None:
        replicas = min(replicas, one.ceiling)
    return max(replicas, one.floor)


def _growth_sentence(room: Room, current: int, bound: int) -> str:
    if room.band >= Band.RESTRICT:
        return f"{room.band.name.capitalize()}: no growth beyond the present {current}"
    if bound <= current:
        return f"one more replica does not fit under the cap with the spike margin: {current} stay"
    if room.band is Band.WATCH:
        return f"Watch: at most one more than the present {current}"
    return f"{bound} replicas fit under the cap with the spike margin"


def _ready_at(
    since_seconds: float | None, interval_seconds: float, now_seconds: float
) -> float | None:
    """When the interval is over; None: it is."""
    if since_seconds is None or now_seconds - since_seconds >= interval_seconds:
        return None
    return since_seconds + interval_seconds
