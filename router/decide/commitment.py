"""Commitment: which replicas are to carry the load, as power systems commit units.

Pure and without memory: the caller passes the set in force and gets the set to have. A set is
priced by filling its members in merit order, because that is what dispatch will do with it.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fleet.operating import OperatingCurve

_MAX_ENUMERATED_SETS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Interchangeable replicas: one profile, one price, one share already taken.

    Attributes:
        members: Addresses, the ones to take first in front.
        curve: Steady states of each member at the planned model's mix.
        price_ratio: Multiplier on joules.
        merit_joules: Priced joules of a mean request at the operating point; orders the lots.
        capacity_requests_per_second: Of each member at its operating point B*.
        used_ratio: Share of that capacity that other models have taken.
    """

    members: tuple[str, ...]
    curve: OperatingCurve
    price_ratio: float
    merit_joules: float
    capacity_requests_per_second: float
    used_ratio: float = 0.0

    @property
    def free_requests_per_second(self) -> float:
        """What one member can still take."""
        return self.capacity_requests_per_second * (1.0 - self.used_ratio)

    def added_watts(self, requests_per_second: float) -> float:
        """Priced dynamic power that this rate adds to one member."""
        base = self.capacity_requests_per_second * self.used_ratio
        watts = self.curve.dynamic_watts
        return self.price_ratio * (watts(base + requests_per_second) - watts(base))


class _Cost(NamedTuple):
    """Compared in this order: first serve the load, then save power, then leave idle watts out."""

    shortfall_requests_per_second: float
    added_watts: float
    idle_watts: float


Counts = tuple[int, ...]


class Room(NamedTuple):
    """How much the load in service swings, and the room that is kept for it.

    Attributes:
        deviation_ratio: Standard deviation of the load in service over its mean.
        design_ratio: Capacity asked for over the mean load.
    """

    deviation_ratio: float
    design_ratio: float


def room_for(
    lots: tuple[Lot, ...],
    *,
    requests_per_second: float,
    reserve_deviations: float,
    swing_ratio: float = 0.0,
) -> Room:
    """What is measured, and at least that of a Poisson stream.

    The number of requests in service of a Poisson stream is Poisson: deviation 1 / sqrt(B). B, the
    batch that the load keeps running fleet-wide, is taken at the best lot (Little's law).
    """
    batch = 1.0
    if lots:
        mix, step = lots[0].curve.mix, lots[0].curve.profile.step
        batch = max(1.0, requests_per_second * mix.output_tokens * step.base_seconds)
    deviation_ratio = max(1.0 / math.sqrt(batch), swing_ratio)
    return Room(deviation_ratio, 1.0 + reserve_deviations * deviation_ratio)


class _Pricer:
    """Prices counts of members per lot, remembering what it has priced."""

    def __init__(
        self, lots: tuple[Lot, ...], *, mean_requests_per_second: float, room: Room
    ) -> None:
        self._lots = lots
        self._design = mean_requests_per_second * room.design_ratio
        # The load in service swings about its mean; three points of a normal distribution
        # (Gauss-Hermite) price the replica that only the upswings reach.
        swing = math.sqrt(3.0) * room.deviation_ratio
        self._rates = tuple(
            (mean_requests_per_second * max(0.0, 1.0 + point * swing), weight)
            for point, weight in ((-1.0, 1.0 / 6.0), (0.0, 2.0 / 3.0), (1.0, 1.0 / 6.0))
        )
        self._full_watts = [lot.added_watts(lot.free_requests_per_second) for lot in lots]
        self._known: dict[Counts, _Cost] = {}

    def __call__(self, counts: Counts) -> _Cost:
        cost = self._known.get(counts)
        if cost is None:
            cost = self._known[counts] = self._price(counts)
        return cost

    def _price(self, counts: Counts) -> _Cost:
        pairs = list(zip(self._lots, counts, strict=True))
        capacity = sum(count * lot.free_requests_per_second for lot, count in pairs)
        idle = sum(count * lot.curve.profile.power.idle_watts for lot, count in pairs)
        watts = sum(weight * self._watts(counts, rate) for rate, weight in self._rates)
        return _Cost(max(0.0, self._design - capacity), watts, idle)

    def _watts(self, counts: Counts, requests_per_second: float) -> float:
        """Added power of a set that is filled in merit order with this much load.

        What the set cannot take opens others in merit order, as dispatch does: an upswing that a
        small set leaves over is not for nothing.
        """
        left_out = (len(lot.members) - count for lot, count in zip(self._lots, counts, strict=True))
        remaining, watts = requests_per_second, 0.0
        for index, count in (*enumerate(counts), *enumerate(left_out)):
            if remaining <= 0.0:
                break
            lot = self._lots[index]
            free = lot.free_requests_per_second
            taken = min(remaining, count * free)
            full = math.floor(taken / free + 1e-9) if free > 0.0 else 0
            part = max(0.0, taken - full * free)
            watts += full * self._full_watts[index]
            if part > 1e-9 * free:
                watts += lot.added_watts(part)
            remaining -= taken
        return watts


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentPolicy:
    """How eagerly sets are changed.

    Attributes:
        reserve_deviations: Room kept, in standard deviations of the load.
        gain_ratio: Part of its power a new set must save.
        dwell_seconds: How long it must keep promising it.
    """

    reserve_deviations: float
    gain_ratio: float
    dwell_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """The committed set of one model, and the reasons for it.

    Attributes:
        addresses: Its members.
        requests_per_second: The load it was chosen for.
        design_ratio: Room over the mean that it was asked to have.
        added_watts: Priced dynamic power predicted for it and for what upswings open beside it.
        shortfall_requests_per_second: Load that even all replicas cannot carry.
        better_since_seconds: Since when another set has promised enough to replace it, or None.
    """

    addresses: frozenset[str] = frozenset()
    requests_per_second: float = 0.0
    design_ratio: float = 1.0
    added_watts: float = 0.0
    shortfall_requests_per_second: float = 0.0
    better_since_seconds: float | None = None


def commit(
    lots: Iterable[Lot],
    previous: Commitment,
    policy: CommitmentPolicy,
    *,
    requests_per_second: float,
    now_seconds: float,
    swing_ratio: float = 0.0,
) -> Commitment:
    """Choose the set for a load.

    A set that cannot carry the load any more grows at once, by the cheapest additions: replacing
    it would leave two sets busy while the old one drains. It is replaced by the best of all sets
    only when that has promised to save `gain_ratio` of the power, or the same power with fewer
    idle watts, for `dwell_seconds` on end.

    Args:
        lots: Of the replicas that may be committed.
        previous: The set in force.
        policy: How eagerly it is changed.
        requests_per_second: The load.
        now_seconds: Monotonic time.
        swing_ratio: Measured deviation of the load over its mean.
    """
    ordered = tuple(sorted(lots, key=lambda lot: (lot.merit_joules, lot.members)))
    room = room_for(
        ordered,
        requests_per_second=requests_per_second,
        reserve_deviations=policy.reserve_deviations,
        swing_ratio=swing_ratio,
    )
    price = _Pricer(ordered, mean_requests_per_second=requests_per_second, room=room)
    floor = tuple(sum(address in previous.addresses for address in lot.members) for lot in ordered)
    current = floor
    if price(current).shortfall_requests_per_second > 0.0:
        current = _cheapest(ordered, price, floor=floor)
    best = _cheapest(ordered, price, floor=(0,) * len(ordered))
    better_since = _better_since(price(current), price(best), previous, policy, now_seconds)
    if better_since is not None and now_seconds - better_since >= policy.dwell_seconds:
        current, better_since = best, None
    chosen = current
    cost = price(chosen)
    return Commitment(
        addresses=_members(ordered, chosen, previous.addresses),
        requests_per_second=requests_per_second,
        design_ratio=room.design_ratio,
        added_watts=cost.added_watts,
        shortfall_requests_per_second=cost.shortfall_requests_per_second,
        better_since_seconds=better_since,
    )


def _better_since(
    current: _Cost,
    best: _Cost,
    previous: Commitment,
    policy: CommitmentPolicy,
    now_seconds: float,
) -> float | None:
    """Since when another set has been worth changing to; None when none is."""
    saves = best.added_watts < current.added_watts * (1.0 - policy.gain_ratio)
    trims = best.added_watts <= current.added_watts and best.idle_watts < current.idle_watts
    if not (saves or trims):
        return None
    since = previous.better_since_seconds
    return now_seconds if since is None else since


def _members(lots: tuple[Lot, ...], counts: Counts, previous: frozenset[str]) -> frozenset[str]:
    """The first `count` members of each lot, those already committed before all others."""
    chosen: list[str] = []
    for lot, count in zip(lots, counts, strict=True):
        ordered = sorted(lot.members, key=lambda address: address not in previous)
        chosen.extend(ordered[:count])
    return frozenset(chosen)


def _cheapest(lots: tuple[Lot, ...], price: _Pricer, *, floor: Counts) -> Counts:
    """The cheapest counts of at least `floor`: of all where they are few, else by descent.

    Descent starts from the floor, from everything, and from each lot filled alone, so that no
    single lot is overlooked.
    """
    sizes = tuple(len(lot.members) for lot in lots)
    spans = [size - low + 1 for size, low in zip(sizes, floor, strict=True)]
    if math.prod(spans) <= _MAX_ENUMERATED_SETS:
        ranges = (range(low, size + 1) for size, low in zip(sizes, floor, strict=True))
        return min(itertools.product(*ranges), key=price)
    alone = ((*floor[:only], sizes[only], *floor[only + 1 :]) for only in range(len(sizes)))
    return min(
        (_descend(start, floor, sizes, price) for start in (floor, sizes, *alone)), key=price
    )


def _descend(start: Counts, floor: Counts, sizes: Counts, price: _Pricer) -> Counts:
    """Move to the cheapest neighbour until none is cheaper; strides halve from the lot's size."""
    here = start
    stride = max(sizes, default=1)
    while stride >= 1:
        best = min(_neighbours(here, floor, sizes, stride), key=price, default=here)
        if price(best) < price(here):
            here = best
        else:
            stride //= 2
    return here


def _neighbours(counts: Counts, floor: Counts, sizes: Counts, stride: int) -> Iterator[Counts]:
    """Counts with one lot moved by `stride`, or `stride` exchanged between two lots."""
    moves = [(index, sign * stride) for index in range(len(counts)) for sign in (1, -1)]
    pairs = [((i, stride), (j, -stride)) for i, j in itertools.permutations(range(len(counts)), 2)]
    for changes in [*((move,) for move in moves), *pairs]:
        moved = list(counts)
        for index, amount in changes:
            moved[index] = min(sizes[index], max(floor[index], moved[index] + amount))
        if tuple(moved) != counts:
            yield tuple(moved)
