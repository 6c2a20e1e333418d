"""How a snapshot comes into the decision: in short steps, so that requests need not wait. Pure."""

from collections.abc import Iterator

from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from router.decide.affinity import Affinity
from router.decide.fallbacks import Fallbacks
from router.decide.foreign_load import ForeignLoad
from router.decide.learning import Learner
from router.decide.roster import Roster
from router.decide.settings import DecideSettings
from router.decide.stalls import Stalls
from router.decide.workload import Workload


class Intake:
    """Hands snapshots to everything that learns from them, in the order in which that must be."""

    __slots__ = (
        "_affinity",
        "_fallbacks",
        "_learner",
        "_others",
        "_roster",
        "_settings",
        "_stalls",
        "_workload",
    )

    def __init__(
        self,
        settings: DecideSettings,
        *,
        roster: Roster,
        stalls: Stalls,
        workload: Workload,
        learner: Learner,
        affinity: Affinity,
        others: ForeignLoad,
        fallbacks: Fallbacks,
    ) -> None:
        """Hand them to these."""
        self._settings = settings
        self._roster = roster
        self._stalls = stalls
        self._workload = workload
        self._learner = learner
        self._affinity = affinity
        self._others = others
        self._fallbacks = fallbacks

    def steps(
        self, snapshot: FleetSnapshot, prices: PriceBoard, *, now_seconds: float
    ) -> Iterator[None]:
        """Take one in; between the steps requests may be picked and settled."""
        freshness, roster = self._settings.freshness, self._roster
        yield from self._stalls.observing(snapshot, now_seconds=now_seconds)
        yield from self._workload.observing(snapshot, now_seconds=now_seconds)
        yield from self._learner.observing(snapshot, freshness, now_seconds=now_seconds)
        yield from roster.observing(
            snapshot,
            prices,
            self._learner,
            self._workload.mixes(roster.pools, now_seconds=now_seconds),
            self._stalls.spare,
            now_seconds=now_seconds,
        )
        units = roster.units.values()
        yield from self._affinity.observing(snapshot, units, freshness, now_seconds=now_seconds)
        self._others.observe(roster.pools.values(), now_seconds=now_seconds)
        yield
        yield from self.regroup(now_seconds=now_seconds)

    def regroup(self, *, now_seconds: float) -> Iterator[None]:
        """Operating points anew, a model with every two steps."""
        self._fallbacks.forget()
        mixes = self._workload.mixes(self._roster.pools, now_seconds=now_seconds)
        for model, mix in mixes.items():
            yield from self._roster.regrouping(model, mix, self._stalls.spare)
            yield
        self._roster.regather()
