"""Control arms by name. Arms are named POLICY+CONTROL, as in `queue-kv+knee-clock`.

The static ones are the yardsticks: what an operator sets once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from capper.decide.placement import PlacementPolicy
from capper.decide.policy import Rung
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.capper_carbon import DEEP, CarbonLoop, ConstantCapLoop
from loadtest.simulator.capper_clocks import Both, ClockLoop
from loadtest.simulator.capper_cooling import CoolingLoop
from loadtest.simulator.capper_loop import (
    CapperLoop,
    original_rule,
    oversubscribed,
    sleeping_ladder,
    with_rungs,
)
from loadtest.simulator.capper_placement import PlacedReplicas
from loadtest.simulator.control import (
    Action,
    Controller,
    ControlView,
    ReplicaView,
    SetClock,
    SetPowerLimit,
    Sleep,
    Wake,
)
from loadtest.simulator.together import GENTLE_CARBON, Together

NO_CONTROL = "none"
# Of a fleet without a cap: an operator's usual round figure (Splitwise sees no effect on decodes).
_UNCAPPED_LIMIT_RATIO = 0.7
_BISECTIONS = 30


class MaxClock:
    """Locks every replica at its full clock: what a board with a CUDA context does anyway."""

    def decide(self, view: ControlView) -> Iterable[Action]:
        """The same every time."""
        return [SetClock(one.address, one.max_clock_hertz) for one in view.replicas]


class KneeClock:
    """Locks every replica at the knee of its clock model."""

    def decide(self, view: ControlView) -> Iterable[Action]:
        """The same every time."""
        return [SetClock(one.address, one.knee_clock_hertz) for one in view.replicas]


class NvmlCap:
    """Power limits that together keep the caps, dealt by what each replica draws at most.

    Boards that can go no lower keep their lowest limit and the others get less for it; a cap below
    all of these together is not kept by limits. Without any cap every limit is 70 % of the full
    power. It looks at no measurement.
    """

    def decide(self, view: ControlView) -> Iterable[Action]:
        """Limits for the caps in force: the lower of what the fleet's and the rack's allow."""
        capped = view.cap_watts is not None or any(rack.cap_watts for rack in view.racks)
        uncapped_ratio = 1.0 if capped else _UNCAPPED_LIMIT_RATIO
        limits = {one.address: uncapped_ratio * one.full_watts for one in view.replicas}
        for cap_watts, members in _capped(view):
            ratio = _ratio_within(cap_watts, members)
            for one in members:
                watts = max(one.lowest_limit_watts, ratio * one.full_watts)
                limits[one.address] = min(limits[one.address], watts)
        return [SetPowerLimit(address, watts) for address, watts in limits.items()]


@dataclass(slots=True)
class SleepUnneeded:
    """Sleeps what the router's plan leaves out, wakes one as soon as the plan has none to spare.

    A yardstick for loops that act on replicas: it keeps `spare` unneeded replicas awake, and waits
    `dwell_seconds` before it lets one go.

    Attributes:
        spare: Unneeded replicas that stay awake for a burst.
        dwell_seconds: How long a replica must have been unneeded.
    """

    spare: int = 1
    dwell_seconds: float = 30.0
    _unneeded_since: dict[str, float] | None = None

    def decide(self, view: ControlView) -> Iterable[Action]:
        """At most one order a period."""
        before = self._unneeded_since or {}
        since = {one: before.get(one, view.now_seconds) for one in sorted(view.unneeded)}
        self._unneeded_since = since
        resting = [one.address for one in view.replicas if one.state is ReplicaState.ASLEEP]
        coming = any(one.state is ReplicaState.WAKING for one in view.replicas)
        if len(since) < self.spare and resting and not coming:
            return [Wake(resting[0])]
        ripe = [one for one, at in since.items() if view.now_seconds - at >= self.dwell_seconds]
        return [Sleep(ripe[-1])] if ripe and len(since) > self.spare else []


TIMER_SECONDS = (5, 15, 30, 60, 120)
"""Periods of decision that are compared."""

_TIMED: dict[str, Callable[[float], Controller]] = {
    "capper": sleeping_ladder,
    "eighty-ninety-five": original_rule,
}

CONTROLLERS: dict[str, Callable[[], Controller]] = {
    "max-clock": MaxClock,
    "knee-clock": KneeClock,
    "nvml-cap": NvmlCap,
    "sleep-unneeded": SleepUnneeded,
    "eighty-ninety-five": original_rule,
    "capper": sleeping_ladder,
    "capper-pods": CapperLoop,
    "capper-prices": lambda: with_rungs(Rung.PRICE),
    "capper-clocks": lambda: with_rungs(Rung.CLOCKS),
    "capper-limits": lambda: with_rungs(Rung.LIMITS),
    "capper-replicas": lambda: with_rungs(Rung.REPLICAS),
    "clock-loop": ClockLoop,
    "clock-loop+replicas": lambda: Both(ClockLoop(), SleepUnneeded()),
    "carbon": CarbonLoop,
    "carbon-deep": partial(CarbonLoop, DEEP),
    "carbon-constant": ConstantCapLoop,
    "capper-brake": lambda: with_rungs(Rung.BRAKE),
    "carbon-gentle": lambda: CarbonLoop(GENTLE_CARBON),
    "cooling": CoolingLoop,
    **{
        f"sleep-{policy.value.lower()}": partial(PlacedReplicas, policy)
        for policy in PlacementPolicy
    },
    **{
        # A pod takes minutes to come: more are kept, for longer.
        f"stop-{policy.value.lower()}": partial(
            PlacedReplicas, policy, stops=True, spare=3, dwell_seconds=120.0
        )
        for policy in PlacementPolicy
    },
    "together": Together,
    "polca": lambda: oversubscribed(in_band=False),
    "polca-in-band": lambda: oversubscribed(in_band=True),
    **{
        f"{name}-{seconds}s": partial(loop, float(seconds))
        for name, loop in _TIMED.items()
        for seconds in TIMER_SECONDS
    },
}
"""Makes a controller for one run; `none` is the absence of one."""

WHAT: dict[str, str] = {
    "max-clock": "clocks locked at their maximum",
    "knee-clock": "clocks locked at the knee",
    "nvml-cap": "static power limits",
    "sleep-unneeded": "replicas outside the plan sleep",
    "eighty-ninety-five": "the original bands at 80 and 95 % of the cap, growth of replicas only",
    "capper": "prices, power limits, replica bounds and the brake under the cap; replicas sleep",
    "capper-pods": "the same; replicas are pods that end and start",
    "capper-prices": "prices alone under the cap",
    "capper-clocks": "clocks alone under the cap",
    "capper-limits": "dealt power limits alone under the cap",
    "capper-replicas": "replica bounds alone under the cap",
    "clock-loop": "clocks of the fewest joules per token that carry the load",
    "clock-loop+replicas": "the same, and replicas outside the plan sleep",
    "carbon": "clocks under a cap by the rank of the hour's carbon intensity",
    "carbon-deep": "clocks as low as they go in the dirtier half of the day, free in the other",
    "carbon-constant": "clocks under the mean of the four caps",
    "capper-brake": "refuses requests under the cap, as the only rung",
    "carbon-gentle": "clocks under caps by the hour's carbon that the load fits under",
    "cooling": "the warmest supply air that every inlet allows",
    **{
        f"{order}-{policy.value.lower()}": f"what the plan leaves over {order}s, by {policy.value}"
        for order in ("sleep", "stop")
        for policy in PlacementPolicy
    },
    "together": "the ladder, the clock loop, carbon's caps, sleep by minHR and cooling at once",
    "polca": "the upper clock threshold and a brake at the cap, clocks set out of band",
    "polca-in-band": "the same, clocks set by an agent on the host",
    **{
        f"{name}-{seconds}s": f"{name} that decides every {seconds} s"
        for name in _TIMED
        for seconds in TIMER_SECONDS
    },
}
"""What each does, for people."""


def _capped(view: ControlView) -> Iterator[tuple[float, Sequence[ReplicaView]]]:
    """Every cap with the replicas under it."""
    if view.cap_watts is not None:
        yield view.cap_watts, view.replicas
    for rack in view.racks:
        if rack.cap_watts is not None:
            yield rack.cap_watts, [one for one in view.replicas if one.rack == rack.name]


def _ratio_within(cap_watts: float, members: Sequence[ReplicaView]) -> float:
    """The largest share of full power, 0..1, at which limits add up to no more than the cap."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        total = sum(max(one.lowest_limit_watts, middle * one.full_watts) for one in members)
        low, high = (middle, high) if total <= cap_watts else (low, middle)
    return low
