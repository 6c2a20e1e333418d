"""From a configuration's carbon block to caps on the whole. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from capper.api.carbon_blocks import Carbon, EcoModeOff
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonMemory:
    """What is remembered from turn to turn.

    Attributes:
        state: Of schedule and budget.
        eco_since_seconds: Since when carbon asks for less than `powerCapLimit`, without a break.
    """

    state: CarbonState = field(default_factory=CarbonState)
    eco_since_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonLook:
    """What carbon says now.

    Attributes:
        caps: On the whole.
        memory: For the next turn.
        grams_per_kilowatt_hour: Intensity now; None: not known.
        emitted_grams: In the present period of the budget; None without a budget.
        unknown: Why the intensity is not known; empty: it is.
    """

    caps: tuple[NamedCap, ...] = ()
    memory: CarbonMemory = field(default_factory=CarbonMemory)
    grams_per_kilowatt_hour: float | None = None
    emitted_grams: float | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Watts of the whole.

    Attributes:
        cap_watts: `powerCapLimit`.
        watts: Measured last; None: not known.
        floor_watts: What the floors of all targets draw of it; None: not known.
    """

    cap_watts: float
    watts: float | None = None
    floor_watts: float | None = None


def look_at(
    carbon: Carbon,
    slots: Sequence[Slot],
    memory: CarbonMemory,
    drawn: Drawn,
    *,
    problem: str,
    now_seconds: float,
) -> CarbonLook:
    """The caps of one turn; carbon never raises a cap, since the lowest of all counts.

    Args:
        carbon: The block.
        slots: Intensities.
        memory: From the last turn.
        drawn: Watts since then.
        problem: Why there are no slots, if so.
        now_seconds: Epoch time.
    """
    present = intensity_at(slots, now_seconds)
    budget = _budget(carbon, drawn)
    state = memory.state
    if budget is not None:
        # Emissions count whether or not carbon may lower the cap at this hour.
        state = metered(
            budget,
            state,
            watts=drawn.watts,
            grams_per_kilowatt_hour=present,
            now_seconds=now_seconds,
        )
    caps, state = _caps(carbon, budget, slots, state, now_seconds)
    lowers = any(cap.watts < drawn.cap_watts for cap in caps)
    since = memory.eco_since_seconds
    since = (now_seconds if since is None else min(since, now_seconds)) if lowers else None
    longest = carbon.max_eco_seconds
    tired = since is not None and longest is not None and now_seconds - since > longest
    silent = carbon.override or tired or is_off(carbon.eco_mode_off, now_seconds)
    unknown = "" if present is not None else problem or "the provider says nothing of this hour."
    return CarbonLook(
        caps=() if silent else caps,
        memory=CarbonMemory(state=state, eco_since_seconds=since),
        grams_per_kilowatt_hour=present,
        emitted_grams=None if budget is None else state.emitted_grams,
        unknown=unknown,
    )


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


def memory_document(memory: CarbonMemory) -> dict[str, Any]:
    """JSON values."""
    return asdict(memory)


def memory_from(document: object) -> CarbonMemory:
    """The memory of a document; an empty one where it is damaged."""
    if not isinstance(document, Mapping) or not isinstance(document.get("state"), Mapping):
        return CarbonMemory()
    numbers = {
        one.name: document["state"].get(one.name)
        for one in fields(CarbonState)
        if isinstance(document["state"].get(one.name), int | float)
    }
    since = document.get("eco_since_seconds")
    known = float(since) if isinstance(since, int | float) else None
    return CarbonMemory(state=replace(CarbonState(), **numbers), eco_since_seconds=known)


def _caps(
    carbon: Carbon,
    budget: EmissionBudget | None,
    slots: Sequence[Slot],
    state: CarbonState,
    now_seconds: float,
) -> tuple[tuple[NamedCap, ...], CarbonState]:
    found: list[tuple[str, float | None]] = []
    if carbon.schedule is not None:
        schedule = Schedule(**carbon.schedule.model_dump())
        cap, state = scheduled_cap(schedule, slots, state, now_seconds=now_seconds)
        found.append(("carbon schedule", cap))
    if budget is not None:
        cap = budgeted_cap(budget, slots, state, now_seconds=now_seconds)
        found.append(("carbon budget", cap))
    if all(cap is None for _, cap in found):
        found.append(("default cap, carbon intensity is unknown", carbon.default_cap_watts))
    caps = tuple(NamedCap(source=name, watts=cap) for name, cap in found if cap is not None)
    return caps, state


def _budget(carbon: Carbon, drawn: Drawn) -> EmissionBudget | None:
    """The budget's cap never goes below what the floors draw: that could not be kept anyway."""
    if carbon.budget is None:
        return None
    floor_watts = drawn.cap_watts if drawn.floor_watts is None else drawn.floor_watts
    return EmissionBudget(
        grams=carbon.budget.grams,
        period_seconds=carbon.budget.period_seconds,
        pue_ratio=carbon.budget.pue_ratio,
        min_cap_watts=min(floor_watts, drawn.cap_watts),
        max_cap_watts=drawn.cap_watts,
    )
