"""The interface to a cooling manager, and one that only keeps what it is told."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from capper.decide.cooling import SetPoint


class CoolingTrouble(StrEnum):
    """Why a manager is of no use now."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    STATUS = "status"
    MALFORMED = "malformed"
    READ_BACK = "read_back"
    SECRET = "secret"  # noqa: S105 - a label, not a secret


class CoolingError(Exception):
    """The manager did not do, or say, what was asked; one sentence.

    Attributes:
        trouble: For metrics.
    """

    def __init__(self, trouble: CoolingTrouble, sentence: str) -> None:
        """Say what went wrong."""
        super().__init__(sentence)
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerReading:
    """What a manager says.

    Attributes:
        set_celsius: Supply set-point in force; None: none yet.
        supply_celsius: Measured supply temperature; None: it does not say.
    """

    set_celsius: float | None = None
    supply_celsius: float | None = None


class CoolingAdapter(Protocol):
    """A cooling manager. Both calls end within a declared time."""

    async def read(self) -> ManagerReading:
        """What is in force now.

        Raises:
            CoolingError: It cannot be told.
        """
        ...

    async def write(self, point: SetPoint, *, valid_seconds: float) -> None:
        """Order a set-point.

        Args:
            point: Within the declared limits.
            valid_seconds: After which it comes again: for managers with a watchdog of their own.

        Raises:
            CoolingError: It was not taken.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections."""
        ...


class DryRun:
    """Tells nobody."""

    def __init__(self) -> None:
        """Nothing is set."""
        self._point: SetPoint | None = None

    async def read(self) -> ManagerReading:
        """What was written last."""
        point = self._point
        return ManagerReading(set_celsius=None if point is None else point.supply_celsius)

    async def write(self, point: SetPoint, *, valid_seconds: float) -> None:
        """Keep it."""
        del valid_seconds
        self._point = point

    async def aclose(self) -> None:
        """Nothing is open."""
