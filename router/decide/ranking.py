"""A pool's replicas in the orders that picks ask for, kept up as loads change. Pure.

A pick looks at the front of an order instead of at the whole fleet. Two orders are kept: within
each group the fullest first, committed and other members apart, and over all healthy members the
least loaded first. Only what has changed moves: with a pick its replica, with a snapshot those
whose readings differ, with a new committed set those that came or went. The pick is the one that a
full scan would make (tests/property/test_ranking_properties.py).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import chain, islice, takewhile

from router.decide.demand import Demand
from router.decide.group import Group
from router.decide.known_miss import NO_MISS
from router.decide.levels import Levels
from router.decide.standing import Standing, by_load_down, first_in_time
from router.decide.terms import Terms, bound, terms_of
from router.decide.unit import Unit


class Ranking:
    """The orders of one pool.

    Attributes:
        committed: Those that are kept apart.
        groups: Those that members are filed by.
        observed: How many healthy members have a fresh reading.
        units_by_rank: All members in order of address.
    """

    __slots__ = (
        "_by_address",
        "_by_position",
        "_by_rank",
        "_lanes",
        "_least",
        "_loose",
        "committed",
        "groups",
        "observed",
        "units_by_rank",
    )

    def __init__(self, units: Sequence[Unit], committed: frozenset[str]) -> None:
        """Know `units`, in declaration order; they are filed by `regroup`."""
        self.committed = committed
        self.groups: Sequence[Group] = ()
        self.observed = 0
        ranks = {address: rank for rank, address in enumerate(sorted(it.address for it in units))}
        self._by_position = [
            Standing(unit, position, ranks[unit.address]) for position, unit in enumerate(units)
        ]
        self._by_address = {it.unit.address: it for it in self._by_position}
        self._by_rank = sorted(self._by_position, key=lambda it: it.rank)
        self.units_by_rank = [it.unit for it in self._by_rank]
        self._least = Levels()
        self._loose: list[Standing] = []  # healthy ones that are in no group
        self._lanes: list[tuple[Levels, Levels]] = []  # of the groups: others, committed

    def regroup(self, groups: Sequence[Group]) -> None:
        """File the healthy by new groups; what has not changed stays where it is."""
        kept = {group.key: lanes for group, lanes in zip(self.groups, self._lanes, strict=True)}
        self.groups = groups
        self._lanes = [kept.get(group.key) or (Levels(), Levels()) for group in groups]
        wanted: dict[str, int] = {}
        for number, group in enumerate(groups):
            wanted |= dict.fromkeys(group.addresses, number)
        observed = 0
        for standing in self._by_position:
            unit = standing.unit
            place = standing.group_number = wanted.get(unit.address)
            lane = None if place is None else self._lanes[place][unit.address in self.committed]
            self._file(standing, lane, is_listed=unit.healthy)
            observed += unit.healthy and unit.observed
        self.observed = observed
        self._loose = [it for it in self._by_position if it.is_listed and it.lane is None]

    def commit(self, committed: frozenset[str]) -> None:
        """Keep these apart from now on."""
        for address in committed ^ self.committed:
            standing = self._by_address.get(address)
            if standing is not None and standing.group_number is not None:
                lane = self._lanes[standing.group_number][address in committed]
                self._file(standing, lane, is_listed=standing.is_listed)
        self.committed = committed

    def move(self, address: str) -> None:
        """The load or the readings of `address` have changed."""
        standing = self._by_address[address]
        standing.miss = NO_MISS
        running, before = standing.unit.running, standing.running
        if running == before:
            return
        standing.running = running
        if standing.is_listed:
            self._least.remove(before, standing.position)
            self._least.add(running, standing.position)
        if standing.lane is not None:
            standing.lane.remove(before, standing.rank)
            standing.lane.add(running, standing.rank)

    def _file(self, standing: Standing, lane: Levels | None, *, is_listed: bool) -> None:
        self.move(standing.unit.address)
        if standing.is_listed is not is_listed:
            change = self._least.add if is_listed else self._least.remove
            change(standing.running, standing.position)
            standing.is_listed = is_listed
        if standing.lane is not lane:
            if standing.lane is not None:
                standing.lane.remove(standing.running, standing.rank)
            if lane is not None:
                lane.add(standing.running, standing.rank)
            standing.lane = lane

    def unit(self, address: str) -> Unit | None:
        """A healthy member."""
        standing = self._by_address.get(address)
        return None if standing is None or not standing.is_listed else standing.unit

    def in_groups(self, addresses: Iterable[str]) -> list[tuple[Group, Unit]]:
        """Those of `addresses` that are in a group, in the groups' own order."""
        known = []
        for address in addresses:
            standing = self._by_address.get(address)
            if standing is not None and standing.group_number is not None:
                known.append((standing.group_number, standing.position, standing.unit))
        known.sort()
        return [(self.groups[number], unit) for number, _, unit in known]

    def fullest_in_time(
        self,
        demand: Demand,
        few: Sequence[Unit] | None,
        is_committed: bool | None,
        kv_limit_ratio: float,
        now_seconds: float,
    ) -> Unit | None:
        """The fullest member that passes the guard, in the first group, by merit, that has one.

        Args:
            demand: The request.
            few: The only ones that it may go to, where they are few.
            is_committed: Whether to look among the committed or the others; None: among both.
            kv_limit_ratio: Predicted KV use that counts as full.
            now_seconds: Monotonic time.
        """
        is_usual = demand.ttft_objective_seconds is None and demand.tpot_objective_seconds is None
        for group, members in self._by_merit(demand, is_committed):
            terms = None
            if demand.near is None or not is_usual:
                terms = terms_of(demand, group.units[0], kv_limit_ratio, now_seconds)
                if terms.least_seconds > terms.ttft_limit_seconds:
                    continue  # too long a prompt even for an idle one
            if few is None:
                standings: Iterable[Standing] = self._fullest(members, None if is_usual else terms)
            else:
                standings = self._fullest_of(members, few)
            if demand.near is not None:
                terms = None  # what is near differs from one to the next
            unit = first_in_time(standings, demand, terms, kv_limit_ratio, now_seconds)
            if unit is not None:
                return unit
        return None

    def _by_merit(
        self, demand: Demand, is_committed: bool | None
    ) -> list[tuple[Group, tuple[Levels, ...]]]:
        """Groups and where their members are filed, the best group first."""
        if is_committed is None:
            lanes: list[tuple[Group, tuple[Levels, ...]]] = [
                *zip(self.groups, self._lanes, strict=True)
            ]
        else:
            lanes = [
                (group, (pair[is_committed],))
                for group, pair in zip(self.groups, self._lanes, strict=True)
                if pair[is_committed].loads
            ]
        if len(lanes) > 1:
            ranked = [(lane[0].rank(demand), lane) for lane in lanes]  # no two ranks are equal
            ranked.sort()
            lanes = [lane for _, lane in ranked]
        return lanes

    def _fullest(self, lanes: tuple[Levels, ...], terms: Terms | None) -> Iterator[Standing]:
        """The fullest first, without levels that `terms` cannot pass on."""
        if len(lanes) > 1:
            yield from merge(*(self._fullest((lane,), terms) for lane in lanes), key=by_load_down)
            return
        by_rank, lane = self._by_rank, lanes[0]
        for load in reversed(lane.loads):
            ranks = lane.at[load]
            if terms is not None and bound(by_rank[ranks[0]].unit, terms, 0.0) > 1.0:
                continue
            for rank in ranks:
                yield by_rank[rank]

    def _fullest_of(self, lanes: tuple[Levels, ...], few: Iterable[Unit]) -> list[Standing]:
        standings = [self._by_address[unit.address] for unit in few]
        inside = [it for it in standings if any(it.lane is lane for lane in lanes)]
        return sorted(inside, key=by_load_down)

    def least_loaded(self, demand: Demand, draw: float, few: Sequence[Unit] | None) -> Unit:
        """One of those that may be picked and tie for the fewest running, drawn."""
        if not demand.restricted:
            least = self._least.least()
            return self._by_position[least[int(draw * len(least))]].unit
        if few is not None or demand.subset is not None:
            tied = self.ties(demand, few)
            return tied[int(draw * len(tied))]
        for load in self._least.loads:
            level = self._least.at[load]
            left_out = self._indices(demand.left_out, level, load)
            if len(left_out) < len(level):
                break
        else:
            raise LookupError("a request was asked about that may go nowhere")
        index = int(draw * (len(level) - len(left_out)))
        for skipped in left_out:
            index += skipped <= index
        return self._by_position[level[index]].unit

    def ties(self, demand: Demand, few: Sequence[Unit] | None) -> list[Unit]:
        """All that may be picked and tie for the fewest running, in declaration order."""
        if few is not None:
            fewest = min(unit.running for unit in few)
            return [unit for unit in few if unit.running == fewest]
        if not demand.restricted:
            return [self._by_position[position].unit for position in self._least.least()]
        allowed = (unit for unit in self.by_load() if demand.allows(unit.address))
        first = next(allowed)
        return [first, *takewhile(lambda unit: unit.running == first.running, allowed)]

    def in_turn(
        self, first: Unit, few: Sequence[Unit] | None, *, avoided: frozenset[str], count: int
    ) -> tuple[str, ...]:
        """Up to `count` addresses of healthy members, the least loaded first, `avoided` ones last.

        Args:
            first: Who comes first among those of equal load; then those declared after it.
            few: The only ones to name, where there is a choice of them.
            avoided: To be named when the others are not enough.
            count: How many to name.
        """
        begin = self._by_address[first.address].position
        levels: Iterable[list[int]] = (self._least.at[load] for load in self._least.loads)
        if few is not None:
            chosen = Levels()
            for standing in (self._by_address[unit.address] for unit in few):
                chosen.add(standing.running, standing.position)
            levels = (chosen.at[load] for load in chosen.loads)
        named: list[str] = []
        last: list[str] = []
        for level in levels:
            index = bisect_left(level, begin)
            for position in chain(islice(level, index, None), islice(level, index)):
                address = self._by_position[position].unit.address
                (last if address in avoided else named).append(address)
                if len(named) == count:
                    return tuple(named)
        return tuple((named + last)[:count])

    def by_load(self) -> Iterator[Unit]:
        """All healthy members, the least loaded first."""
        return (self._by_position[position].unit for position in self._least)

    def _indices(self, addresses: Iterable[str], level: Sequence[int], load: float) -> list[int]:
        """Where `addresses` are among the members of one level, in order."""
        standings = (self._by_address.get(address) for address in addresses)
        return sorted(
            bisect_left(level, it.position)
            for it in standings
            if it is not None and it.is_listed and it.running == load
        )

    def levels(self) -> Iterator[Sequence[int]]:
        """All healthy members, as ranks by address; those of one group and load together."""
        for pair in self._lanes:
            for lane in pair:
                yield from lane.at.values()
        for standing in self._loose:
            yield (standing.rank,)

    def rank(self, unit: Unit) -> int:
        """A member's place in the order of addresses."""
        return self._by_address[unit.address].rank

    def first_below(
        self, number: int, load: float, may_take: Callable[[Unit], bool], few: Sequence[Unit] | None
    ) -> Unit | None:
        """Of a group's members with less than `load`, the first by address that may take it."""
        if few is not None:
            standings = [self._by_address[unit.address] for unit in few]
            known = [
                it
                for it in standings
                if it.group_number == number and it.running < load and may_take(it.unit)
            ]
            return min(known, key=lambda it: it.rank).unit if known else None
        ranks: list[int] = []
        for lane in self._lanes[number]:
            for level in takewhile(lambda it: it < load, lane.loads):
                able = (rank for rank in lane.at[level] if may_take(self._by_rank[rank].unit))
                ranks.extend(islice(able, 1))
        return self._by_rank[min(ranks)].unit if ranks else None

    def best_of(self, demand: Demand, few: Sequence[Unit]) -> list[Unit]:
        """These healthy members in the order of `best_first`."""
        ranks = [group.rank(demand) for group in self.groups]

        def key(standing: Standing) -> tuple[object, ...]:
            unit, number = standing.unit, standing.group_number
            return (
                unit.running >= unit.board.max_running_requests,
                unit.address not in self.committed,
                number is None,
                () if number is None else ranks[number],
                standing.running,
                standing.rank,
            )

        standings = [self._by_address[unit.address] for unit in few]
        return [standing.unit for standing in sorted(standings, key=key)]

    def best_first(self, demand: Demand) -> Iterator[Unit]:
        """All healthy members: with a batch slot first, then committed, merit, least loaded."""
        order = sorted(range(len(self.groups)), key=lambda number: self.groups[number].rank(demand))
        loose = sorted(self._loose, key=lambda it: (it.running, it.rank))
        for is_full in (False, True):
            for is_committed in (True, False):
                for number in order:
                    for rank in self._lanes[number][is_committed]:
                        unit = self._by_rank[rank].unit
                        if (unit.running >= unit.board.max_running_requests) is is_full:
                            yield unit
                for standing in loose:
                    unit = standing.unit
                    if (unit.address in self.committed) is is_committed and (
                        unit.running >= unit.board.max_running_requests
                    ) is is_full:
                        yield unit
