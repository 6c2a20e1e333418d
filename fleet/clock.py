"""The clock as a parameter: production reads the system's, the simulator a virtual one."""

from typing import Protocol


class Clock(Protocol):
    """Two readings of time, never mixed: durations from one, calendar time from the other."""

    def monotonic_seconds(self) -> float:
        """Seconds since an arbitrary origin; never goes back."""
        ...

    def epoch_seconds(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z; may be stepped by an operator."""
        ...
