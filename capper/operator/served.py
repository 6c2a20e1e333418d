"""Bounds that KEDA is told of through the external scaler, instead of being written."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from capper.actuators.workloads import Trouble, Workload, WorkloadError, Workloads
from capper.decide.policy import TargetKind
from capper.decide.state import State


def is_served(ref: str) -> bool:
    """Whether KEDA asks for this workload: only ScaledObjects have triggers."""
    return ref.startswith(f"{TargetKind.SCALED_OBJECT.value}/")


class ServedBounds:
    """Workloads whose ScaledObjects are bounded by what is told, the others by what is written.

    Attributes:
        bounds: Canonical ref -> replicas that are told now.
    """

    def __init__(self, inner: Workloads, state: State) -> None:
        """Take up what was told before: the memory outlives the process, this object does not."""
        self._inner = inner
        self.bounds: dict[str, int] = {
            ref: target.written_max
            for ref, target in state.targets.items()
            if is_served(ref) and target.touched and target.written_max is not None
        }

    async def read(self, ref: str) -> Workload:
        """The workload, with the bound that is told in the place of its own."""
        workload = await self._inner.read(ref)
        if not is_served(workload.written):
            return workload
        bound, own = self.bounds.get(workload.written), workload.reading.max_replicas
        if bound is not None and not workload.is_ours:
            top = bound if own is None else min(bound, own)
            reading = replace(workload.reading, max_replicas=top)
            workload = replace(workload, reading=reading, is_ours=True, kept=workload.present)
        return replace(workload, supports_pause=False)

    async def select(self, kind: str, namespace: str, labels: Mapping[str, str]) -> tuple[str, ...]:
        """As written."""
        return await self._inner.select(kind, namespace, labels)

    async def set_max_replicas(
        self, ref: str, replicas: int, *, original: str | None = None, take_ownership: bool = False
    ) -> None:
        """Tell a new bound."""
        if is_served(ref):
            self.bounds[ref] = replicas
        else:
            await self._inner.set_max_replicas(
                ref, replicas, original=original, take_ownership=take_ownership
            )

    async def restore_max_replicas(self, ref: str, original: str | None = None) -> None:
        """Tell none any more."""
        if self.bounds.pop(ref, None) is None:
            await self._inner.restore_max_replicas(ref, original)

    async def pause_scale_out(self, ref: str) -> None:
        """Not done: it would be a write."""
        raise WorkloadError(Trouble.UNSUPPORTED, f"{ref}: it is bounded by the external scaler.")

    async def resume_scale_out(self, ref: str) -> None:
        """Of a pause from before."""
        await self._inner.resume_scale_out(ref)

    def allowed(self, refs: Iterable[tuple[str, int | None]]) -> dict[str, int]:
        """Replicas by ref for those that KEDA may ask about: (ref, the workload's own bound)."""
        found = {}
        for ref, own in refs:
            replicas = self.bounds.get(ref, own)
            if is_served(ref) and replicas is not None:
                found[ref] = replicas
        return found
