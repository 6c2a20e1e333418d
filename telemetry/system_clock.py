"""The only place of the package that reads the system's clocks."""

import time


class SystemClock:
    """`fleet.clock.Clock` of the machine."""

    __slots__ = ()

    def monotonic_seconds(self) -> float:
        """Seconds since an arbitrary origin; never goes back."""
        return time.monotonic()

    def epoch_seconds(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z; may be stepped by an operator."""
        return time.time()  # noqa: TID251 - this is the clock everybody else is given
