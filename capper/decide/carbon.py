"""The cap as the grid's carbon intensity moves it: by rank of the hour, or by an emission budget.

Intensities are gCO2e/kWh of one kind throughout, average or marginal; the caller never mixes them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.units import JOULES_PER_KILOWATT_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A piece of the forecast, the present one included.

    Attributes:
        start_seconds: Epoch time.
        end_seconds: Epoch time.
        grams_per_kilowatt_hour: Mean intensity; None: not known.
    """

    start_seconds: float
    end_seconds: float
    grams_per_kilowatt_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Cap by rank.

    Attributes:
        min_cap_watts: In the dirtiest hours.
        max_cap_watts: In the cleanest.
        levels: Caps between the two, both included.
        horizon_seconds: How far ahead hours are ranked.
        min_change_seconds: At most one change in this time.
        ramp_levels: Levels by which one change may move the cap.
    """

    min_cap_watts: float
    max_cap_watts: float
    levels: int = 4
    horizon_seconds: float = 86_400.0
    min_change_seconds: float = 1800.0
    ramp_levels: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EmissionBudget:
    """Grams in a period.

    Attributes:
        grams: Allowed in one period; infinite: emissions are only counted.
        period_seconds: Periods are counted from 1970-01-01T00:00Z, so a day begins at midnight UTC.
        pue_ratio: Power of the site over that of the computers.
        min_cap_watts: Never lower: what the floors draw.
        max_cap_watts: Never higher.
    """

    grams: float
    period_seconds: float = 86_400.0
    pue_ratio: float = 1.0
    min_cap_watts: float
    max_cap_watts: float

    def start_seconds(self, now_seconds: float) -> float:
        """Begin of the period, epoch time."""
        return math.floor(now_seconds / self.period_seconds) * self.period_seconds

    def end_seconds(self, now_seconds: float) -> float:
        """End of the period, epoch time."""
        return self.start_seconds(now_seconds) + self.period_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonState:
    """What is remembered.

    Attributes:
        level: In force, 0 for the highest cap; None before the first.
        changed_seconds: When it last changed.
        period_start_seconds: Of the period that is counted.
        emitted_grams: In it so far.
        metered_seconds: Until when.
        kind: Of the figures that are counted, average or marginal; None before the first.
        kind_changed_seconds: When it became another one in the present period; None: it did not.
        total_grams: Of this kind in all.
    """

    level: int | None = None
    changed_seconds: float | None = None
    period_start_seconds: float | None = None
    emitted_grams: float = 0.0
    metered_seconds: float | None = None
    kind: str | None = None
    kind_changed_seconds: float | None = None
    total_grams: float = 0.0


def intensity_at(slots: Sequence[Slot], now_seconds: float) -> float | None:
    """gCO2e/kWh now; None when no slot says, or says nonsense."""
    for slot in slots:
        if slot.start_seconds <= now_seconds < slot.end_seconds:
            return _plausible(slot.grams_per_kilowatt_hour)
    return None


def scheduled_cap(
    schedule: Schedule, slots: Sequence[Slot], state: CarbonState, *, now_seconds: float
) -> tuple[float | None, CarbonState]:
    """(cap in watts, memory): the dirtier this hour among the next ones, the lower.

    The share of the horizon that is cleaner than now picks the level; where all hours are alike the
    cap is the highest. None when the present intensity is unknown: the caller has a declared
    default for that, and the level is held for when it is back.
    """
    present = intensity_at(slots, now_seconds)
    if present is None:
        return None, state
    wanted = _level(schedule, slots, present, now_seconds)
    held = state.level
    if held is None:
        state = replace(state, level=wanted, changed_seconds=now_seconds)
    elif wanted != held and _may_change(schedule, state, now_seconds):
        moved = max(-schedule.ramp_levels, min(schedule.ramp_levels, wanted - held))
        state = replace(state, level=held + moved, changed_seconds=now_seconds)
    level = min(state.level or 0, schedule.levels - 1)
    span = schedule.max_cap_watts - schedule.min_cap_watts
    return schedule.max_cap_watts - span * level / max(1, schedule.levels - 1), state


def metered(
    budget: EmissionBudget,
    state: CarbonState,
    *,
    watts: float | None,
    grams_per_kilowatt_hour: float | None,
    now_seconds: float,
    kind: str | None = None,
) -> CarbonState:
    """The state with the emissions since the last call: power x intensity x PUE.

    Unknown watts count as the highest cap; without an intensity there is nothing to count. A new
    period begins with nothing. Figures of another kind than before are not added to those: the part
    of the period that is over then counts as its part of the budget, whatever was emitted in it.
    """
    start = budget.start_seconds(now_seconds)
    if state.period_start_seconds != start:
        # What was drawn before the period began belongs to the last one.
        since = None if state.metered_seconds is None else max(start, state.metered_seconds)
        state = replace(
            state,
            period_start_seconds=start,
            emitted_grams=0.0,
            metered_seconds=since,
            kind_changed_seconds=None,
        )
    if kind is not None and kind != state.kind:
        state = _of_kind(budget, state, kind, now_seconds)
    since = state.metered_seconds
    intensity = _plausible(grams_per_kilowatt_hour)
    grams = 0.0
    if since is not None and now_seconds > since and intensity is not None:
        drawn = budget.max_cap_watts if _plausible(watts) is None else watts or 0.0
        joules = drawn * (now_seconds - since) * budget.pue_ratio
        grams = joules / JOULES_PER_KILOWATT_HOUR * intensity
    return replace(
        state,
        emitted_grams=state.emitted_grams + grams,
        total_grams=state.total_grams + grams,
        metered_seconds=now_seconds,
    )


def _of_kind(
    budget: EmissionBudget, state: CarbonState, kind: str, now_seconds: float
) -> CarbonState:
    """Count figures of another kind from now on; the level was one of the old kind's ranks."""
    if state.kind is None:
        return replace(state, kind=kind)
    part = (now_seconds - budget.start_seconds(now_seconds)) / budget.period_seconds
    return replace(
        state,
        kind=kind,
        kind_changed_seconds=now_seconds,
        emitted_grams=budget.grams * part if math.isfinite(budget.grams) else 0.0,
        total_grams=0.0,
        metered_seconds=now_seconds,
        level=None,
    )


def budgeted_cap(
    budget: EmissionBudget, slots: Sequence[Slot], state: CarbonState, *, now_seconds: float
) -> float | None:
    """The constant cap that spends exactly what is left by the end of the period.

    Weighed with the forecast up to that end: cap = grams left / (PUE x integral of intensity).
    Hours without a forecast take the mean of those that have one. None when nothing is forecast.
    """
    start, end = budget.start_seconds(now_seconds), budget.end_seconds(now_seconds)
    emitted = state.emitted_grams if state.period_start_seconds == start else 0.0
    known = _within(slots, now_seconds, end)
    known_seconds = sum(seconds for seconds, _ in known)
    if known_seconds <= 0.0:
        return None
    mean = sum(seconds * grams for seconds, grams in known) / known_seconds
    grams_per_watt = mean * (end - now_seconds) * budget.pue_ratio / JOULES_PER_KILOWATT_HOUR
    if grams_per_watt <= 0.0:
        return budget.max_cap_watts
    cap = max(0.0, budget.grams - emitted) / grams_per_watt
    return min(budget.max_cap_watts, max(budget.min_cap_watts, cap))


def _level(schedule: Schedule, slots: Sequence[Slot], present: float, now_seconds: float) -> int:
    """Level by the part of the horizon that is cleaner than now."""
    ahead = _within(slots, now_seconds, now_seconds + schedule.horizon_seconds)
    total = sum(seconds for seconds, _ in ahead)
    cleaner = sum(seconds for seconds, grams in ahead if grams < present)
    rank = cleaner / total if total > 0.0 else 0.0
    return min(schedule.levels - 1, math.floor(rank * schedule.levels))


def _may_change(schedule: Schedule, state: CarbonState, now_seconds: float) -> bool:
    since = state.changed_seconds
    # A clock that was stepped back must not shut the schedule up for longer than the interval.
    return since is None or abs(now_seconds - since) >= schedule.min_change_seconds


def _within(slots: Sequence[Slot], start: float, end: float) -> list[tuple[float, float]]:
    """(seconds, gCO2e/kWh) of the known slots between two times."""
    found = []
    for slot in slots:
        seconds = min(end, slot.end_seconds) - max(start, slot.start_seconds)
        grams = _plausible(slot.grams_per_kilowatt_hour)
        if seconds > 0.0 and grams is not None:
            found.append((seconds, grams))
    return found


def _plausible(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0.0 else None
