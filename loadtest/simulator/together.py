"""All actuators at once, as a site would run them, from loops that know nothing of each other.

The ladder keeps the caps, those of carbon among them; the clock loop looks for the fewest joules
per token; the router's plan says how many replicas are wanted and placement which; the cooling
follows the racks. Where two have a say the cautious one wins: the lower clock, and of replicas
min(demand, cap) as in the external scaler.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

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
    ReplicaView,
    SetClock,
    SetPowerLimit,
    SetProfiles,
    Sleep,
    Wake,
)

GENTLE_CARBON = CarbonPlan(low_ratio=0.4, high_ratio=0.6)
"""Caps that the load of dirty hours fits under: below that the ladder would take replicas."""


Setting = tuple[float | None, float | None]
"""Clock in hertz and power limit in watts of a backend's replicas; None: none."""

# What several loops order and is put together here; all else goes on as it is.
_MERGED = SetClock | SetPowerLimit | SetProfiles | Sleep | Wake


class Together:
    """The production ladder with every other loop beside it.

    Attributes:
        ladder: Keeps the caps.
    """

    def __init__(self, *, policy: PlacementPolicy = PlacementPolicy.MIN_HR) -> None:
        """Nothing seen yet; new replicas come by `policy`."""
        self._policy = policy
        self.ladder = sleeping_ladder()
        self._clocks = ClockLoop()
        self._carbon = CarbonLoop(GENTLE_CARBON)
        self._replicas = PlacedReplicas(policy)
        self._cooling = CoolingLoop()
        self._profiles: dict[str, Profile] = {}
        self._ceilings: dict[str, float] = {}
        self._wishes: dict[str, float] = {}
        self._limits: dict[str, float] = {}
        self._locked: dict[str, Setting] = {}

    def decide(self, view: ControlView) -> Iterable[Action]:
        """One turn of all loops."""
        if not self._profiles and view.snapshot is not None:
            # The loops change them later; those of the first snapshot are at full clock.
            self._profiles = {one.name: one.profile for one in view.snapshot.fleet.backends}
        ladder = self.ladder.turn(view, self._carbon.caps(view))
        clocks = list(self._clocks.decide(view))
        return [
            *(one for one in ladder if not isinstance(one, _MERGED)),
            *self._locks(view, ladder, clocks),
            *self._lives(view, ladder),
            *self._cooling.decide(view),
        ]

    def _locks(
        self, view: ControlView, ladder: Iterable[Action], clocks: Iterable[Action]
    ) -> Iterator[Action]:
        """The lower of the cap's clock and the one of the fewest joules under the cap's limits."""
        for order in ladder:
            if isinstance(order, SetClock):
                _take(self._ceilings, order.address, order.clock_hertz)
            elif isinstance(order, SetPowerLimit):
                _take(self._limits, order.address, order.limit_watts)
        for order in clocks:
            # It knows of no limits, and those that it takes away are not its own.
            if isinstance(order, SetClock):
                _take(self._wishes, order.address, order.clock_hertz)
        for backend, members in by_backend(view.replicas).items():
            addresses = [one.address for one in members]
            hertz = lowest(addresses, self._ceilings, self._wishes)
            limit_watts = lowest(addresses, self._limits)
            if (hertz, limit_watts) != self._locked.get(backend, (None, None)):
                self._locked[backend] = (hertz, limit_watts)
                profile = self._profiles.get(backend)
                yield from lock(members, hertz, profile, limit_watts=limit_watts)

    def _lives(self, view: ControlView, ladder: Iterable[Action]) -> Iterator[Action]:
        """Whatever the caps take goes; what the plan wants comes as far as the caps let it."""
        forced = [one for one in ladder if isinstance(one, Sleep)]
        if forced:
            yield from forced
            return
        allowed = {one.address for one in ladder if isinstance(one, Wake)}
        for order in self._replicas.decide(view):
            if isinstance(order, Wake):
                # Any of its backend will do: the caps say how many, placement which.
                yield from admitted(wake_order(view, self._policy), allowed)
            else:
                yield order


def lowest(addresses: Iterable[str], *locks: Mapping[str, float]) -> float | None:
    """The lowest that any loop asks of any of the replicas; None: none asks."""
    known = [one[address] for address in addresses for one in locks if address in one]
    return min(known, default=None)


def admitted(order: Sequence[ReplicaView], allowed: Collection[str]) -> list[Wake]:
    """The first in the order whose backend may grow: at most one.

    Args:
        order: Replicas that could come, the first wish first.
        allowed: Addresses that the caps would let come, any of a backend for any other.
    """
    backends = {one.backend for one in order if one.address in allowed}
    coming = next((one for one in order if one.backend in backends), None)
    return [] if coming is None else [Wake(coming.address)]


def _take(kept: dict[str, float], address: str, value: float | None) -> None:
    """Keep the newest order for a replica; one that is taken away is forgotten."""
    if value is None:
        kept.pop(address, None)
    else:
        kept[address] = value
