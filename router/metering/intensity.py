"""Where the carbon intensity of electricity comes from: an interface, and a static source. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from fleet.units import JOULES_PER_KILOWATT_HOUR


class IntensitySource(Protocol):
    """Grams of CO2 equivalent per joule of electricity, by power domain, varying in time."""

    def grams_per_joule(self, domain: str, *, now_seconds: float) -> float | None:
        """The intensity in force at a monotonic time, or None when it is not known.

        Asked with every event of a replica, so it must be a look-up and nothing more.
        """
        ...


class StaticIntensity:
    """Declared numbers that do not change."""

    __slots__ = ("_by_domain", "_default")

    def __init__(
        self,
        *,
        default_grams_per_kwh: float | None = None,
        grams_per_kwh: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Take gCO2e/kWh per domain, and one for all other domains (None: not known)."""
        self._by_domain = {
            domain: grams / JOULES_PER_KILOWATT_HOUR for domain, grams in grams_per_kwh.items()
        }
        self._default = (
            None
            if default_grams_per_kwh is None
            else default_grams_per_kwh / JOULES_PER_KILOWATT_HOUR
        )

    def grams_per_joule(self, domain: str, *, now_seconds: float) -> float | None:  # noqa: ARG002 - static
        """The declared number."""
        return self._by_domain.get(domain, self._default)


NO_INTENSITY = StaticIntensity()
"""Nothing is known of any grid."""
