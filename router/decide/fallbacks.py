"""Where a request goes when the pick cannot be reached: a ranked list, across failure domains.

Fallbacks serve only what could not be connected, so a ranking as old as the snapshot will do:
it is kept per pick until the groups are built anew.
"""

from router.decide.policies import Question
from router.decide.unit import Unit


class Fallbacks:
    """Remembers the fallbacks of each pick between two snapshots."""

    __slots__ = ("_count", "_kept")

    def __init__(self, count: int) -> None:
        """Name up to `count` fallbacks beside each pick."""
        self._count = count
        self._kept: dict[tuple[str, str], tuple[str, ...]] = {}

    def forget(self) -> None:
        """Rank anew from now on."""
        self._kept.clear()

    def of(self, chosen: Unit, question: Question) -> tuple[str, ...]:
        """Addresses to try after `chosen`, best first."""
        demand = question.demand
        if demand.subset is not None or demand.avoided or demand.stalled:
            return self._ranked(chosen, question)
        key = (demand.model, chosen.address)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = self._ranked(chosen, question)
        return kept

    def _ranked(self, chosen: Unit, question: Question) -> tuple[str, ...]:
        """One after the other: a new domain first, then a new node, then the better replica."""
        rest = _best_first(chosen, question)
        domains, nodes = {chosen.replica.domain}, {chosen.replica.node}
        ranked: list[str] = []
        while rest and len(ranked) < self._count:
            unit = min(
                rest, key=lambda unit: (unit.replica.domain in domains, unit.replica.node in nodes)
            )
            rest.remove(unit)
            domains.add(unit.replica.domain)
            nodes.add(unit.replica.node)
            ranked.append(unit.address)
        return tuple(ranked)


def _best_first(chosen: Unit, question: Question) -> list[Unit]:
    """The other eligible units: committed ones with room first, in merit order."""
    committed = question.pool.committed
    merit = {
        unit.address: position
        for position, group in enumerate(question.pool.in_merit_order(question.demand))
        for unit in group.units
    }
    others = [unit for unit in question.eligible if unit is not chosen]
    return sorted(
        others,
        key=lambda unit: (
            unit.running >= unit.backend.max_running_requests,
            unit.address not in committed,
            merit.get(unit.address, len(merit)),
            unit.running,
            unit.address,
        ),
    )
