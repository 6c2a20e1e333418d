"""Where a request goes when the pick cannot be reached: a ranked list, across failure domains.

Fallbacks serve only what could not be connected, so those of a moment ago will do: they are looked
up once per replica and snapshot, by a walk over the orders that the pool keeps anyway.
"""

from collections.abc import Iterable
from typing import NamedTuple

from router.decide.demand import Demand
from router.decide.question import Question
from router.decide.unit import Unit


class _Sites(NamedTuple):
    """The failure domains that a model's healthy replicas are in."""

    domains: frozenset[str]
    nodes: frozenset[str | None]


class Fallbacks:
    """Remembers the fallbacks of each replica between two snapshots."""

    __slots__ = ("_count", "_kept", "_sites")

    def __init__(self, count: int) -> None:
        """Name up to `count` fallbacks beside each pick."""
        self._count = count
        self._sites: dict[str, _Sites] = {}
        self._kept: dict[tuple[str, str], tuple[str, ...]] = {}

    def forget(self) -> None:
        """Rank anew from now on."""
        self._sites.clear()
        self._kept.clear()

    def of(self, chosen: Unit, question: Question) -> tuple[str, ...]:
        """Addresses to try after `chosen`, best first."""
        demand = question.demand
        if demand.restricted:
            return self._after(chosen, question)
        key = (demand.model, chosen.address)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = self._after(chosen, question)
        return kept

    def _after(self, chosen: Unit, question: Question) -> tuple[str, ...]:
        """One after the other: a new domain first, then a new node, then the better replica."""
        demand, pool = question.demand, question.pool
        sites = self._sites.get(demand.model)
        if sites is None:
            replicas = [unit.replica for unit in pool.healthy()]
            sites = self._sites[demand.model] = _Sites(
                frozenset([replica.domain for replica in replicas]),
                frozenset([replica.node for replica in replicas]),
            )
        named, few, ranking = [chosen], question.few, pool.ranking()
        best_of_few = None if few is None else ranking.best_of(demand, few)
        while len(named) <= self._count:
            best = ranking.best_first(demand) if best_of_few is None else best_of_few
            unit = _next(best, named, sites, demand)
            if unit is None:
                break
            named.append(unit)
        return tuple(unit.address for unit in named[1:])


def _next(order: Iterable[Unit], named: list[Unit], sites: _Sites, demand: Demand) -> Unit | None:
    """The best of the rest; looks no further than where none can be better."""
    domains = {unit.replica.domain for unit in named}
    nodes = {unit.replica.node for unit in named}
    least = (sites.domains <= domains, sites.nodes <= nodes)
    found, found_rank = None, (True, True, True)
    restricted = demand.restricted
    for unit in order:
        rank = (False, unit.replica.domain in domains, unit.replica.node in nodes)
        if rank < found_rank and unit not in named:
            if restricted and not demand.allows(unit.address):
                continue
            found, found_rank = unit, rank
            if rank[1:] == least:
                break
    return found
