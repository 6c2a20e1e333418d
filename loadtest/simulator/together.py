"""All actuators at once, as a site would run them, from loops that know nothing of each other.

The ladder keeps the caps, those of carbon among them; the clock loop looks for the fewest joules
per token; the router's plan says how many replicas are wanted and placement which; the cooling
follows the racks. Where two have a say the cautious one wins: the lower clock, and of replicas
min(demand, cap) as in the external scaler.
"""

from collections.abc import Iterable, Iterator

from capper.decide.placement import PlacementPolicy
from fleet.profile import Profile
from loadtest.simulator.capper_carbon import CarbonLoop, CarbonPlan
from loadtest.simulator.capper_clocks import ClockLoop
from loadtest.simulator.capper_cooling import CoolingLoop
from loadtest.simulator.capper_loop import sleeping_ladder
from loadtest.simulator.capper_orders import lock
from loadtest.simulator.capper_placement import PlacedReplicas, wake_order
from loadtest.simulator.capper_view import by_backend
from loadtest.simulator.control import (
    Action,
    ControlView,
    SetClock,
    SetProfiles,
    Sleep,
    Wake,
)

GENTLE_CARBON = CarbonPlan(low_ratio=0.4, high_ratio=0.6)
"""Caps that the load of dirty hours fits under: below that the ladder would take replicas."""


class Together:
    """The production ladder with every other loop beside it."""

    def __init__(self, *, policy: PlacementPolicy = PlacementPolicy.MIN_HR) -> None:
        """Nothing seen yet; new replicas come by `policy`."""
        self._policy = policy
        self._ladder = sleeping_ladder()
        self._clocks = ClockLoop()
        self._carbon = CarbonLoop(GENTLE_CARBON)
        self._replicas = PlacedReplicas(policy)
        self._cooling = CoolingLoop()
        self._profiles: dict[str, Profile] = {}
        self._ceilings: dict[str, float] = {}
        self._wishes: dict[str, float] = {}
        self._locked: dict[str, float | None] = {}

    def decide(self, view: ControlView) -> Iterable[Action]:
        """One turn of all loops."""
        if not self._profiles and view.snapshot is not None:
            # The loops change them later; those of the first snapshot are at full clock.
            self._profiles = {one.name: one.profile for one in view.snapshot.fleet.backends}
        ladder = self._ladder.turn(view, self._carbon.caps(view))
        clocks = list(self._clocks.decide(view))
        return [
            *(one for one in ladder if not isinstance(one, SetClock | SetProfiles | Sleep | Wake)),
            *self._locks(view, ladder, clocks),
            *self._lives(view, ladder),
            *self._cooling.decide(view),
        ]

    def _locks(
        self, view: ControlView, ladder: Iterable[Action], clocks: Iterable[Action]
    ) -> Iterator[Action]:
        """The lower of the cap's clock and the one of the fewest joules, where it changed."""
        _take(self._ceilings, ladder)
        _take(self._wishes, clocks)
        for backend, members in by_backend(view.replicas).items():
            known = [
                hertz[one.address]
                for hertz in (self._ceilings, self._wishes)
                for one in members
                if one.address in hertz
            ]
            wanted = min(known, default=None)
            if wanted != self._locked.get(backend):
                self._locked[backend] = wanted
                yield from lock(members, wanted, self._profiles.get(backend))

    def _lives(self, view: ControlView, ladder: Iterable[Action]) -> Iterator[Action]:
        """Whatever the caps take goes; what the plan wants comes as far as the caps let it."""
        forced = [one for one in ladder if isinstance(one, Sleep)]
        allowed = {one.address for one in ladder if isinstance(one, Wake)}
        if forced:
            yield from forced
            return
        backends = {one.backend for one in view.replicas if one.address in allowed}
        for order in self._replicas.decide(view):
            if not isinstance(order, Wake):
                yield order
                continue
            # Any of its backend will do: the caps say how many, placement which.
            coming = next(
                (one for one in wake_order(view, self._policy) if one.backend in backends), None
            )
            if coming is not None:
                yield Wake(coming.address)


def _take(locks: dict[str, float], orders: Iterable[Action]) -> None:
    """Keep the newest lock of each replica; a lock that is taken away is forgotten."""
    for order in orders:
        if isinstance(order, SetClock):
            if order.clock_hertz is None:
                locks.pop(order.address, None)
            else:
                locks[order.address] = order.clock_hertz
