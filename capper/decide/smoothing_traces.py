"""Mean weeks of instances and services. Pure.

An I-trace is the mean week of one instance, an S-trace the mean instance of a service over the week
(Hsu et al., SmoothOperator, ASPLOS 2018). Weeks are those of UTC, so there is no daylight saving in
them: a load that follows local clocks is an hour off on one side of each change.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

WEEK_SECONDS = 604_800.0


class HistoryError(ValueError):
    """The history is of no use; the message is a whole sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRules:
    """What counts as a history.

    Attributes:
        step_seconds: Of a trace; divides a week. Readings within a step are averaged.
        min_coverage_ratio: Part of the steps of the history in which there must be readings.
        longest_gap_seconds: A longer gap in a mean week is not bridged.
        max_watts: An instance that tells more is lying.
    """

    step_seconds: float = 300.0
    min_coverage_ratio: float = 0.8
    longest_gap_seconds: float = 7200.0
    max_watts: float = 1e5

    @property
    def steps(self) -> int:
        """Steps of a week.

        Raises:
            HistoryError: The step does not divide it.
        """
        steps = round(WEEK_SECONDS / self.step_seconds) if self.step_seconds > 0 else 0
        if steps < 1 or not math.isclose(steps * self.step_seconds, WEEK_SECONDS):
            raise HistoryError(
                f"the step must divide a week of {WEEK_SECONDS:g} s, got {self.step_seconds:g} s."
            )
        return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance and its mean week.

    Attributes:
        name: Unique.
        service: What it is an instance of.
        leaf: Where it hangs in the power tree; None: not known.
        watts: One value per step of a UTC week, from Thursday 00:00 (epoch time 0) on.
        coverage_ratio: Part of the steps of the history with readings of its own.
        borrowed: Whether its own readings do not make a week: the trace is its service's.
    """

    name: str
    service: str
    leaf: str | None
    watts: tuple[float, ...]
    coverage_ratio: float = 1.0
    borrowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """The mean week of a fleet.

    Attributes:
        step_seconds: Of all traces.
        instances: Those that were there on the last day.
        services: S-trace by service, those of vanished instances included.
        coverage_ratios: By service.
        weeks: Length of the history.
        rejected: Readings that were not believed: negative, beyond the limit, no number.
        notes: Sentences on what is odd.
    """

    step_seconds: float
    instances: tuple[Instance, ...]
    services: Mapping[str, tuple[float, ...]]
    coverage_ratios: Mapping[str, float]
    weeks: float
    rejected: int = 0
    notes: tuple[str, ...] = ()
