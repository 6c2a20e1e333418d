"""Emissions of a stretch of time: power x intensity x PUE summed, and what that covers. Pure.

E = PUE * sum over t of P(t) * I(t) * dt, as operational emissions in the Software Carbon Intensity
specification (ISO/IEC 21031); times at which power or intensity is not known are left out and told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.units import JOULES_PER_KILOWATT_HOUR
from telemetry.carbon.slots import IntensitySlot


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSpan:
    """Mean power over a piece of time.

    Attributes:
        start_epoch_seconds: First instant.
        end_epoch_seconds: First instant after it.
        power_watts: Of the computers; None: not known.
    """

    start_epoch_seconds: float
    end_epoch_seconds: float
    power_watts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """What was emitted, as far as it is known.

    Attributes:
        grams: gCO2e in the covered time; None: no time is covered.
        energy_joules: Of the site in the covered time, PUE included.
        covered_seconds: In which both power and intensity are known.
        total_seconds: Of all spans.
    """

    grams: float | None
    energy_joules: float
    covered_seconds: float
    total_seconds: float

    @property
    def covered_ratio(self) -> float | None:
        """Share of the time that is covered; None: there is no time."""
        return self.covered_seconds / self.total_seconds if self.total_seconds > 0.0 else None


def emission(
    spans: Sequence[PowerSpan], slots: Sequence[IntensitySlot], *, pue_ratio: float = 1.0
) -> Emission:
    """Integral over spans that do not overlap, with slots that do not overlap.

    Args:
        spans: In any order.
        slots: Of one kind, in any order.
        pue_ratio: Power of the site over that of the computers, at least 1.

    Raises:
        ValueError: `pue_ratio` below 1.
    """
    if not pue_ratio >= 1.0:
        raise ValueError(f"pue_ratio is {pue_ratio}, it is at least 1")
    grams = joules = covered = 0.0
    for span in spans:
        if span.power_watts is None:
            continue
        for slot in slots:
            seconds = min(span.end_epoch_seconds, slot.end_epoch_seconds) - max(
                span.start_epoch_seconds, slot.start_epoch_seconds
            )
            if seconds > 0.0:
                drawn = span.power_watts * pue_ratio * seconds
                joules += drawn
                covered += seconds
                grams += drawn / JOULES_PER_KILOWATT_HOUR * slot.grams_per_kilowatt_hour
    return Emission(
        grams=grams if covered > 0.0 else None,
        energy_joules=joules,
        covered_seconds=covered,
        total_seconds=sum(it.end_epoch_seconds - it.start_epoch_seconds for it in spans),
    )
