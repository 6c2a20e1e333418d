"""Carries out what a controller orders, each after its delay."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from fleet.price import PriceBoard
from fleet.profile import Profile
from loadtest.simulator.actuators import ActuatorModel, drawn_seconds
from loadtest.simulator.boards import SimulatedReplica
from loadtest.simulator.control import (
    Action,
    SetClock,
    SetPowerLimit,
    SetPrices,
    SetProfiles,
    SetSupply,
    Sleep,
    Start,
    Stop,
    Wake,
)
from loadtest.simulator.events import Events
from loadtest.simulator.lifecycle import Lifecycle
from loadtest.truth import Truth

_KEPT_TRUTHS = 512
# A limit is set in whole watts, and a hair above the lowest that can be kept.
_LIMIT_STEP_WATTS = 1.0
_ROUNDING = 1.0 + 1e-9

Setting = tuple[float | None, float | None]
"""Clock lock in hertz and power limit in watts; None: none."""


class Actuation:
    """Clocks, power limits, lives and prices of a fleet.

    Attributes:
        ordered: Address -> the setting that was last ordered.
        prices: The board in force.
        brakes: How often a board began to refuse requests.
        changes: Clock and limit settings that took effect.
    """

    def __init__(
        self,
        replicas: Mapping[str, SimulatedReplica],
        model: ActuatorModel,
        *,
        events: Events,
        lifecycle: Lifecycle,
        on_profiles: Callable[[Mapping[str, Profile]], None],
        on_supply: Callable[[float], None],
        seed: int,
    ) -> None:
        """Nothing is locked or limited.

        Args:
            replicas: By address.
            model: Delays.
            events: Where they pass.
            lifecycle: Sleeps and starts replicas.
            on_profiles: Tells the router of profiles.
            on_supply: Tells the plant of a set-point in degrees Celsius.
            seed: Of delays.
        """
        self._replicas = replicas
        self._model = model
        self._events = events
        self._lifecycle = lifecycle
        self._on_profiles = on_profiles
        self._on_supply = on_supply
        self._seed = seed
        self._truths: OrderedDict[tuple[str, Setting], Truth] = OrderedDict()
        self._orders = 0
        self._busy_until: dict[str, float] = {}
        self.ordered: dict[str, Setting] = dict.fromkeys(replicas, (None, None))
        self.prices = PriceBoard()
        self.brakes = 0
        self.changes = 0

    def apply(self, action: Action) -> None:
        """Begin to carry out an order.

        Raises:
            KeyError: It names no replica.
        """
        if isinstance(action, SetPrices):
            self.brakes += len(_braked(action.board) - _braked(self.prices))
            self.prices = action.board
        elif isinstance(action, SetProfiles):
            self._on_profiles(action.profiles)
        elif isinstance(action, SetSupply):
            self._on_supply(action.celsius)
        elif isinstance(action, SetClock):
            _, limit_watts = self.ordered[action.address]
            clock_hertz = self._clock(action)
            self._order(self._replicas[action.address], (clock_hertz, limit_watts))
        elif isinstance(action, SetPowerLimit):
            clock_hertz, _ = self.ordered[action.address]
            self._order(self._replicas[action.address], (clock_hertz, self._limit(action)))
        else:
            self._live(action)

    def _live(self, action: Sleep | Wake | Stop | Start) -> None:
        if isinstance(action, Sleep):
            self._lifecycle.sleep(action.address)
        elif isinstance(action, Wake):
            self._lifecycle.wake(action.address)
        elif isinstance(action, Stop):
            self._lifecycle.stop(action.address)
        else:
            self._lifecycle.start(action.address)

    def _clock(self, action: SetClock) -> float | None:
        """Rounded down to a step, within the board's range; the full clock is no multiple."""
        if action.clock_hertz is None:
            return None
        truth, step = self._replicas[action.address].full_truth, self._model.clock_step_hertz
        if action.clock_hertz >= truth.max_clock_hz:
            return truth.max_clock_hz
        return max(truth.asleep_clock_hz, action.clock_hertz // step * step)

    def _limit(self, action: SetPowerLimit) -> float | None:
        if action.limit_watts is None:
            return None
        lowest_watts = self._replicas[action.address].full_truth.lowest_limit_watts * _ROUNDING
        return max(lowest_watts, action.limit_watts // _LIMIT_STEP_WATTS * _LIMIT_STEP_WATTS)

    def _order(self, replica: SimulatedReplica, setting: Setting) -> None:
        if setting == self.ordered[replica.address]:
            return
        self.ordered[replica.address] = setting
        self._orders += 1
        key = f"{self._seed}/{replica.address}/setting/{self._orders}"
        due_seconds = self._events.now_seconds + drawn_seconds(self._model.clock_seconds, key=key)
        # A board takes its orders one after the other.
        due_seconds = max(due_seconds, self._busy_until.get(replica.address, 0.0))
        self._busy_until[replica.address] = due_seconds
        self._events.at(due_seconds, self._set, (replica, setting))

    def _set(self, subject: tuple[SimulatedReplica, Setting]) -> None:
        replica, setting = subject
        self.changes += 1
        truth = self._truth(replica, setting)
        replica.engine.change_truth(truth, now_seconds=self._events.now_seconds)

    def _truth(self, replica: SimulatedReplica, setting: Setting) -> Truth:
        """The replica's physics; kept, as making them costs milliseconds."""
        if setting == (None, None):
            return replica.full_truth
        key = (replica.backend, setting)
        truth = self._truths.get(key)
        if truth is None:
            clock_hertz, limit_watts = setting
            full = replica.full_truth
            lock_hertz = full.max_clock_hz if clock_hertz is None else clock_hertz
            truth = self._truths[key] = full.at_clock(lock_hertz, limit_watts=limit_watts)
            if len(self._truths) > _KEPT_TRUTHS:
                self._truths.popitem(last=False)
        else:
            self._truths.move_to_end(key)
        return truth


def _braked(board: PriceBoard) -> frozenset[str]:
    return board.shedding | board.refusing
