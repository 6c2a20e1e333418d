"""A pool's replicas in the orders that picks ask for, kept up as the ledger changes. Pure.

A pick looks at the front of an order instead of at the whole fleet. Two orders are kept: within
each group the fullest first, committed and other members apart, and over all healthy members the
least loaded first. A replica whose account has changed moves; a new snapshot or committed set
builds all anew. The pick is the one that a full scan would make (tests/property/test_ranking.py).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from router.decide.demand import Demand
from router.decide.group import Group
from router.decide.guard import lateness
from router.decide.known_miss import NO_MISS, Miss, find_miss, holds, terms_of
from router.decide.unit import Unit


class Standing:
    """One replica's place in the orders."""

    __slots__ = ("lane", "miss", "position", "running", "unit")

    def __init__(self, unit: Unit, position: int) -> None:
        self.unit = unit
        self.position = position
        self.running = unit.running
        self.lane: Lane | None = None
        self.miss: Miss = NO_MISS


class Lane:
    """Members of a group in order of (-running, address); keys apart, to be searched by halves."""

    __slots__ = ("keys", "standings")

    def __init__(self, standings: Iterable[Standing]) -> None:
        ordered = sorted(standings, key=lambda it: (-it.running, it.unit.address))
        self.standings = ordered
        self.keys = [(-it.running, it.unit.address) for it in ordered]
        for standing in ordered:
            standing.lane = self

    def move(self, standing: Standing, running: float) -> None:
        """Put a member where its new load belongs."""
        address = standing.unit.address
        index = bisect_left(self.keys, (-standing.running, address))
        del self.keys[index], self.standings[index]
        key = (-running, address)
        index = bisect_left(self.keys, key)
        self.keys.insert(index, key)
        self.standings.insert(index, standing)


class Ranking:
    """The orders of one pool.

    Attributes:
        committed: The set that they were built with.
        groups: The groups that they were built with.
        is_observed: Whether any member has a fresh reading.
    """

    __slots__ = (
        "_by_address",
        "_lanes",
        "_least",
        "_least_keys",
        "_places",
        "committed",
        "groups",
        "is_observed",
    )

    def __init__(
        self, units: Sequence[Unit], groups: Sequence[Group], committed: frozenset[str]
    ) -> None:
        """Put healthy `units`, in declaration order, and `groups` of some of them in order."""
        self.committed, self.groups = committed, groups
        self.is_observed = any(unit.observed for unit in units)
        standings = [Standing(unit, position) for position, unit in enumerate(units)]
        self._by_address = {it.unit.address: it for it in standings}
        self._least = sorted(standings, key=lambda it: (it.running, it.position))
        self._least_keys = [(it.running, it.position) for it in self._least]
        self._places: dict[str, tuple[int, int]] | None = None
        self._lanes: dict[int, tuple[Lane, Lane]] = {}
        for group in groups:
            members = [self._by_address[unit.address] for unit in group.units]
            inside = [it for it in members if it.unit.address in committed]
            outside = [it for it in members if it.unit.address not in committed]
            self._lanes[id(group)] = (Lane(inside), Lane(outside))

    def unit(self, address: str) -> Unit | None:
        """A healthy member."""
        standing = self._by_address.get(address)
        return None if standing is None else standing.unit

    def in_groups(self, addresses: Iterable[str]) -> list[tuple[Group, Unit]]:
        """Those of `addresses` that are in a group, in the groups' own order."""
        places = ((self._place(address), address) for address in addresses)
        known = sorted((place, address) for place, address in places if place is not None)
        return [(self.groups[place[0]], self._by_address[address].unit) for place, address in known]

    def _place(self, address: str) -> tuple[int, int] | None:
        """Which group a member is in, and where in it."""
        if self._places is None:
            self._places = {
                unit.address: (number, index)
                for number, group in enumerate(self.groups)
                for index, unit in enumerate(group.units)
            }
        return self._places.get(address)

    def move(self, address: str) -> None:
        """The account of `address` has changed."""
        standing = self._by_address.get(address)
        if standing is None:
            return
        standing.miss = NO_MISS
        running = standing.unit.running
        if running == standing.running:
            return
        keys, position = self._least_keys, standing.position
        index = bisect_left(keys, (standing.running, position))
        del keys[index], self._least[index]
        index = bisect_left(keys, (running, position))
        keys.insert(index, (running, position))
        self._least.insert(index, standing)
        if standing.lane is not None:
            standing.lane.move(standing, running)
        standing.running = running

    def fullest_in_time(
        self, demand: Demand, *, is_committed: bool, kv_limit_ratio: float, now_seconds: float
    ) -> Unit | None:
        """The fullest member that passes the guard, in the first group, by merit, that has one."""
        lanes = [
            (group, self._lanes[id(group)][not is_committed].standings) for group in self.groups
        ]
        lanes = [lane for lane in lanes if lane[1]]
        if len(lanes) > 1:
            lanes.sort(key=lambda lane: lane[0].rank(demand))
        for _, standings in lanes:
            unit = _first_in_time(standings, demand, kv_limit_ratio, now_seconds)
            if unit is not None:
                return unit
        return None

    def least_loaded(self, demand: Demand, draw: float) -> Unit:
        """One of those that may be picked and tie for the fewest running, drawn."""
        if not demand.restricted:
            return self._least[int(draw * self._end_of_ties(0))].unit
        if demand.subset is not None:
            tied = self.ties(demand)
            return tied[int(draw * len(tied))]
        begin, end = 0, 0
        left_out: list[int] = []
        while end - begin == len(left_out):  # all of these are left out: the next
            begin, end = end, self._end_of_ties(end)
            left_out = self._indices(demand.left_out, begin, end)
        index = begin + int(draw * (end - begin - len(left_out)))
        for skipped in left_out:
            index += skipped <= index
        return self._least[index].unit

    def ties(self, demand: Demand) -> list[Unit]:
        """All that may be picked and tie for the fewest running, in declaration order."""
        if not demand.restricted:
            return [it.unit for it in self._least[: self._end_of_ties(0)]]
        allowed = (it for it in self._least if demand.allows(it.unit.address))
        first = next(allowed)
        rest = takewhile(lambda it: it.running == first.running, allowed)
        return [first.unit, *(it.unit for it in rest)]

    def by_load(self) -> Iterator[Unit]:
        """All healthy members, the least loaded first."""
        return (standing.unit for standing in self._least)

    def _end_of_ties(self, begin: int) -> int:
        """Where those end that run as many requests as the one at `begin`."""
        keys = self._least_keys
        return bisect_right(keys, (keys[begin][0], len(keys)))

    def _indices(self, addresses: Iterable[str], begin: int, end: int) -> list[int]:
        """Where `addresses` are between two places in the order of load, in order."""
        standings = (self._by_address.get(address) for address in addresses)
        keys = ((it.running, it.position) for it in standings if it is not None)
        indices = (bisect_left(self._least_keys, key) for key in keys)
        return sorted(index for index in indices if begin <= index < end)


def _first_in_time(
    standings: Iterable[Standing], demand: Demand, kv_limit_ratio: float, now_seconds: float
) -> Unit | None:
    """The first, of one group, that may be picked and passes the guard."""
    terms, restricted = None, demand.restricted
    for standing in standings:
        unit, miss = standing.unit, standing.miss
        if terms is not None and miss is not NO_MISS and holds(miss, terms):
            continue
        if restricted and not demand.allows(unit.address):
            continue
        if terms is None and miss is not NO_MISS:
            terms = terms_of(demand, unit, now_seconds)
            if holds(miss, terms):
                continue
        if lateness(unit, demand, kv_limit_ratio, now_seconds) <= 1.0:
            return unit
        terms = terms or terms_of(demand, unit, now_seconds)
        standing.miss = find_miss(unit, terms, kv_limit_ratio=kv_limit_ratio)
    return None
