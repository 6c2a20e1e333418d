"""Workloads without Kubernetes: the backends of a fleet whose replicas can be put to sleep.

Nothing scales such a fleet but the capper, so a bound acts at once: that many replicas are awake.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from capper.actuators.workloads import Trouble, Workload, WorkloadError
from capper.decide.observation import TargetReading
from capper.decide.policy import TargetKind


class LocalReplicas(NamedTuple):
    """Replicas of one backend.

    Attributes:
        awake: Of these, those that serve or are about to.
        total: All that were declared.
        waking: Of the awake ones, those that do not serve yet.
    """

    awake: int
    total: int
    waking: int = 0


class LocalFleet(Protocol):
    """Puts replicas to sleep and wakes them."""

    def replicas(self, backend: str) -> LocalReplicas | None:
        """How many there are; None for an unknown backend."""
        ...

    async def set_awake(self, backend: str, count: int) -> None:
        """Let `count` replicas serve; the others end what they have and sleep.

        Raises:
            OSError: A replica could not be told; the count stands all the same.
        """
        ...


class LocalWorkloads:
    """Implements capper.actuators.workloads.Workloads; a ref's last part names the backend."""

    def __init__(self, fleet: LocalFleet) -> None:
        """Act on `fleet`."""
        self._fleet = fleet
        self._bounds: dict[str, int] = {}

    async def read(self, ref: str) -> Workload:
        """See Workloads."""
        backend, there = self._find(ref)
        bound = self._bounds.get(backend)
        return Workload(
            reading=TargetReading(
                spec_replicas=there.awake,
                status_replicas=there.awake,
                ready_replicas=there.awake - there.waking,
                pending_replicas=there.waking,
                min_replicas=0,
                max_replicas=there.total if bound is None else bound,
            ),
            written=f"{TargetKind.LOCAL.value}/{ref.split('/')[1]}/{backend}",
            backend=backend,
            present=json.dumps(there.total if bound is None else bound),
            kept=None if bound is None else json.dumps(there.total),
            is_ours=bound is not None,
        )

    async def select(self, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """See Workloads."""
        raise WorkloadError(
            Trouble.UNSUPPORTED,
            f"a local fleet has no labels ({kind} in {namespace} with {dict(labels)}).",
        )

    async def set_max_replicas(
        self, ref: str, replicas: int, *, original: str | None = None, take_ownership: bool = False
    ) -> None:
        """See Workloads."""
        del original, take_ownership  # The fleet knows its size, and has no other writer.
        backend, there = self._find(ref)
        await self._wake(ref, backend, min(replicas, there.total))
        self._bounds[backend] = min(replicas, there.total)

    async def restore_max_replicas(self, ref: str, original: str | None = None) -> None:
        """See Workloads."""
        del original
        backend, there = self._find(ref)
        if backend in self._bounds:
            await self._wake(ref, backend, there.total)
            self._bounds.pop(backend)

    async def pause_scale_out(self, ref: str) -> None:
        """See Workloads."""
        raise WorkloadError(Trouble.UNSUPPORTED, f"{ref}: nothing scales it.")

    async def resume_scale_out(self, ref: str) -> None:
        """See Workloads."""
        raise WorkloadError(Trouble.UNSUPPORTED, f"{ref}: nothing scales it.")

    async def evict_replica(self, ref: str, *, floor: int) -> None:
        """See Workloads."""
        del floor
        raise WorkloadError(Trouble.UNSUPPORTED, f"{ref}: its bound acts at once.")

    def _find(self, ref: str) -> tuple[str, LocalReplicas]:
        backend = ref.rsplit("/", maxsplit=1)[-1]
        there = self._fleet.replicas(backend)
        if there is None:
            raise WorkloadError(Trouble.GONE, f"{ref}: the fleet has no backend {backend}.")
        return backend, there

    async def _wake(self, ref: str, backend: str, count: int) -> None:
        try:
            await self._fleet.set_awake(backend, count)
        except OSError as error:
            raise WorkloadError(Trouble.UNAVAILABLE, f"{ref}: {error}") from error
