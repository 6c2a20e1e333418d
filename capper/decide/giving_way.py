"""Room for a model that has no replica: replicas that the router does not need give way to it."""

from collections.abc import Iterable, Mapping, Sequence

from capper.decide.allocation import Budget
from capper.decide.bands import band_of
from capper.decide.observe import Trust
from capper.decide.sight import Sight
from capper.decide.state import Band
from capper.decide.workload import Workload, ranked


def admitting_band(one: Workload, sights: Iterable[Sight]) -> Band:
    """The band that counts for the growth of a target.

    A blind domain admits nobody. A model that somebody waits for and that has no replica may have
    one in Restrict as in Watch, if it fits with the spike margin: then the watts are below the way
    out already, and only the dwell holds the band. Not where it is the inlet that is too warm.
    """
    sights = tuple(sights)
    if any(seen.view.trust is not Trust.USABLE for seen in sights):
        return Band.SHED
    worst = max(seen.band for seen in sights)
    cool = all(band_of(seen.memory.heat) < Band.RESTRICT for seen in sights)
    return Band.WATCH if worst is Band.RESTRICT and one.starves and cool else worst


def giving_way(
    workloads: Sequence[Workload],
    budgets: Mapping[str, Budget],
    kept: Mapping[str, int],
    *,
    free_ratio: float,
) -> dict[str, int]:
    """How many replicas of each target are to go so that models without any get their first.

    Only replicas that the router does not need, above the floor, and only where all that can go
    make room enough for one: else nothing goes. Nor where replicas have to go anyway. A replica
    that is on its way out already counts first, so that the next turn asks for no other.

    Args:
        workloads: Targets.
        budgets: Limiting domains.
        kept: Present replicas that fit, by target.
        free_ratio: Part of each cap that has to stay free.
    """
    order = ranked(workloads)
    left = {
        name: budget.cap_watts * (1.0 - free_ratio) - budget.watts - budget.reserved_watts
        for name, budget in budgets.items()
    }
    for one in workloads:
        _take(left, one, one.coming * (one.next_watts or 0.0))
    spare = {one.ref: _spare(one, kept[one.ref]) for one in workloads}
    gone = dict.fromkeys(spare, 0)
    least_first = order[::-1]
    donors = sorted(least_first, key=lambda one: _leaving(one) == 0)
    over = {
        name for one in workloads if kept[one.ref] < (one.current or 0) for name in one.shares
    } & left.keys()
    for one in order:
        held = one.starves and not one.in_force and one.ceiling != 0
        if not held or not over.isdisjoint(one.shares):
            continue
        room = dict(left)
        _take(room, one, one.next_watts or 0.0)
        picked = _picked(room, one, donors, spare)
        if picked is None:
            continue
        left = room
        for ref, replicas in picked.items():
            spare[ref] -= replicas
            gone[ref] += replicas
    return gone


def _picked(
    room: dict[str, float], one: Workload, donors: Sequence[Workload], spare: Mapping[str, int]
) -> dict[str, int] | None:
    """Replicas by target that make `room`, which is short of watts, suffice; None: they do not."""
    picked: dict[str, int] = {}
    for donor in donors:
        for _ in range(spare[donor.ref]):
            short = {name for name in one.shares if room.get(name, 0.0) < 0.0}
            if not short:
                return picked
            if short.isdisjoint(donor.shares) or not donor.replica_watts:
                break
            _take(room, donor, -donor.replica_watts)
            picked[donor.ref] = picked.get(donor.ref, 0) + 1
    return None if any(room.get(name, 0.0) < 0.0 for name in one.shares) else picked


def _spare(one: Workload, kept: int) -> int:
    """Replicas that may go: unneeded or going, of those that fit, above the floor."""
    if one.starves or one.current is None:
        return 0
    return max(0, min(max(one.unneeded, _leaving(one)), kept - one.floor))


def _leaving(one: Workload) -> int:
    """Replicas above the bound in force."""
    return 0 if one.in_force is None else max(0, (one.current or 0) - one.in_force)


def _take(left: dict[str, float], one: Workload, watts: float) -> None:
    for name, share in one.shares.items():
        if name in left:
            left[name] -= watts * share
