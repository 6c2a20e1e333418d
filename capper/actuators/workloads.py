"""What the loop asks of whatever runs the replicas; fulfilled for Kubernetes and a local fleet."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from capper.decide.observation import TargetReading


class Trouble(StrEnum):
    """Why a workload could not be read or written."""

    GONE = "Gone"
    CONFLICT = "FieldConflict"
    UNSUPPORTED = "Unsupported"
    UNAVAILABLE = "Unavailable"


class WorkloadError(Exception):
    """A workload could not be read or written; nothing was changed.

    Attributes:
        trouble: For conditions and metrics.
    """

    def __init__(self, trouble: Trouble, message: str) -> None:
        """Say what is wrong in one sentence."""
        super().__init__(message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One workload as it is now.

    Attributes:
        reading: Replicas and bounds; watts and tokens are others' to add.
        written: "Kind/namespace/name" of the object that bounds are written to.
        backend: Name under which the router knows it, None when it has none.
        supports_pause: Whether scale-out can be paused.
    """

    reading: TargetReading
    written: str
    backend: str | None = None
    supports_pause: bool = False


class Workloads(Protocol):
    """Reads and writes workloads by ref ("Kind/namespace/name"). All writes are idempotent.

    Every method raises WorkloadError, and then has changed nothing.
    """

    async def read(self, ref: str) -> Workload:
        """The workload now."""
        ...

    async def set_max_replicas(self, ref: str, replicas: int) -> None:
        """Bound it; the first time, what was there before is kept with the object."""
        ...

    async def restore_max_replicas(self, ref: str) -> None:
        """Put back what was there before, and leave no trace; nothing when nothing was changed."""
        ...

    async def pause_scale_out(self, ref: str) -> None:
        """Stop growth without naming a number."""
        ...

    async def resume_scale_out(self, ref: str) -> None:
        """Allow growth again."""
        ...
