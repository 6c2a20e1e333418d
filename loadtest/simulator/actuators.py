"""How long actions take, and how finely hardware can be set. All of it is assumed and declared.

facts: locking clocks through NVML takes 50-200 ms and starting a replica 60-300 s (assumptions of
the benchmark's design); how long a sleeping engine takes to wake was not found.
"""

from dataclasses import dataclass

from loadtest.gpu_sensor import keyed_uniform

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActuatorModel:
    """Delays, each drawn uniformly from its range for every action.

    Attributes:
        clock_seconds: Until a clock lock or a power limit holds.
        start_seconds: From the order to start a replica until it serves.
        wake_seconds: From the order to wake one until it serves.
        drain_seconds: How long a replica that is to sleep or stop at least stays, so that the
            router's telemetry has seen that it is leaving; longer while requests are on it.
        stopped_boards_powered: Whether the board of a stopped replica draws its bare idle power;
            else its host is off and it draws nothing.
        clock_step_hertz: Clocks are set to multiples of it.
    """

    clock_seconds: Range = (0.05, 0.2)
    start_seconds: Range = (60.0, 300.0)
    wake_seconds: Range = (5.0, 15.0)
    drain_seconds: float = 3.0
    stopped_boards_powered: bool = True
    clock_step_hertz: float = 15e6

    def __post_init__(self) -> None:
        """Refuse what no actuator could be.

        Raises:
            ValueError: A range that is negative or not in order; another field below its least.
        """
        for name in ("clock_seconds", "start_seconds", "wake_seconds"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high:
                raise ValueError(
                    f"{name} is {[low, high]}, it must be two seconds, 0 <= low <= high"
                )
        if self.drain_seconds < 0.0 or self.clock_step_hertz <= 0.0:
            raise ValueError("drain_seconds must be 0 or more and clock_step_hertz above 0")


def drawn_seconds(within: Range, *, key: str) -> float:
    """A delay from the range that depends on the key alone."""
    low, high = within
    return low + (high - low) * keyed_uniform(key)
