"""From samples to what may be decided on: filter, worst of three, coverage, age."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from capper.decide.observation import DomainReading, PowerReading, Sample
from capper.decide.policy import DomainPolicy
from capper.decide.state import DomainState
from capper.decide.tuning import Freshness

# DCGM's "no data" is 9.2e18; nothing that a capper governs draws a terawatt.
_ABSURD_WATTS = 1e12
_CELSIUS_RANGE = (-40.0, 150.0)


class Trust(IntEnum):
    """How far a measurement carries a decision."""

    USABLE = 0
    STALE = 1  # hold what was decided
    LOST = 2  # static bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainView:
    """A domain as the decision may see it.

    Attributes:
        name: Domain.
        watts: Worst of the last samples; None unless usable.
        newest_watts: The newest of them; None where `watts` is.
        power_trust: Of the watts; USABLE where no cap needs them.
        age_seconds: Of the newest believed sample.
        coverage_ratio: Of the reading used.
        inlet_celsius: Worst of the last samples; None unless usable.
        heat_trust: Of the temperature; USABLE where no limit needs it.
        problems: What was disbelieved, one sentence each.
        partial: Whether the watts were refused for their coverage.
    """

    name: str
    watts: float | None = None
    newest_watts: float | None = None
    power_trust: Trust = Trust.USABLE
    age_seconds: float | None = None
    coverage_ratio: float | None = None
    inlet_celsius: float | None = None
    heat_trust: Trust = Trust.USABLE
    problems: tuple[str, ...] = ()
    partial: bool = False

    @property
    def trust(self) -> Trust:
        """The worse of the two."""
        return max(self.power_trust, self.heat_trust)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the replicas of a domain do, to judge its sensors by.

    Attributes:
        running: Whether a replica runs there: then 0 W is a lie.
        amount: Tokens per second, else replicas; None when unknown.
    """

    running: bool
    amount: float | None = None


def view_domain(
    policy: DomainPolicy,
    reading: DomainReading | None,
    memory: DomainState,
    freshness: Freshness,
    *,
    work: Work,
    now_seconds: float,
) -> tuple[DomainView, DomainState]:
    """What may be believed of one domain now, and its memory with that noted."""
    reading = reading or DomainReading()
    view, problems = _power(policy, reading, freshness, work)
    if view.watts is not None:
        memory = _note_value(memory, view.watts, work, now_seconds)
        if _is_frozen(memory, work, freshness, now_seconds):
            problems.append(f"{view.watts:.0f} W has not moved while the work did")
            view = replace(view, watts=None)
    needs_power = policy.cap is not None
    power_trust, memory = _power_trust(view, memory, freshness, needs_power, now_seconds)
    heats = _believed(reading.inlet_celsius, freshness, _plausible_celsius)
    heat = max((sample.value for sample in heats if sample.value is not None), default=None)
    heat_trust, memory = _heat_trust(heat, memory, freshness, policy, now_seconds)
    return replace(
        view,
        watts=view.watts if power_trust is Trust.USABLE else None,
        power_trust=power_trust,
        inlet_celsius=heat,
        heat_trust=heat_trust,
        problems=tuple(problems),
    ), memory


def plausible_watts(value: float | None, *, limit_watts: float | None = None) -> bool:
    """Whether a number can be watts: finite, not negative, no sentinel, within the limits."""
    if value is None or not math.isfinite(value) or value < 0.0 or value > _ABSURD_WATTS:
        return False
    return limit_watts is None or not math.isfinite(limit_watts) or value <= limit_watts


def _power(
    policy: DomainPolicy, reading: DomainReading, freshness: Freshness, work: Work
) -> tuple[DomainView, list[str]]:
    """The first source that can be used, in the order of trust."""
    problems: list[str] = []
    partial, newest, coverage = False, None, None
    for source in sorted(reading.power, key=lambda one: one.source):
        samples, doubts = _watts(source, freshness, work)
        problems += doubts
        if not samples:
            continue
        newest = min(newest or math.inf, samples[0].age_seconds)
        coverage = source.coverage_ratio
        if not _covers(coverage, policy, freshness):
            partial = True
            continue
        watts = max(sample.value for sample in samples if sample.value is not None)
        seen = DomainView(
            name=policy.name,
            watts=watts * source.host_ratio,
            newest_watts=(samples[0].value or 0.0) * source.host_ratio,
            age_seconds=max(0.0, samples[0].age_seconds),
            coverage_ratio=coverage,
        )
        return seen, problems
    blind = DomainView(
        name=policy.name, age_seconds=newest, coverage_ratio=coverage, partial=partial
    )
    return blind, problems


def _covers(coverage: float | None, policy: DomainPolicy, freshness: Freshness) -> bool:
    if coverage is None:
        return not policy.coverage_required
    return coverage >= freshness.min_coverage_ratio  # False for NaN, too


def _watts(
    source: PowerReading, freshness: Freshness, work: Work
) -> tuple[list[Sample], list[str]]:
    limit = None
    if source.limit_watts is not None:
        limit = source.limit_watts * freshness.limit_ratio
    doubts = []

    def believed(value: float) -> bool:
        if not plausible_watts(value, limit_watts=limit):
            doubts.append(f"{source.source.name} says {value:.6g} W, which cannot be")
        elif value == 0.0 and work.running:
            doubts.append(f"{source.source.name} says 0 W while replicas run")
        else:
            return True
        return False

    if not math.isfinite(source.host_ratio) or source.host_ratio <= 0.0:
        return [], [f"{source.source.name} has a host ratio of {source.host_ratio:.6g}"]
    return _believed(source.samples, freshness, believed), doubts


def _believed(
    samples: Sequence[Sample], freshness: Freshness, plausible: Callable[[float], bool]
) -> list[Sample]:
    """The last few that are fresh and plausible, the newest first.

    A sample from further in the future than a stale one is from the past comes from a broken clock
    and could stay fresh for ever.
    """
    found = [
        sample
        for sample in samples
        if sample.value is not None
        and abs(sample.age_seconds) <= freshness.stale_after_seconds
        and plausible(sample.value)
    ]
    return sorted(found, key=lambda sample: sample.age_seconds)[: freshness.worst_of_samples]


def _plausible_celsius(value: float) -> bool:
    low, high = _CELSIUS_RANGE
    return low <= value <= high


def _note_value(memory: DomainState, watts: float, work: Work, now_seconds: float) -> DomainState:
    if watts == memory.same_value:
        return memory
    return replace(memory, same_value=watts, same_since_seconds=now_seconds, same_work=work.amount)


def _is_frozen(memory: DomainState, work: Work, freshness: Freshness, now_seconds: float) -> bool:
    before, since = memory.same_work, memory.same_since_seconds
    if before is None or work.amount is None or since is None:
        return False
    moved = abs(work.amount - before) > freshness.frozen_work_ratio * max(before, work.amount)
    return moved and now_seconds - since >= freshness.frozen_after_seconds


def _power_trust(
    view: DomainView,
    memory: DomainState,
    freshness: Freshness,
    needed: bool,
    now_seconds: float,
) -> tuple[Trust, DomainState]:
    if not needed:
        return Trust.USABLE, memory
    since = memory.usable_seconds
    if view.watts is not None or since is None:
        memory = replace(memory, usable_seconds=now_seconds - (view.age_seconds or 0.0))
    return _trust(view.watts is not None, since, freshness, now_seconds), memory


def _heat_trust(
    celsius: float | None,
    memory: DomainState,
    freshness: Freshness,
    policy: DomainPolicy,
    now_seconds: float,
) -> tuple[Trust, DomainState]:
    if policy.max_inlet_celsius is None:
        return Trust.USABLE, memory
    since = memory.heat_usable_seconds
    if celsius is not None or since is None:
        memory = replace(memory, heat_usable_seconds=now_seconds)
    return _trust(celsius is not None, since, freshness, now_seconds), memory


def _trust(
    usable: bool, since_seconds: float | None, freshness: Freshness, now_seconds: float
) -> Trust:
    if usable:
        return Trust.USABLE
    blind_seconds = 0.0 if since_seconds is None else now_seconds - since_seconds
    return Trust.LOST if blind_seconds > freshness.safe_after_seconds else Trust.STALE
