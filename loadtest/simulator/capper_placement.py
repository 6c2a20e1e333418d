"""Which replicas go and come, by the rack that they are in: `capper.decide.placement` ranks racks.

How many are awake follows the router's plan, as an autoscaler would; which of them is the choice of
racks: a new one comes where the policy ranks best, and the first to go is one of the worst rack,
whether or not the router uses it just then (pod deletion costs do the same).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from capper.decide.observation import Sample
from capper.decide.placement import PlacementPolicy, rank
from capper.decide.rack_room import PlacementRules, Rack
from fleet.physics import step_dynamic_joules
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.control import (
    Action,
    ControlView,
    RackView,
    ReplicaView,
    Sleep,
    Start,
    Stop,
    Wake,
)

# At which backends are compared: a usual batch of chat, in requests and resident tokens each.
_BATCH = 32.0
_RESIDENT_TOKENS = 1000.0
# Racks are asked for a watt when one is to be emptied: it is their order that counts.
_TOKEN_WATTS = 1.0
_RESTING = frozenset({ReplicaState.ASLEEP, ReplicaState.STOPPED})
_COMING = frozenset({ReplicaState.WAKING, ReplicaState.STARTING})
_WITHOUT_PROCESS = frozenset({ReplicaState.STOPPED, ReplicaState.STARTING})
# A plant that cools no more than it must holds the hottest rack at the redline; what sensors are
# off by must not make that one too hot for anything.
_TOLERANCE_KELVIN = 1.0


@dataclass(slots=True)
class PlacedReplicas:
    """Sleeps what the plan leaves over and wakes what it lacks, by rack.

    Attributes:
        policy: How racks are ranked; `headroom` spreads watts evenly.
        stops: Replicas are pods that end and start, in minutes; else engines that sleep and wake.
        spare: Replicas beside the plan's that stay awake for a burst.
        dwell_seconds: How long more than these must have been left over before one goes.
        pause_seconds: Between two that go: the plan has to be seen again first.
    """

    policy: PlacementPolicy
    stops: bool = False
    spare: int = 1
    dwell_seconds: float = 30.0
    pause_seconds: float = 5.0
    _surplus_since: float | None = None
    _gone_seconds: float | None = None

    def decide(self, view: ControlView) -> Iterable[Action]:
        """At most one order a period."""
        surplus = len(view.unneeded) - self.spare
        if surplus <= 0:
            self._surplus_since = None
            return self._wake(view) if surplus < 0 else []
        if self._surplus_since is None:
            self._surplus_since = view.now_seconds
        paused = (
            self._gone_seconds is not None
            and view.now_seconds - self._gone_seconds < self.pause_seconds
        )
        if paused or view.now_seconds - self._surplus_since < self.dwell_seconds:
            return []
        leaving = first_to_go(view, self.policy)
        if leaving is None:
            return []
        self._gone_seconds = view.now_seconds
        return [Stop(leaving.address) if self.stops else Sleep(leaving.address)]

    def _wake(self, view: ControlView) -> list[Action]:
        if any(one.state in _COMING for one in view.replicas):
            return []
        coming = next(iter(wake_order(view, self.policy)), None)
        if coming is None:
            return []
        return [Start(coming.address) if self.stops else Wake(coming.address)]


def rack_order(view: ControlView, policy: PlacementPolicy, *, replica_watts: float) -> list[str]:
    """All racks, the best for so many more watts first; those without room last, by inlet."""
    racks = [seen_rack(view, one) for one in view.racks]
    room = view.room
    rules = PlacementRules()
    if room is not None:
        rules = PlacementRules(
            redline_celsius=room.redline_celsius,
            min_supply_celsius=room.lowest_supply_celsius,
            max_supply_celsius=room.highest_supply_celsius,
        )
    ranking = rank(
        policy,
        racks,
        {},
        replica_watts=replica_watts,
        model=None if room is None else room.thermal,
        rules=rules,
    )
    inlets = {one.name: one.inlet_celsius or 0.0 for one in view.racks}
    full = sorted(ranking.excluded, key=lambda name: (inlets[name], name))
    return [*(one.rack for one in ranking.choices), *full]


def wake_order(view: ControlView, policy: PlacementPolicy) -> list[ReplicaView]:
    """Replicas that rest, the first to come first: cheapest backend, then best rack."""
    asleep = [one for one in view.replicas if one.state in _RESTING]
    if not asleep:
        return []
    prices = _joules_per_token(view)
    backend = min({one.backend for one in asleep}, key=lambda name: (prices.get(name, 0.0), name))
    watts = next(one.full_watts - one.asleep_watts for one in asleep if one.backend == backend)
    order = rack_order(view, policy, replica_watts=watts)
    return sorted(
        asleep,
        key=lambda one: (prices.get(one.backend, 0.0), one.backend, order.index(one.rack)),
    )


def first_to_go(view: ControlView, policy: PlacementPolicy) -> ReplicaView | None:
    """Of the dearest backend that has a replica left over, one in the worst rack."""
    left_over = {one.backend for one in view.replicas if one.address in view.unneeded}
    if not left_over:
        return None
    prices = _joules_per_token(view)
    backend = max(left_over, key=lambda name: (prices.get(name, 0.0), name))
    order = rack_order(view, policy, replica_watts=_TOKEN_WATTS)
    ready = [
        one for one in view.replicas if one.backend == backend and one.state is ReplicaState.READY
    ]
    return max(ready, key=lambda one: _leaves_first(one, order), default=None)


def _leaves_first(one: ReplicaView, order: Sequence[str]) -> tuple[int, bool, float]:
    busy = (one.running or 0.0) + (one.waiting or 0.0)
    return (order.index(one.rack), not one.committed, -busy)


def seen_rack(view: ControlView, one: RackView) -> Rack:
    """A rack as placement and cooling take it."""
    members = [replica for replica in view.replicas if replica.rack == one.name]
    full_watts = sum(replica.full_watts for replica in members)
    return Rack(
        name=one.name,
        cap_watts=full_watts if one.cap_watts is None else one.cap_watts,
        power=_power(view, members),
        reserved_watts=sum(
            replica.full_watts - replica.idle_watts
            for replica in members
            if replica.state in _COMING
        ),
        inlet=None if one.inlet_celsius is None else Sample(one.inlet_celsius, 0.0),
        outlet=None if one.outlet_celsius is None else Sample(one.outlet_celsius, 0.0),
        max_inlet_celsius=(
            None if view.room is None else view.room.redline_celsius + _TOLERANCE_KELVIN
        ),
    )


def _power(view: ControlView, members: Sequence[ReplicaView]) -> Sample | None:
    """Sum of the boards' readings; boards of ended pods may be off and tell nothing."""
    watts, age_seconds = 0.0, 0.0
    for one in members:
        if one.power_watts is not None and one.power_seconds is not None:
            watts += one.power_watts
            age_seconds = max(age_seconds, view.now_seconds - one.power_seconds)
        elif one.state not in _WITHOUT_PROCESS:
            return None
    return Sample(watts, age_seconds)


def _joules_per_token(view: ControlView) -> dict[str, float]:
    """By backend, of decoding at a usual batch; empty before the first snapshot."""
    if view.snapshot is None:
        return {}
    return {
        one.name: step_dynamic_joules(
            one.profile, batch=_BATCH, kv_tokens=_BATCH * _RESIDENT_TOKENS
        )
        / _BATCH
        for one in view.snapshot.fleet.backends
    }
