"""Sensors that hang: the same value to the last bit while what moves it moved. Pure."""

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class StillRules:
    """When a value that does not move is a lie.

    Attributes:
        samples: At least so many measurements of the same value.
        seconds: Over at least so long: inlets settle within 20 minutes, and many sensors tell whole
            degrees only, so that a short standstill says nothing.
        moved_ratio: The watts of the rack moved by this part of their largest meanwhile.
    """

    samples: int = 20
    seconds: float = 1800.0
    moved_ratio: float = 0.25


@dataclass(slots=True)
class _Run:
    """Measurements of one value."""

    value: float
    since_seconds: float
    last_seconds: float
    samples: int = 1
    least_watts: float | None = None
    most_watts: float | None = None

    def note(self, watts: float | None) -> None:
        if watts is not None:
            self.least_watts = watts if self.least_watts is None else min(watts, self.least_watts)
            self.most_watts = watts if self.most_watts is None else max(watts, self.most_watts)


@dataclass(slots=True)
class Stillness:
    """Remembers how long each sensor has said the same.

    Attributes:
        rules: Limits.
    """

    rules: StillRules = field(default_factory=StillRules)
    _runs: dict[Hashable, _Run] = field(default_factory=dict)

    def hangs(
        self, key: Hashable, value: float, *, measured_seconds: float, watts: float | None
    ) -> bool:
        """Take up a measurement; whether the sensor is not to be believed.

        Args:
            key: The sensor.
            value: What it says.
            measured_seconds: When, by any clock that only goes forward; a repetition counts once.
            watts: Of its rack now; None: unknown, which excuses it.
        """
        run = self._runs.get(key)
        if run is None or run.value != value:
            run = self._runs[key] = _Run(value, measured_seconds, measured_seconds)
        elif measured_seconds > run.last_seconds:
            run.samples += 1
            run.last_seconds = measured_seconds
        run.note(watts)
        rules, most, least = self.rules, run.most_watts, run.least_watts
        if most is None or least is None:
            return False
        long_enough = run.last_seconds - run.since_seconds >= rules.seconds
        moved = most - least >= rules.moved_ratio * most and most > 0.0
        return run.samples >= rules.samples and long_enough and moved

    def keep(self, keys: frozenset[Hashable]) -> None:
        """Forget all other sensors."""
        self._runs = {key: run for key, run in self._runs.items() if key in keys}
