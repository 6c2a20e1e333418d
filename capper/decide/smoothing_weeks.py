"""From readings of watts, in any order, to mean weeks. Pure.

What cannot be believed is left out, what is missing is never 0 W: short gaps are bridged, an
instance with a short history borrows its service's trace, a service with one counts with its
highest reading all the time.
"""

import math
from array import array
from collections.abc import Iterable, Mapping

from capper.decide.smoothing_traces import (
    WEEK_SECONDS,
    HistoryError,
    Instance,
    TraceRules,
    Traces,
)

_DAY_SECONDS = 86_400.0
_FROZEN_SECONDS = _DAY_SECONDS
_LEVEL_RATIO = 3.0


class _Sums:
    """Sums of readings by step of the week."""

    def __init__(self, steps: int) -> None:
        self.watts = array("d", bytes(8 * steps))
        self.counts = array("L", bytes(array("L").itemsize * steps))

    def add(self, step: int, watts: float, count: int = 1) -> None:
        self.watts[step] += watts
        self.counts[step] += count

    def means(self) -> list[float | None]:
        return [
            watts / count if count else None
            for watts, count in zip(self.watts, self.counts, strict=True)
        ]


class _Readings:
    """What was read of one instance."""

    def __init__(self, service: str, steps: int) -> None:
        self.service = service
        self.leaf: str | None = None
        self.sums = _Sums(steps)
        self.slots: set[int] = set()
        self.last_seconds = -math.inf
        self.low_watts, self.high_watts = math.inf, -math.inf


class WeekBuilder:
    """Takes readings in any order and folds them into one week; memory does not grow with time."""

    def __init__(self, rules: TraceRules | None = None) -> None:
        """Start empty.

        Raises:
            HistoryError: The step of the rules does not divide a week.
        """
        self._rules = rules or TraceRules()
        self._steps = self._rules.steps
        self._instances: dict[str, _Readings] = {}
        self._rejected = 0

    def add(
        self, instance: str, service: str, leaf: str | None, at_seconds: float, watts: float
    ) -> None:
        """Note one reading.

        Args:
            instance: Name.
            service: Its service, the same in all of its readings.
            leaf: Where it hangs; that of the newest reading counts.
            at_seconds: Epoch time.
            watts: As measured.

        Raises:
            HistoryError: The instance was of another service before.
        """
        if not (math.isfinite(watts) and 0.0 <= watts <= self._rules.max_watts):
            self._rejected += 1
            return
        found = self._instances.get(instance)
        if found is None:
            found = self._instances[instance] = _Readings(service, self._steps)
        elif found.service != service:
            raise HistoryError(
                f"{instance} is of service {found.service} and of service {service};"
                " an instance must be of one."
            )
        slot = math.floor(at_seconds / self._rules.step_seconds)
        found.sums.add(slot % self._steps, watts)
        found.slots.add(slot)
        found.low_watts = min(found.low_watts, watts)
        found.high_watts = max(found.high_watts, watts)
        if at_seconds >= found.last_seconds:
            found.last_seconds, found.leaf = at_seconds, leaf

    def traces(
        self, *, start_seconds: float | None = None, end_seconds: float | None = None
    ) -> Traces:
        """The mean week.

        Args:
            start_seconds: Begin of the history, epoch time; that of the first reading when None.
            end_seconds: Its end; that of the last reading when None.

        Raises:
            HistoryError: Less than a week, or a service with too few readings.
        """
        if not self._instances:
            raise HistoryError("the history has no readings that can be believed.")
        first, last = self._span(start_seconds, end_seconds)
        slots = last - first + 1
        weeks = slots / self._steps
        if weeks < 1.0:
            days = slots * self._rules.step_seconds / _DAY_SECONDS
            raise HistoryError(f"the history is of {days:.1f} days, at least 7 days are needed.")
        notes: list[str] = []
        self._refuse_partial(slots)
        frozen = {name for name, one in self._instances.items() if self._is_frozen(one)}
        notes = [
            *_note(frozen, "one value for more than a day, so the sensor is not believed"),
            *self._rejected_note(),
        ]
        services, coverages, flat = self._services(frozen, slots)
        notes += _note(
            flat, "too short a history, so it counts with its highest reading all the time"
        )
        newest = (last + 1) * self._rules.step_seconds - _DAY_SECONDS
        instances = tuple(
            self._instance(name, one, services, slots, frozen=name in frozen)
            for name, one in sorted(self._instances.items())
            if one.last_seconds >= newest
        )
        notes += _level_notes(instances, self._steps)
        borrowed = [one.name for one in instances if one.borrowed and one.service not in flat]
        notes += _note(borrowed, "too short a history, so the mean of its service stands in")
        return Traces(
            step_seconds=self._rules.step_seconds,
            instances=instances,
            services=services,
            coverage_ratios=coverages,
            weeks=weeks,
            rejected=self._rejected,
            notes=tuple(notes),
        )

    def _span(self, start_seconds: float | None, end_seconds: float | None) -> tuple[int, int]:
        """First and last slot."""
        step = self._rules.step_seconds
        first = min(min(one.slots) for one in self._instances.values())
        last = max(max(one.slots) for one in self._instances.values())
        if start_seconds is not None:
            first = math.ceil(start_seconds / step)
        if end_seconds is not None:
            last = math.ceil(end_seconds / step) - 1
        return first, last

    def _is_frozen(self, one: _Readings) -> bool:
        long = len(one.slots) * self._rules.step_seconds > _FROZEN_SECONDS
        return long and one.low_watts == one.high_watts and one.high_watts > 0.0

    def _refuse_partial(self, slots: int) -> None:
        """Where nobody was measured the telemetry was gone, not the load."""
        seen = set[int]().union(*(one.slots for one in self._instances.values()))
        ratio, least = len(seen) / slots, self._rules.min_coverage_ratio
        if ratio < least:
            raise HistoryError(
                f"the history is partial: there are readings for {ratio:.0%} of the time,"
                f" at least {least:.0%} is needed."
            )

    def _services(
        self, frozen: set[str], slots: int
    ) -> tuple[dict[str, tuple[float, ...]], dict[str, float], list[str]]:
        """S-traces, coverage, and the services whose trace is their highest reading."""
        members: dict[str, list[_Readings]] = {}
        for name, one in sorted(self._instances.items()):
            members.setdefault(one.service, [])
            if name not in frozen:
                members[one.service].append(one)
        traces, coverages, flat = {}, {}, []
        for service, readings in sorted(members.items()):
            seen = set[int]().union(*(one.slots for one in readings))
            coverages[service] = len(seen) / slots
            trace = None
            if coverages[service] >= self._rules.min_coverage_ratio:
                trace = _bridged(_joined(readings, self._steps).means(), self._longest_gap())
            if trace is None:
                flat.append(service)
                highest = max(
                    one.high_watts for one in self._instances.values() if one.service == service
                )
                trace = (highest,) * self._steps
            traces[service] = trace
        return traces, coverages, flat

    def _rejected_note(self) -> list[str]:
        if not self._rejected:
            return []
        most = self._rules.max_watts
        return [
            f"{self._rejected} readings are not believed: negative, no number or above {most:g} W."
        ]

    def _instance(
        self,
        name: str,
        one: _Readings,
        services: Mapping[str, tuple[float, ...]],
        slots: int,
        *,
        frozen: bool,
    ) -> Instance:
        coverage = len(one.slots) / slots
        own = None
        if coverage >= self._rules.min_coverage_ratio and not frozen:
            own = _bridged(one.sums.means(), self._longest_gap())
        return Instance(
            name=name,
            service=one.service,
            leaf=one.leaf,
            watts=services[one.service] if own is None else own,
            coverage_ratio=coverage,
            borrowed=own is None,
        )

    def _longest_gap(self) -> int:
        return int(self._rules.longest_gap_seconds // self._rules.step_seconds)


def _joined(readings: Iterable[_Readings], steps: int) -> _Sums:
    total = _Sums(steps)
    for one in readings:
        for step, count in enumerate(one.sums.counts):
            if count:
                total.add(step, one.sums.watts[step], count)
    return total


def _bridged(means: list[float | None], longest: int) -> tuple[float, ...] | None:
    """Straight lines over gaps, the week taken as a ring; None where one is too long."""
    known = [step for step, value in enumerate(means) if value is not None]
    if not known:
        return None
    steps = len(means)
    filled = [0.0 if value is None else value for value in means]
    for left, right in zip(known, [*known[1:], known[0] + steps], strict=True):
        missing = right - left - 1
        if missing > longest:
            return None
        low, high = filled[left], filled[right % steps]
        for number in range(1, missing + 1):
            share = number / (missing + 1)
            filled[(left + number) % steps] = low + share * (high - low)
    return tuple(filled)


def _level_notes(instances: Iterable[Instance], steps: int) -> list[str]:
    """Instances whose days differ so much that the mean week speaks of two machines."""
    days = round(WEEK_SECONDS / _DAY_SECONDS)
    odd = []
    for one in instances:
        if one.borrowed or steps % days:
            continue
        size = steps // days
        means = [math.fsum(one.watts[day * size : (day + 1) * size]) / size for day in range(days)]
        if max(means) > _LEVEL_RATIO * min(means) > 0.0:
            odd.append(one.name)
    return _note(
        odd,
        f"one day's watts are more than {_LEVEL_RATIO:g} times another's; if the load has jumped"
        " for good, plan again a week after that",
    )


def _note(names: Iterable[str], what: str) -> list[str]:
    listed = _listed(names)
    return [f"{listed}: {what}."] if listed else []


def _listed(names: Iterable[str], most: int = 3) -> str:
    ordered = sorted(names)
    more = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {more} more" if more > 0 else "")
