"""All replicas of one model, and which of them a request may be picked for. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from router.decide.demand import Demand
from router.decide.group import Group
from router.decide.ranking import Ranking
from router.decide.unit import Unit

_NOBODY: frozenset[str] = frozenset()
# A request that may go to no more than this part of the replicas is asked of those one by one.
_FEW_RATIO = 0.25


class Pool:
    """All units that serve one model.

    Attributes:
        model: Its name.
        units: In declaration order.
        groups: The same units, healthy ones only, by backend and price.
        committed: Addresses that are to carry the load.
    """

    __slots__ = (
        "_asked",
        "_healthy",
        "_moved",
        "_places",
        "_ranking",
        "committed",
        "groups",
        "model",
        "units",
    )

    def __init__(self, *, model: str, units: list[Unit]) -> None:
        """Without groups and without anybody committed."""
        self.model = model
        self.units = units
        self.groups: list[Group] = []
        self.committed = _NOBODY
        self._healthy: list[Unit] | None = None
        self._ranking = Ranking(units, _NOBODY)
        self._moved: set[str] = set()
        self._asked: tuple[Demand, list[Unit]] | None = None
        self._places: dict[str, list[int]] | None = None

    def regroup(self, groups: list[Group]) -> None:
        """Take in new groups and, with them, the units' new readings."""
        self.groups, self._healthy, self._asked = groups, None, None
        self._ranking.regroup(groups)
        self._moved.clear()

    def move(self, address: str) -> None:
        """The account of one of the units has changed."""
        self._moved.add(address)

    def reread(self, address: str) -> None:
        """The readings of one of the units have changed."""
        self._ranking.move(address)

    def ranking(self) -> Ranking:
        """The units in order, as of now."""
        ranking = self._ranking
        if self._moved:
            for address in self._moved:
                ranking.move(address)
            self._moved.clear()
        if self.committed is not ranking.committed:
            ranking.commit(self.committed)
        return ranking

    def healthy(self) -> list[Unit]:
        """Units that do not refuse connections, in declaration order."""
        if self._healthy is None:
            self._healthy = [unit for unit in self.units if unit.healthy]
        return self._healthy

    def eligible(self, demand: Demand) -> Sequence[Unit]:
        """Units that may be picked for a request, in declaration order."""
        if not demand.restricted:
            return self.healthy()
        if self._asked is None or not _alike(self._asked[0], demand):
            subset = demand.subset
            units = self.healthy() if subset is None else self.inside(subset)
            self._asked = (demand, [unit for unit in units if demand.allows(unit.address)])
        return self._asked[1]

    def few(self, demand: Demand, eligible: Sequence[Unit]) -> Sequence[Unit] | None:
        """The units that a request is limited to, where they are few; else None."""
        if demand.subset is None or len(eligible) > _FEW_RATIO * len(self.units):
            return None
        return eligible

    def admit(self, demand: Demand) -> tuple[Demand, Sequence[Unit]]:
        """The units for a request, and the request less the caution that would leave none.

        Better one that may be out of reach than none, and better that than one that stalls.
        """
        eligible = self.eligible(demand)
        if not eligible and demand.avoided:
            demand = msgspec.structs.replace(demand, avoided=_NOBODY)
            eligible = self.eligible(demand)
        if not eligible and demand.stalled:
            demand = msgspec.structs.replace(demand, stalled=_NOBODY)
            eligible = self.eligible(demand)
        return demand, eligible

    def requests_per_second(self) -> float:
        """What its healthy units carry at their operating points."""
        return sum(len(it.units) * it.capacity_requests_per_second for it in self.groups)

    def inside(self, subset: Iterable[str]) -> list[Unit]:
        """Healthy units whose address or host is named, looked up name by name."""
        if self._places is None:
            places: dict[str, list[int]] = {}
            self._places = places
            for position, unit in enumerate(self.units):
                host = unit.address.rpartition(":")[0]
                for name in {unit.address, host, host.strip("[]")}:
                    places.setdefault(name, []).append(position)
        found = {position for name in subset for position in self._places.get(name, ())}
        return [unit for unit in map(self.units.__getitem__, sorted(found)) if unit.healthy]


def _alike(one: Demand, other: Demand) -> bool:
    """Whether two requests may go to the same replicas."""
    return (
        one.subset == other.subset
        and one.stalled == other.stalled
        and one.avoided == other.avoided
        and one.refused == other.refused
    )
