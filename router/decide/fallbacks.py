"""Where a request goes when the pick cannot be reached: a ranked list, across failure domains.

Fallbacks serve only what could not be connected, so a ranking as old as the snapshot will do: the
replicas of a model are put in order once, and walked per pick.
"""

from typing import NamedTuple

from router.decide.demand import Demand
from router.decide.question import Question
from router.decide.unit import Unit


class _Order(NamedTuple):
    """A model's replicas, best first, and the failure domains that there are."""

    units: list[Unit]
    domains: frozenset[str]
    nodes: frozenset[str | None]


class Fallbacks:
    """Remembers orders, and the fallbacks of each pick, between two snapshots."""

    __slots__ = ("_count", "_kept", "_orders")

    def __init__(self, count: int) -> None:
        """Name up to `count` fallbacks beside each pick."""
        self._count = count
        self._orders: dict[str, _Order] = {}
        self._kept: dict[tuple[str, str], tuple[str, ...]] = {}

    def forget(self) -> None:
        """Rank anew from now on."""
        self._orders.clear()
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
        demand = question.demand
        order = self._orders.get(demand.model)
        if order is None:
            order = self._orders[demand.model] = _order(question)
        named = [chosen]
        while len(named) <= self._count:
            unit = _next(order, named, demand)
            if unit is None:
                break
            named.append(unit)
        return tuple(unit.address for unit in named[1:])


def _next(order: _Order, named: list[Unit], demand: Demand) -> Unit | None:
    """The best of the rest; looks no further than where none can be better."""
    domains = {unit.replica.domain for unit in named}
    nodes = {unit.replica.node for unit in named}
    least = (order.domains <= domains, order.nodes <= nodes)
    found, found_rank = None, (True, True, True)
    restricted = demand.restricted
    for unit in order.units:
        rank = (False, unit.replica.domain in domains, unit.replica.node in nodes)
        if rank < found_rank and unit not in named:
            if restricted and not demand.allows(unit.address):
                continue
            found, found_rank = unit, rank
            if rank[1:] == least:
                break
    return found


def _order(question: Question) -> _Order:
    """Committed replicas with room first, in merit order."""
    pool = question.pool
    committed = pool.committed
    merit = {
        unit.address: position
        for position, group in enumerate(pool.in_merit_order(question.demand))
        for unit in group.units
    }
    units = sorted(
        pool.healthy(),
        key=lambda unit: (
            unit.running >= unit.backend.max_running_requests,
            unit.address not in committed,
            merit.get(unit.address, len(merit)),
            unit.running,
            unit.address,
        ),
    )
    replicas = [unit.replica for unit in units]
    return _Order(
        units,
        frozenset(replica.domain for replica in replicas),
        frozenset(replica.node for replica in replicas),
    )
