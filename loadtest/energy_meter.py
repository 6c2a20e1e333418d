"""The exact energy of one simulated board: the integral of its power, idle time included.

Pure. Power is a floor (idle or asleep watts) that is always drawn, plus what steps draw above it.
The split is the one of DESIGN section 3: *dynamic* joules are those above idle.
"""

from typing import NamedTuple


class Energy(NamedTuple):
    """Joules and busy time since the meter was made.

    Attributes:
        idle_joules: The floor, over all the time, busy or not.
        dynamic_joules: Above the floor, while steps ran.
        busy_seconds: Time in steps.
    """

    idle_joules: float
    dynamic_joules: float
    busy_seconds: float

    @property
    def joules(self) -> float:
        """All of it."""
        return self.idle_joules + self.dynamic_joules


class EnergyMeter:
    """Adds up floor and steps; can be read at any time, also inside a step."""

    __slots__ = (
        "_busy_seconds",
        "_dynamic_joules",
        "_floor_joules",
        "_floor_since_seconds",
        "_floor_watts",
        "_step_end_seconds",
        "_step_start_seconds",
        "_step_watts",
    )

    def __init__(self, *, floor_watts: float, now_seconds: float) -> None:
        self._floor_watts = floor_watts
        self._floor_since_seconds = now_seconds
        self._floor_joules = 0.0
        self._dynamic_joules = 0.0
        self._busy_seconds = 0.0
        self._step_start_seconds = now_seconds
        self._step_end_seconds = now_seconds
        self._step_watts = 0.0  # above the floor

    def set_floor(self, watts: float, *, now_seconds: float) -> None:
        """Draw another floor from now on; what the running step takes in all stays the same."""
        if now_seconds < self._step_end_seconds:
            busy_seconds = self._step_elapsed_seconds(now_seconds)
            self._dynamic_joules += self._step_watts * busy_seconds
            self._busy_seconds += busy_seconds
            self._step_start_seconds = max(now_seconds, self._step_start_seconds)
            self._step_watts += self._floor_watts - watts
        elapsed_seconds = now_seconds - self._floor_since_seconds
        self._floor_joules += self._floor_watts * elapsed_seconds
        self._floor_watts = watts
        self._floor_since_seconds = now_seconds

    def begin_step(self, *, start_seconds: float, duration_seconds: float, joules: float) -> None:
        """A step runs from `start_seconds` on and takes `joules` in all, floor included."""
        self.end_step(now_seconds=start_seconds)
        self._step_start_seconds = start_seconds
        self._step_end_seconds = start_seconds + duration_seconds
        self._step_watts = joules / duration_seconds - self._floor_watts

    def end_step(self, *, now_seconds: float) -> None:
        """Book the running step up to now, and no further (a killed process ends mid-step)."""
        busy_seconds = self._step_elapsed_seconds(now_seconds)
        self._dynamic_joules += self._step_watts * busy_seconds
        self._busy_seconds += busy_seconds
        self._step_start_seconds = self._step_end_seconds = now_seconds
        self._step_watts = 0.0

    def watts(self, now_seconds: float) -> float:
        """Power at this moment."""
        running = self._step_start_seconds <= now_seconds < self._step_end_seconds
        return self._floor_watts + (self._step_watts if running else 0.0)

    def read(self, now_seconds: float) -> Energy:
        """Energy up to now."""
        step_seconds = self._step_elapsed_seconds(now_seconds)
        elapsed_seconds = now_seconds - self._floor_since_seconds
        return Energy(
            idle_joules=self._floor_joules + self._floor_watts * elapsed_seconds,
            dynamic_joules=self._dynamic_joules + self._step_watts * step_seconds,
            busy_seconds=self._busy_seconds + step_seconds,
        )

    def _step_elapsed_seconds(self, now_seconds: float) -> float:
        elapsed_seconds = min(now_seconds, self._step_end_seconds) - self._step_start_seconds
        return max(elapsed_seconds, 0.0)
