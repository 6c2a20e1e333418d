"""Pieces of time with one carbon intensity, and how points of a series become such pieces. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from telemetry.carbon.failures import FeedError, FeedFailure

MAX_GRAMS_PER_KILOWATT_HOUR = 5000.0
"""More than any fuel emits (the dirtiest stay below 2000): a value above is an error."""
_LONGEST_SLOT_SECONDS = 86_400.0


class IntensityKind(StrEnum):
    """What a figure says; the two are never mixed in one policy."""

    AVERAGE = "average"
    """Emissions of the whole grid over its generation."""
    MARGINAL = "marginal"
    """Emissions of the plants that would answer a change of load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensitySlot:
    """A piece of time, half open.

    Attributes:
        start_epoch_seconds: First instant.
        end_epoch_seconds: First instant after it.
        grams_per_kilowatt_hour: gCO2e/kWh, at least 0.
        estimated: Forecast or estimated by the provider, not measured.
    """

    start_epoch_seconds: float
    end_epoch_seconds: float
    grams_per_kilowatt_hour: float
    estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One entry of an answer, before it is believed.

    Attributes:
        start_epoch_seconds: From when it holds.
        end_epoch_seconds: Until when, where the answer says so.
        grams_per_kilowatt_hour: Whatever stood there; None: the provider does not know.
        estimated: As of a slot.
    """

    start_epoch_seconds: float
    end_epoch_seconds: float | None = None
    grams_per_kilowatt_hour: object
    estimated: bool


def plausible_grams(value: object) -> float | None:
    """`value` as gCO2e/kWh; None when it is no number, or one that cannot be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Compared before it is converted: an integer may be too long for a float.
    return float(value) if 0.0 <= value <= MAX_GRAMS_PER_KILOWATT_HOUR else None


def slots_of(
    points: Iterable[Point], *, source: str, step_seconds: float
) -> tuple[tuple[IntensitySlot, ...], int]:
    """(slots in the order of time and without overlap, values left out as impossible).

    A slot ends where its point says, else one step later, never behind the next point and never
    after more than a day. A point without a value is a gap. The step is the most common distance of
    the points, and `step_seconds` where there is only one. Points may come in any order; the same
    one twice counts once.

    Raises:
        FeedError: Two values for one time, or no usable value at all.
    """
    known = _distinct(points, source)
    step = _step([point.start_epoch_seconds for point in known], step_seconds)
    found = []
    refused = 0
    for index, point in enumerate(known):
        grams = plausible_grams(point.grams_per_kilowatt_hour)
        if grams is None:
            refused += point.grams_per_kilowatt_hour is not None
            continue
        start, end = point.start_epoch_seconds, point.end_epoch_seconds
        end = min(start + step if end is None else end, start + _LONGEST_SLOT_SECONDS)
        if index + 1 < len(known):
            end = min(end, known[index + 1].start_epoch_seconds)
        if end > start:
            found.append(
                IntensitySlot(
                    start_epoch_seconds=start,
                    end_epoch_seconds=end,
                    grams_per_kilowatt_hour=grams,
                    estimated=point.estimated,
                )
            )
    if not found:
        raise FeedError(
            FeedFailure.MALFORMED,
            f"{source}: the answer has no intensity between 0 and "
            f"{MAX_GRAMS_PER_KILOWATT_HOUR:g} g/kWh in any of its {len(known)} entries.",
        )
    return tuple(found), refused


def overlaid(
    upper: Sequence[IntensitySlot], lower: Sequence[IntensitySlot]
) -> tuple[IntensitySlot, ...]:
    """`upper`, and `lower` where `upper` says nothing; both in order and without overlap."""
    result = list(upper)
    for slot in lower:
        pieces = [slot]
        for cover in upper:
            pieces = [left for piece in pieces for left in _without(piece, cover)]
        result += pieces
    return tuple(sorted(result, key=lambda slot: slot.start_epoch_seconds))


def _without(slot: IntensitySlot, cover: IntensitySlot) -> list[IntensitySlot]:
    before = min(slot.end_epoch_seconds, cover.start_epoch_seconds)
    after = max(slot.start_epoch_seconds, cover.end_epoch_seconds)
    if before >= slot.end_epoch_seconds or after <= slot.start_epoch_seconds:
        return [slot]
    pieces = (replace(slot, end_epoch_seconds=before), replace(slot, start_epoch_seconds=after))
    return [it for it in pieces if it.end_epoch_seconds > it.start_epoch_seconds]


def _distinct(points: Iterable[Point], source: str) -> list[Point]:
    known: dict[float, Point] = {}
    for point in points:
        if not math.isfinite(point.start_epoch_seconds):
            raise FeedError(FeedFailure.MALFORMED, f"{source}: a time of the answer is no time.")
        if known.setdefault(point.start_epoch_seconds, point) != point:
            raise FeedError(
                FeedFailure.MALFORMED,
                f"{source}: the answer has two different entries for the time "
                f"{point.start_epoch_seconds:.0f} (epoch seconds).",
            )
    return [known[start] for start in sorted(known)]


def _step(starts: Sequence[float], default_seconds: float) -> float:
    counts = Counter(after - before for before, after in pairwise(starts))
    # Of two equally common distances the shorter one: it claims less.
    return min(counts, key=lambda step: (-counts[step], step), default=default_seconds)
