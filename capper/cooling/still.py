"""Inlet sensors that hang: the supply has moved, as inlets have it by now, and they have not. Pure.

Sensors of management controllers count whole degrees, so that less than two kelvin may not show.
"""

from collections.abc import Mapping
from typing import NamedTuple

MOVED_KELVIN = 2.0


class _Still(NamedTuple):
    """A reading that has not changed, and the supply when it came."""

    celsius: float
    supply_celsius: float
    hangs: bool


class StillInlets:
    """What each inlet says, and since which supply."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._still: dict[str, _Still] = {}

    def hanging(
        self, inlets: Mapping[str, float], *, supply_celsius: float | None
    ) -> frozenset[str]:
        """Racks whose inlet hangs; one that hangs does so until it says something else.

        Args:
            inlets: Degrees by rack.
            supply_celsius: That inlets follow by now; None: not known, nothing is found out.
        """
        for name in self._still.keys() - inlets.keys():
            del self._still[name]
        for name, celsius in inlets.items():
            last = self._still.get(name)
            if last is None or last.celsius != celsius:
                if supply_celsius is None:
                    self._still.pop(name, None)
                else:
                    self._still[name] = _Still(celsius, supply_celsius, hangs=False)
            elif supply_celsius is not None:
                moved = abs(supply_celsius - last.supply_celsius) >= MOVED_KELVIN
                self._still[name] = last._replace(hangs=last.hangs or moved)
        return frozenset(name for name, one in self._still.items() if one.hangs)
