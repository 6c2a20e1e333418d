"""What the loop asks of whatever runs the replicas; fulfilled for Kubernetes and a local fleet."""

from collections.abc import Mapping
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
        present: What its bound is now, in a form that only its adapter reads.
        kept: What it was before the capper, in the same form, where the object itself keeps it.
        is_ours: Whether the bound that is there now was written by the capper; None: the object
            does not say, only whoever remembers what was there before can.
        pause_is_ours: Whether its scale-out is paused by the capper.
    """

    reading: TargetReading
    written: str
    backend: str | None = None
    supports_pause: bool = False
    present: str = "null"
    kept: str | None = None
    is_ours: bool | None = False
    pause_is_ours: bool = False


class Workloads(Protocol):
    """Reads and writes workloads by ref ("Kind/namespace/name"). All writes are idempotent.

    Every method raises WorkloadError, and then has changed nothing that a repetition would not
    complete.
    """

    async def read(self, ref: str) -> Workload:
        """The workload now."""
        ...

    async def select(self, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Refs of the workloads of a kind that have all these labels, sorted."""
        ...

    async def set_max_replicas(
        self, ref: str, replicas: int, *, original: str | None = None, take_ownership: bool = False
    ) -> None:
        """Bound it.

        Args:
            ref: Which.
            replicas: The bound.
            original: `Workload.present` before the first bound, where the object cannot keep it.
            take_ownership: Also when another manager applies the bound.
        """
        ...

    async def restore_max_replicas(self, ref: str, original: str | None = None) -> None:
        """Put back what was there before, and leave no trace; nothing when nothing is ours."""
        ...

    async def pause_scale_out(self, ref: str) -> None:
        """Stop growth without naming a number."""
        ...

    async def resume_scale_out(self, ref: str) -> None:
        """Allow growth again."""
        ...

    async def evict_replica(self, ref: str, *, floor: int) -> None:
        """Remove one replica, as disruption budgets allow, and while `floor` ready ones stay."""
        ...
