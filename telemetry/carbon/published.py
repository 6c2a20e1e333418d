"""What a provider published, and what it says of a given time. Pure."""

from dataclasses import dataclass, replace

from telemetry.carbon.slots import IntensityKind, IntensitySlot, overlaid

SKEW_SECONDS = 120.0
"""Clocks of two machines may differ so much without a word: the first slot begins that early."""
_WEEK_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One answer of a provider.

    Attributes:
        slots: In the order of time, without overlap; what is between two is not known.
        fetched_epoch_seconds: When it was asked for.
        published_epoch_seconds: When the provider made it; None: it does not say.
        missing: What the answer lacks and why; None: nothing.
        refused: Values that were left out as impossible.
        wait_seconds: The provider's wish before the next request; None: it has none.
    """

    slots: tuple[IntensitySlot, ...]
    fetched_epoch_seconds: float
    published_epoch_seconds: float | None = None
    missing: str | None = None
    refused: int = 0
    wait_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonReading:
    """The carbon intensity at one time, and what is forecast from there.

    Attributes:
        grams_per_kilowatt_hour: Now, gCO2e/kWh; None: not known, the caller has a declared default.
        slots: Those that are not over, the present one first; may have gaps, may be empty.
        kind: Of all figures here.
        source: Who says so.
        age_seconds: Since the provider made the answer, or since it was asked for where it does not
            say; never negative; None: there is no answer.
        estimated: Whether the present figure is a forecast or an estimate; None: not known.
        reason: Why the present figure is not known; None: it is.
        problem: What is wrong with the source although it may still serve; None: nothing.
    """

    grams_per_kilowatt_hour: float | None
    slots: tuple[IntensitySlot, ...]
    kind: IntensityKind
    source: str
    age_seconds: float | None
    estimated: bool | None
    reason: str | None
    problem: str | None


def reading_at(
    published: Published, *, kind: IntensityKind, source: str, now_epoch_seconds: float
) -> CarbonReading:
    """What `published` says of a time; silent outside its slots, however near."""
    now = now_epoch_seconds
    made = published.published_epoch_seconds
    made = published.fetched_epoch_seconds if made is None else made
    slots = _without_skew(published.slots, now)
    ahead = tuple(slot for slot in slots if slot.end_epoch_seconds > now)
    present = next((slot for slot in ahead if slot.start_epoch_seconds <= now), None)
    return CarbonReading(
        grams_per_kilowatt_hour=None if present is None else present.grams_per_kilowatt_hour,
        slots=ahead,
        kind=kind,
        source=source,
        age_seconds=max(0.0, now - made),
        estimated=None if present is None else present.estimated,
        reason=None if present is not None else _silence(slots, source, now),
        problem=_shortcoming(published, source),
    )


def unknown(*, kind: IntensityKind, source: str, reason: str) -> CarbonReading:
    """A reading without any figure."""
    return CarbonReading(
        grams_per_kilowatt_hour=None,
        slots=(),
        kind=kind,
        source=source,
        age_seconds=None,
        estimated=None,
        reason=reason,
        problem=reason,
    )


def joined(new: Published, old: Published) -> Published:
    """`new`; where it lacks something, what `old` said of the times that `new` is silent about."""
    if new.missing is None:
        return new
    kept = windowed(
        old.slots, now_epoch_seconds=new.fetched_epoch_seconds, ahead_seconds=_WEEK_SECONDS
    )
    return replace(new, slots=overlaid(new.slots, kept))


def windowed(
    slots: tuple[IntensitySlot, ...], *, now_epoch_seconds: float, ahead_seconds: float
) -> tuple[IntensitySlot, ...]:
    """The slots around a time: two hours back, so that a clock may be late, and some ahead."""
    first, last = now_epoch_seconds - 7200.0, now_epoch_seconds + ahead_seconds
    return tuple(
        slot for slot in slots if slot.end_epoch_seconds > first and slot.start_epoch_seconds < last
    )


def _without_skew(slots: tuple[IntensitySlot, ...], now: float) -> tuple[IntensitySlot, ...]:
    if slots and 0.0 < slots[0].start_epoch_seconds - now <= SKEW_SECONDS:
        return (replace(slots[0], start_epoch_seconds=now), *slots[1:])
    return slots


def _silence(slots: tuple[IntensitySlot, ...], source: str, now: float) -> str:
    if not slots:
        return f"{source} has no figure at all."
    first, last = slots[0].start_epoch_seconds, slots[-1].end_epoch_seconds
    if last <= now:
        return f"{source}: the last figure ended {_span(now - last)} ago."
    if first > now:
        return (
            f"{source}: the first figure begins {_span(first - now)} after now; "
            "the clock here or there may be wrong."
        )
    return f"{source} has a gap now."


def _shortcoming(published: Published, source: str) -> str | None:
    if published.missing is not None:
        return published.missing
    if published.refused:
        return f"{source}: {published.refused} impossible values were left out."
    return None


def _span(seconds: float) -> str:
    minutes = round(seconds / 60.0)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004 - minutes in an hour
