"""From a configuration's carbon block to caps on the whole. Pure."""

import math
from collections.abc import Sequence

from capper.api.carbon_blocks import Carbon, EcoModeOff
from capper.carbon.looks import CarbonLook, CarbonMemory, Drawn, FeedTold
from capper.decide.carbon import (
    CarbonState,
    EmissionBudget,
    Schedule,
    Slot,
    budgeted_cap,
    intensity_at,
    metered,
    scheduled_cap,
)
from capper.decide.policy import NamedCap

_DAY_SECONDS = 86_400.0
_WEEKDAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")  # 1970-01-01 was a Thursday


def look_at(
    carbon: Carbon,
    slots: Sequence[Slot],
    memory: CarbonMemory,
    drawn: Drawn,
    *,
    problem: str,
    now_seconds: float,
    told: FeedTold | None = None,
) -> CarbonLook:
    """The caps of one turn; carbon never raises a cap, since the lowest of all counts.

    Args:
        carbon: The block.
        slots: Intensities, of one kind.
        memory: From the last turn.
        drawn: Watts since then.
        problem: Why there are no slots, if so.
        now_seconds: Epoch time.
        told: By the feed, apart from its slots.
    """
    told = told or FeedTold()
    present = intensity_at(slots, now_seconds)
    budget = _budget(carbon, drawn)
    # Emissions count whether or not carbon may lower the cap at this hour.
    state = metered(
        budget,
        memory.state,
        watts=drawn.watts,
        grams_per_kilowatt_hour=present,
        now_seconds=now_seconds,
        kind=told.kind,
    )
    caps, state = _caps(carbon, budget, slots, state, now_seconds)
    asked_watts = min((cap.watts for cap in caps), default=None)
    lowers = asked_watts is not None and asked_watts < drawn.cap_watts
    since = memory.eco_since_seconds
    since = (now_seconds if since is None else min(since, now_seconds)) if lowers else None
    silent = _silent(carbon, since, now_seconds)
    unknown = "" if present is not None else problem or "the provider says nothing of this hour."
    return CarbonLook(
        caps=() if silent else caps,
        memory=CarbonMemory(state=state, eco_since_seconds=since),
        active=True,
        grams_per_kilowatt_hour=present,
        emitted_grams=state.emitted_grams,
        budget_grams=None if carbon.budget is None else carbon.budget.grams,
        period_end_seconds=budget.end_seconds(now_seconds),
        asked_watts=asked_watts,
        silent=silent,
        unknown=unknown,
        told=told,
    )


def _silent(carbon: Carbon, since: float | None, now_seconds: float) -> str:
    """Which way out of eco mode holds."""
    if carbon.override:
        return "override"
    longest = carbon.max_eco_seconds
    if since is not None and longest is not None and now_seconds - since > longest:
        return "maxEcoSeconds"
    return "ecoModeOff" if is_off(carbon.eco_mode_off, now_seconds) else ""


def is_off(times: Sequence[EcoModeOff], now_seconds: float) -> bool:
    """Whether one of the times in which carbon lowers nothing holds; it may reach over midnight."""
    today = now_seconds // _DAY_SECONDS
    for one in times:
        hours, minutes = (int(part) for part in one.start.split(":"))
        for day in (today - 1, today):
            begins = day * _DAY_SECONDS + 3600 * hours + 60 * minutes
            named = not one.weekdays or _WEEKDAYS[int(day) % 7] in one.weekdays
            if named and begins <= now_seconds < begins + one.duration_seconds:
                return True
    return False


def _caps(
    carbon: Carbon,
    budget: EmissionBudget,
    slots: Sequence[Slot],
    state: CarbonState,
    now_seconds: float,
) -> tuple[tuple[NamedCap, ...], CarbonState]:
    found: list[tuple[str, float | None]] = []
    if carbon.schedule is not None:
        schedule = Schedule(**carbon.schedule.model_dump())
        cap, state = scheduled_cap(schedule, slots, state, now_seconds=now_seconds)
        found.append(("carbon schedule", cap))
    if carbon.budget is not None:
        cap = budgeted_cap(budget, slots, state, now_seconds=now_seconds)
        found.append(("carbon budget", cap))
    if all(cap is None for _, cap in found):
        found.append(("default cap, carbon intensity is unknown", carbon.default_cap_watts))
    caps = tuple(NamedCap(source=name, watts=cap) for name, cap in found if cap is not None)
    return caps, state


def _budget(carbon: Carbon, drawn: Drawn) -> EmissionBudget:
    """The budget, or, to count emissions by the day, one without an end.

    Its cap never goes below what the floors draw: that could not be kept anyway.
    """
    floor_watts = drawn.cap_watts if drawn.floor_watts is None else drawn.floor_watts
    floor_watts = min(floor_watts, drawn.cap_watts)
    if carbon.budget is None:
        return EmissionBudget(
            grams=math.inf, min_cap_watts=floor_watts, max_cap_watts=drawn.cap_watts
        )
    return EmissionBudget(
        grams=carbon.budget.grams,
        period_seconds=carbon.budget.period_seconds,
        pue_ratio=carbon.budget.pue_ratio,
        min_cap_watts=floor_watts,
        max_cap_watts=drawn.cap_watts,
    )
