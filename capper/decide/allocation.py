"""Sharing watts over targets within every domain that feeds them, exactly.

Two passes over the same remainders. *Keep*: floors, then the replicas that are there, best worth
first, so that what does not fit is lost where a joule makes the fewest tokens. *Grow*: one more
replica each in turn while the next one fits with the spike margin. Both hand out a fixed sequence
and stop at the first that does not fit, so a lower cap never gives anybody more.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from capper.decide.state import Band
from capper.decide.workload import Workload, ranked

# What a target may grow by in one decision where nothing else limits it; KEDA's default bound.
UNBOUNDED_GROWTH = 100
_MAX_GROWTH = 10_000
_WHOLE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Watts of a domain that limits.

    Attributes:
        cap_watts: Its effective cap.
        watts: Drawn now.
        reserved_watts: Set aside for what is coming.
    """

    cap_watts: float
    watts: float
    reserved_watts: float = 0.0


class _Remainders:
    """Watts that are left in each limiting domain."""

    def __init__(self, left: dict[str, float]) -> None:
        self.left = left

    def room(self, one: Workload) -> float:
        """Watts that this target can still get."""
        rooms = (
            max(0.0, self.left[name]) / share
            for name, share in one.shares.items()
            if name in self.left
        )
        return min(rooms, default=math.inf)

    def take(self, one: Workload, watts: float) -> None:
        for name, share in one.shares.items():
            if name in self.left:
                self.left[name] -= watts * share


def attributed(workloads: Sequence[Workload], budgets: Mapping[str, Budget]) -> dict[str, float]:
    """Watts by target, scaled down where targets together claim more than a domain draws."""
    claims = _claims(workloads, {one.ref: one.watts for one in workloads})
    ratios = {
        name: budget.watts / claims[name]
        for name, budget in budgets.items()
        if claims.get(name, 0.0) > budget.watts
    }
    return {
        one.ref: one.watts * min((ratios.get(name, 1.0) for name in one.shares), default=1.0)
        for one in workloads
    }


def keep(workloads: Sequence[Workload], budgets: Mapping[str, Budget]) -> dict[str, int]:
    """How many of its present replicas each target may keep; all of them while under the caps.

    Replicas that draw nothing measurable are kept: taking them saves nothing.
    """
    watts = attributed(workloads, budgets)
    claims = _claims(workloads, watts)
    remainders = _Remainders(
        {
            # What no target accounts for is drawn whatever is decided here.
            name: budget.cap_watts - max(0.0, budget.watts - claims.get(name, 0.0))
            for name, budget in budgets.items()
        }
    )
    counts = {one.ref: one.current or 0 for one in workloads}
    each = {
        one.ref: watts[one.ref] / counts[one.ref] if counts[one.ref] else 0.0 for one in workloads
    }
    floors = {one.ref: min(one.floor, counts[one.ref]) for one in workloads}
    granted = {ref: replicas * each[ref] for ref, replicas in floors.items()}
    for one in workloads:
        # Taken whether they fit or not: floors hold, and what they take is gone for the others. So
        # is what a target draws without replicas: those of a fleet that puts them to sleep do.
        remainders.take(one, granted[one.ref] if counts[one.ref] else watts[one.ref])
    for one, replicas in _segments(workloads, floors):
        given = min(replicas * each[one.ref], remainders.room(one))
        remainders.take(one, given)
        granted[one.ref] += given
    kept = {}
    for one in workloads:
        count, least = counts[one.ref], floors[one.ref]
        if each[one.ref] <= 0.0:
            kept[one.ref] = count
            continue
        fits = math.floor(granted[one.ref] / each[one.ref] * (1.0 + _WHOLE) + _WHOLE)
        kept[one.ref] = min(count, max(least, fits))
    return kept


def grow(
    workloads: Sequence[Workload],
    budgets: Mapping[str, Budget],
    bands: Mapping[str, Band],
    *,
    free_ratio: float,
) -> dict[str, int]:
    """How many more replicas each target may have.

    P + reservations + watts of the replicas granted so far and of this one + the free part of the
    cap must stay within the cap, in every domain on the way. In Watch one more, from Restrict none.
    Where the watts of one more are unknown it is one more in Watch, and below it what fits when
    each replica takes an even part of all watts there are, one at least.

    Args:
        workloads: Targets.
        budgets: Limiting domains; replicas on the way are added to their reservations here.
        bands: Worst band by target.
        free_ratio: Part of each cap that stays free: the spike margin.
    """
    open_domains = _Remainders(
        {
            name: budget.cap_watts * (1.0 - free_ratio) - budget.watts - budget.reserved_watts
            for name, budget in budgets.items()
        }
    )
    for one in workloads:
        open_domains.take(one, one.coming * (one.next_watts or 0.0))
    granted = {one.ref: 0 for one in workloads}
    guesses = _guessed_growth(workloads, budgets, free_ratio)
    limits = {
        one.ref: _growth_limit(one, bands.get(one.ref, Band.NORMAL), guesses) for one in workloads
    }
    closed: set[str] = set()
    waiting = sorted(ranked(workloads), key=lambda one: not one.wants_more)
    while waiting:
        after = []
        for one in waiting:
            if granted[one.ref] >= limits[one.ref] or not closed.isdisjoint(one.shares):
                continue
            full = _full(open_domains.left, one)
            if full:
                closed |= full
                continue
            open_domains.take(one, one.next_watts or 0.0)
            granted[one.ref] += 1
            after.append(one)
        waiting = after
    return granted


def _full(left: Mapping[str, float], one: Workload) -> set[str]:
    """Domains in which one more replica of this target does not fit; nothing overtakes it there."""
    watts = one.next_watts or 0.0
    return {
        name
        for name, share in one.shares.items()
        if name in left and watts * share > left[name] * (1.0 + _WHOLE)
    }


def _guessed_growth(
    workloads: Sequence[Workload], budgets: Mapping[str, Budget], free_ratio: float
) -> dict[str, int]:
    """For targets whose watts are unknown: how many more of them fit by an even share."""
    unknown = [one for one in workloads if one.next_watts is None]
    guesses = {one.ref: UNBOUNDED_GROWTH for one in unknown}
    for name, budget in budgets.items():
        replicas = sum((one.current or 0) * one.shares.get(name, 0.0) for one in workloads)
        inside = [one for one in unknown if one.shares.get(name, 0.0) > 0.0]
        spare = budget.cap_watts * (1.0 - free_ratio) - budget.watts - budget.reserved_watts
        # Those who are unknown share what is spare; nobody sees the others grow.
        part = budget.watts * len(inside)
        fits = spare * replicas / part if part > 0.0 else float(UNBOUNDED_GROWTH)
        count = max(1, math.floor(min(fits, UNBOUNDED_GROWTH) + _WHOLE)) if replicas else 1
        for one in inside:
            guesses[one.ref] = min(guesses[one.ref], count)
    return guesses


def _growth_limit(one: Workload, band: Band, guesses: Mapping[str, int]) -> int:
    if one.current is None or band >= Band.RESTRICT:
        return 0
    room = UNBOUNDED_GROWTH if one.ceiling is None else max(0, one.ceiling - one.current)
    room = min(room, _MAX_GROWTH)
    return min(room, 1 if band is Band.WATCH else guesses.get(one.ref, room))


def _segments(
    workloads: Sequence[Workload], floors: Mapping[str, int]
) -> Iterable[tuple[Workload, int]]:
    """(target, replicas above its floor) in the order in which they keep their watts."""
    order = ranked(workloads)
    above = {one.ref: (one.current or 0) - floors[one.ref] for one in order}
    needed = {one.ref: max(0, above[one.ref] - one.unneeded) for one in order}
    yield from ((one, needed[one.ref]) for one in order)
    yield from ((one, above[one.ref] - needed[one.ref]) for one in order)


def _claims(workloads: Iterable[Workload], watts: Mapping[str, float]) -> dict[str, float]:
    claims: dict[str, float] = {}
    for one in workloads:
        for name, share in one.shares.items():
            claims[name] = claims.get(name, 0.0) + share * watts[one.ref]
    return claims
