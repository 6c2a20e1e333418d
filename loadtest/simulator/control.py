"""How a control loop is plugged in: what it is shown, what it may order.

Once a control period the simulation makes a `ControlView` and applies the actions that the
controller returns, each after its actuator's delay. The view holds what a real capper would have:
measurements through sensors, scrapes and their delays (`snapshot` is the very one that the router
decided on), what was declared of the hardware, and the router's own plan. Nothing in it is the
simulator's truth, but carbon intensity and replica states, whose sources are slow things that are
known well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

from fleet.price import PriceBoard
from fleet.profile import Profile
from fleet.snapshot import FleetSnapshot
from fleet.thermal import ThermalModel
from loadtest.simulator.boards import ReplicaState
from router.decide.commitment import Commitment


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One replica as control sees it. Watts are those of all its boards together.

    Attributes:
        address: Its identity.
        backend: Which one owns it.
        rack: Its power domain.
        models: What it serves.
        state: Where it is in its life.
        committed: Whether the router's plan wants it for any model.
        power_watts: As measured; None when there is no fresh reading.
        power_seconds: When that was measured; None likewise.
        running: As scraped; None when unknown.
        waiting: Likewise.
        clock_hertz: The clock that holds now; under a power limit, the highest of them.
        clock_lock_hertz: As last ordered; None: no lock.
        limit_watts: As last ordered; None: no limit.
        min_clock_hertz: Lowest that can be locked.
        knee_clock_hertz: Below it little more is saved.
        max_clock_hertz: Full clock.
        idle_watts: Declared: ready without requests, at the full clock.
        asleep_watts: Declared: asleep, or stopped on a powered host.
        full_watts: Declared: the most it draws.
        lowest_limit_watts: The lowest power limit it can keep.
    """

    address: str
    backend: str
    rack: str
    models: tuple[str, ...]
    state: ReplicaState
    committed: bool
    power_watts: float | None
    power_seconds: float | None
    running: float | None
    waiting: float | None
    clock_hertz: float
    clock_lock_hertz: float | None
    limit_watts: float | None
    min_clock_hertz: float
    knee_clock_hertz: float
    max_clock_hertz: float
    idle_watts: float
    asleep_watts: float
    full_watts: float
    lowest_limit_watts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RackView:
    """One rack.

    Attributes:
        name: Of the power domain.
        power_watts: Sum of its replicas' readings; None unless all are fresh.
        coverage_ratio: Share of its replicas with a fresh reading.
        cap_watts: In force; None: no cap.
        inlet_celsius: Air at its inlet, as its sensor tells; None: no thermal model was declared.
        outlet_celsius: Air at its outlet, likewise.
    """

    name: str
    power_watts: float | None
    coverage_ratio: float
    cap_watts: float | None
    inlet_celsius: float | None
    outlet_celsius: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomView:
    """What was declared of the room.

    Attributes:
        thermal: Its recirculation; faults are not in it.
        redline_celsius: Highest inlet.
        recommended_celsius: Inlet that the cooling aims at, at most the redline.
        lowest_supply_celsius: What the plant can make.
        highest_supply_celsius: What it may make.
    """

    thermal: ThermalModel
    redline_celsius: float
    recommended_celsius: float
    lowest_supply_celsius: float
    highest_supply_celsius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlView:
    """All that a control loop may look at.

    Attributes:
        now_seconds: Monotonic time.
        snapshot: The newest that was published; None before the first.
        replicas: All of them, in the order of the fleet.
        racks: Every power domain.
        power_watts: Of the fleet; None unless all readings are fresh.
        coverage_ratio: Share of all replicas with a fresh reading.
        cap_watts: Of the fleet, in force; None: no cap.
        supply_celsius: Of the cooling air; None: no thermal model.
        carbon_grams_per_kilowatt_hour: Of the grid now; None: no series was declared.
        carbon_interval_seconds: Length of an interval of the series; None likewise.
        carbon_forecast: Of the coming intervals of the series, the present one first.
        requests_per_second: The router's estimate of each model's load.
        commitments: The router's plan for each model.
        unneeded: Ready replicas that no model's plan wants: they may sleep.
        prices: The board in force.
        packed_tokens_per_joule: Of a replica filled to the objective, as the router believes, by
            backend.
        room: None: no thermal model was declared.
        compression_ratio: Seconds of the day in a second, see `loadtest.simulator.compression`.
    """

    now_seconds: float
    snapshot: FleetSnapshot | None
    replicas: tuple[ReplicaView, ...]
    racks: tuple[RackView, ...]
    power_watts: float | None
    coverage_ratio: float
    cap_watts: float | None
    supply_celsius: float | None
    carbon_grams_per_kilowatt_hour: float | None
    carbon_interval_seconds: float | None
    carbon_forecast: tuple[float, ...]
    requests_per_second: Mapping[str, float]
    commitments: Mapping[str, Commitment]
    unneeded: frozenset[str]
    prices: PriceBoard
    packed_tokens_per_joule: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({})
    )
    room: RoomView | None = None
    compression_ratio: float = 1.0


class SetClock(NamedTuple):
    """Lock the SM clock; None takes the lock away. It is rounded down and kept within range."""

    address: str
    clock_hertz: float | None


class SetPowerLimit(NamedTuple):
    """Limit the watts of a replica's boards together; None takes the limit away.

    A limit below the lowest that the board can keep becomes that one.
    """

    address: str
    limit_watts: float | None


class Sleep(NamedTuple):
    """Drain a ready replica and offload its weights."""

    address: str


class Wake(NamedTuple):
    """Wake a replica that is asleep, or keep one that is draining."""

    address: str


class Stop(NamedTuple):
    """Drain a ready replica and end it; one that is asleep ends at once."""

    address: str


class Start(NamedTuple):
    """Start a replica that is stopped, or keep one that is draining."""

    address: str


class SetProfiles(NamedTuple):
    """Tell the router what its backends are now, as when their clocks were changed.

    It has them with its next snapshot, as after a reload of the fleet; what it learned stays, in
    ratios to the profile.
    """

    profiles: Mapping[str, Profile]


class SetPrices(NamedTuple):
    """Publish a board of prices and shedding domains; the router has it with its next snapshot."""

    board: PriceBoard


class SetSupply(NamedTuple):
    """Order a temperature of the cooling air; the plant keeps within what it can make."""

    celsius: float


Action = (
    SetClock | SetPowerLimit | Sleep | Wake | Stop | Start | SetProfiles | SetPrices | SetSupply
)


class Controller(Protocol):
    """A control loop. It may keep state; it is asked once a period, in order of time."""

    def decide(self, view: ControlView) -> Iterable[Action]:
        """What to do now. Orders that change nothing are free."""
        ...
