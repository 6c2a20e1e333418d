"""All replicas of one model, and which of them a request may be picked for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from router.decide.demand import Demand
from router.decide.group import Group
from router.decide.ranking import Ranking
from router.decide.unit import Unit

_NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Pool:
    """All units that serve one model.

    Attributes:
        model: Its name.
        units: In declaration order.
        groups: The same units, healthy ones only, by backend and price.
        committed: Addresses that are to carry the load.
    """

    model: str
    units: list[Unit]
    groups: list[Group] = field(default_factory=list)
    committed: frozenset[str] = frozenset()
    _healthy: list[Unit] | None = None
    _ranking: Ranking | None = None
    _moved: set[str] = field(default_factory=set)
    _asked: tuple[Demand, list[Unit]] | None = None

    def regroup(self, groups: list[Group]) -> None:
        """Take in new groups and, with them, the units' new readings."""
        self.groups, self._healthy, self._ranking, self._asked = groups, None, None, None

    def move(self, address: str) -> None:
        """The account of one of the units has changed."""
        self._moved.add(address)

    def ranking(self, committed: frozenset[str] | None = None) -> Ranking:
        """The units in order, as of now.

        Args:
            committed: Those to be kept apart; None: whichever are.
        """
        ranking = self._ranking
        if ranking is None or not (committed is None or committed is ranking.committed):
            kept = self.committed if committed is None else committed
            ranking = self._ranking = Ranking(self.healthy(), self.groups, kept)
        else:
            for address in self._moved:
                ranking.move(address)
        self._moved.clear()
        return ranking

    def healthy(self) -> list[Unit]:
        """Units that do not refuse connections, in declaration order."""
        if self._healthy is None:
            self._healthy = [unit for unit in self.units if unit.healthy]
        return self._healthy

    def eligible(self, demand: Demand) -> Sequence[Unit]:
        """Units that may be picked for a request."""
        healthy = self.healthy()
        if not demand.restricted:
            return healthy
        if self._asked is None or not _alike(self._asked[0], demand):
            units = [unit for unit in healthy if demand.allows(unit.address)]
            self._asked = (demand, units)
        return self._asked[1]

    def admit(self, demand: Demand) -> tuple[Demand, Sequence[Unit]]:
        """The units for a request, and the request less the caution that would leave none.

        Better one that may be out of reach than none, and better that than one that stalls.
        """
        eligible = self.eligible(demand)
        if not eligible and demand.avoided:
            demand = demand._replace(avoided=_NOBODY)
            eligible = self.eligible(demand)
        if not eligible and demand.stalled:
            demand = demand._replace(stalled=_NOBODY)
            eligible = self.eligible(demand)
        return demand, eligible

    def in_merit_order(self, demand: Demand) -> list[Group]:
        """The groups, fewest priced joules for this request first."""
        return sorted(self.groups, key=lambda group: group.rank(demand))


def _alike(one: Demand, other: Demand) -> bool:
    """Whether two requests may go to the same replicas."""
    return (
        one.subset == other.subset
        and one.stalled == other.stalled
        and one.avoided == other.avoided
        and one.refused == other.refused
    )
