"""Power caps over time, and how far they were exceeded. Pure."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_FULL_SECOND = 1.0 - 1e-9
_ROUNDING_WATTS = 1e-6


@dataclass(frozen=True, slots=True)
class CapSteps:
    """A cap that changes at given times.

    Attributes:
        steps: (seconds, watts) in order of time; the first holds before its time as well.
    """

    steps: tuple[tuple[float, float], ...]

    def at(self, now_seconds: float) -> float:
        """Watts in force."""
        watts = self.steps[0][1]
        for start_seconds, step_watts in self.steps:
            if start_seconds > now_seconds:
                break
            watts = step_watts
        return watts


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """All caps of a scenario.

    Attributes:
        fleet: Of all boards together, or None.
        racks: Of the boards in a rack, by its name.
    """

    fleet: CapSteps | None = None
    racks: Mapping[str, CapSteps] = field(default_factory=lambda: MappingProxyType({}))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.fleet is not None or bool(self.racks)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapAccount:
    """Exact board power against a cap, in the measured window.

    Attributes:
        seconds_over: Time in which the mean of the last full second was above the cap. A second is
            full once it lies after the last cut: power that was drawn before is no violation.
        joules_over: Energy above it, by means of 100 ms.
        max_overshoot_1s_watts: The worst such second; 0 when the cap was kept.
        max_overshoot_100ms_watts: The worst mean of 100 ms.
        longest_over_seconds: Longest stretch of 100 ms means above it: the settling time of a cut.
    """

    seconds_over: float
    joules_over: float
    max_overshoot_1s_watts: float
    max_overshoot_100ms_watts: float
    longest_over_seconds: float


class CapMeter:
    """Compares one cap with the energy of each tick."""

    __slots__ = (
        "_cap_watts",
        "_joules_over",
        "_longest_seconds",
        "_second",
        "_seconds_over",
        "_steps",
        "_stretch_seconds",
        "_worst_second_watts",
        "_worst_tick_watts",
    )

    def __init__(self, steps: CapSteps) -> None:
        """Nothing drawn yet."""
        self._steps = steps
        self._cap_watts = steps.steps[0][1]
        self._second: deque[tuple[float, float]] = deque()  # ticks: seconds, joules
        self._seconds_over = 0.0
        self._joules_over = 0.0
        self._worst_second_watts = 0.0
        self._worst_tick_watts = 0.0
        self._stretch_seconds = 0.0
        self._longest_seconds = 0.0

    def add(self, *, start_seconds: float, seconds: float, joules: float) -> None:
        """A tick of 100 ms or less from `start_seconds` on took `joules`."""
        cap_watts = self._steps.at(start_seconds + 1e-9)
        if cap_watts < self._cap_watts:
            self._second.clear()
        self._cap_watts = cap_watts
        over_watts = joules / seconds - cap_watts
        if over_watts > _ROUNDING_WATTS:
            self._joules_over += over_watts * seconds
            self._stretch_seconds += seconds
            self._longest_seconds = max(self._longest_seconds, self._stretch_seconds)
            self._worst_tick_watts = max(self._worst_tick_watts, over_watts)
        else:
            self._stretch_seconds = 0.0
        self._judge_second(seconds, joules)

    def account(self) -> CapAccount:
        """What it came to."""
        return CapAccount(
            seconds_over=self._seconds_over,
            joules_over=self._joules_over,
            max_overshoot_1s_watts=self._worst_second_watts,
            max_overshoot_100ms_watts=self._worst_tick_watts,
            longest_over_seconds=self._longest_seconds,
        )

    def _judge_second(self, seconds: float, joules: float) -> None:
        second = self._second
        second.append((seconds, joules))
        length_seconds = sum(tick[0] for tick in second)
        while length_seconds - second[0][0] >= _FULL_SECOND:
            length_seconds -= second.popleft()[0]
        if length_seconds < _FULL_SECOND:
            return
        over_watts = sum(tick[1] for tick in second) / length_seconds - self._cap_watts
        if over_watts > _ROUNDING_WATTS:
            self._seconds_over += seconds
            self._worst_second_watts = max(self._worst_second_watts, over_watts)
