"""The board under an engine: its physics, its meter, and whether it is awake. Pure."""

from loadtest.energy_meter import Energy, EnergyMeter
from loadtest.truth import Truth


class EngineBoard:
    """What draws power and can be slowed down, put to sleep and woken.

    Attributes:
        truth: Physics of the board, at its present clock and power limit.
    """

    __slots__ = ("_asleep", "_meter", "truth")

    def __init__(self, truth: Truth, *, now_seconds: float) -> None:
        """Awake and idle."""
        self.truth = truth
        self._meter = EnergyMeter(floor_watts=truth.idle_watts, now_seconds=now_seconds)
        self._asleep = False

    @property
    def asleep(self) -> bool:
        """Whether the weights are offloaded."""
        return self._asleep

    def energy(self, now_seconds: float) -> Energy:
        """Joules and busy seconds up to now, the running step pro rata."""
        return self._meter.read(now_seconds)

    def power_watts(self, now_seconds: float) -> float:
        """Board power at this moment."""
        return self._meter.watts(now_seconds)

    def wake(self, *, now_seconds: float) -> None:
        """Serve again, from this moment."""
        self._asleep = False
        self._meter.set_floor(self.truth.idle_watts, now_seconds=now_seconds)

    def draw(self, watts: float, *, now_seconds: float) -> None:
        """A board that is asleep draws this from now on: it is off, or its engine is waking up."""
        assert self._asleep, "a board that serves draws what its physics say"
        self._meter.set_floor(watts, now_seconds=now_seconds)

    def change_truth(self, truth: Truth, *, now_seconds: float) -> None:
        """The clock or the power limit was set: other times and watts from the next step on.

        A step under way keeps its length and its energy, so that nothing that was planned changes.

        Args:
            truth: This replica's physics at the new setting.
            now_seconds: The idle watts change at this moment.
        """
        self.truth = truth
        if not self._asleep:
            self._meter.set_floor(truth.idle_watts, now_seconds=now_seconds)

    def _fall_asleep(self, *, now_seconds: float) -> None:
        self._asleep = True
        self._meter.set_floor(self.truth.asleep_watts, now_seconds=now_seconds)
