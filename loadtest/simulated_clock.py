"""Simulated seconds on a real machine: faster than life, but never faster than the machine.

A fleet shares one clock. Simulated time is wall time since the start times `time_scale`, minus
what was *slipped*. Steps are timed against absolute simulated instants, so a late timer does not
add up: the replica catches up at the next one. Only when a step is later than `MAX_LAG_SECONDS`
of wall time (the process was starved) does the fleet's clock slip by that lag: simulated time
stands still instead of charging the simulated hardware for the host's weakness. `slipped_seconds`
says how much that was; a report should show it, as the offered load ran on in the meantime.
"""

import time

# Wall time that steps may run late before the clock slips. Well above what a busy event loop
# shows (a few ms), well below any latency objective.
MAX_LAG_SECONDS = 0.1


class SimulatedClock:
    """Maps wall time to simulated time and back.

    Attributes:
        time_scale: Simulated seconds per wall second.
        slipped_seconds: Simulated seconds that were taken back because the machine lagged.
    """

    def __init__(self, *, time_scale: float = 1.0) -> None:
        if not time_scale > 0:
            raise ValueError(f"time_scale must be positive, not {time_scale}")
        self.time_scale = time_scale
        self.slipped_seconds = 0.0
        self._origin_seconds = time.monotonic()

    def now_seconds(self) -> float:
        """Simulated seconds since the clock was made."""
        elapsed_seconds = time.monotonic() - self._origin_seconds
        return elapsed_seconds * self.time_scale - self.slipped_seconds

    def wall_seconds_until(self, simulated_seconds: float) -> float:
        """Wall seconds until that simulated instant; negative once it is past."""
        return (simulated_seconds - self.now_seconds()) / self.time_scale

    def slip(self, lag_wall_seconds: float) -> None:
        """Take a lag back from simulated time."""
        self.slipped_seconds += lag_wall_seconds * self.time_scale
