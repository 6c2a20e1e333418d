"""Watts of the fleet by its own meter, second by second, and a cap laid over them. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

SETTLED_WINDOWS = 3
"""Watts are under a cap when so many windows in a row are; the capper looks at as many samples."""


class PowerWindow(NamedTuple):
    """Mean watts over a stretch of time; times are since the first arrival."""

    start_seconds: float
    end_seconds: float
    watts: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_seconds - self.start_seconds


class Excess(NamedTuple):
    """What was above a cap.

    Attributes:
        seconds: Length of the windows whose mean was above it.
        joules: Energy above it in these windows (W*s).
    """

    seconds: float
    joules: float

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return {"seconds": self.seconds, "over_cap_joules": self.joules}


def between(
    windows: Iterable[PowerWindow], start_seconds: float, end_seconds: float
) -> list[PowerWindow]:
    """Windows that lie wholly between two times."""
    return [
        window
        for window in windows
        if window.start_seconds >= start_seconds and window.end_seconds <= end_seconds
    ]


def mean_watts(windows: Sequence[PowerWindow]) -> float | None:
    """Weighted by their lengths; None without any."""
    seconds = sum(window.seconds for window in windows)
    if not seconds:
        return None
    return sum(window.watts * window.seconds for window in windows) / seconds


def excess(windows: Iterable[PowerWindow], cap_watts: float) -> Excess:
    """How long and how far the windows were above a cap."""
    over = [window for window in windows if window.watts > cap_watts]
    return Excess(
        seconds=sum(window.seconds for window in over),
        joules=sum((window.watts - cap_watts) * window.seconds for window in over),
    )


def seconds_to_under(windows: Sequence[PowerWindow], cap_watts: float) -> float | None:
    """From the start of the first window to the first of three in a row at or under the cap.

    None when that never comes.
    """
    for index in range(len(windows) - SETTLED_WINDOWS + 1):
        run = windows[index : index + SETTLED_WINDOWS]
        if all(window.watts <= cap_watts for window in run):
            return run[0].start_seconds - windows[0].start_seconds
    return None
