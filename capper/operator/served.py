"""Bounds that KEDA is told of through the external scaler, instead of being written."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from capper.actuators.workloads import Trouble, Workload, WorkloadError, Workloads
from capper.decide.policy import TargetKind
from capper.decide.state import State
from capper.external_scaler.allowances import Allowance
from capper.operator.report import TurnReport


def is_served(ref: str) -> bool:
    """Whether KEDA asks for this workload: only ScaledObjects have triggers."""
    return ref.startswith(f"{TargetKind.SCALED_OBJECT.value}/")


class ServedBounds:
    """Workloads whose ScaledObjects are bounded by what is told, the others by what is written.

    Attributes:
        bounds: Canonical ref -> replicas that the cap allows; one without is not bounded.
        told: Canonical ref -> what KEDA was told last.
    """

    def __init__(self, inner: Workloads, state: State) -> None:
        """Take up what was told before: the memory outlives the process, this object does not."""
        self._inner = inner
        self.told: dict[str, Allowance] = {}
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
        # What is told may be 0, what is written could not.
        workload = replace(workload, reading=replace(workload.reading, least_bound=None))
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

    async def evict_replica(self, ref: str, *, floor: int) -> None:
        """A replica is evicted whoever is told of the bound."""
        await self._inner.evict_replica(ref, floor=floor)


def allowances(
    pairs: Iterable[tuple[ServedBounds, TurnReport]],
) -> dict[tuple[str, str], Allowance]:
    """What KEDA is told, by (namespace, name) of the ScaledObject; of two the lower.

    A workload that could not be read keeps what was told of it last.
    """
    told: dict[tuple[str, str], Allowance] = {}
    for served, report in pairs:
        for decision in report.plan.targets:
            if not is_served(decision.ref):
                continue
            _, namespace, name = decision.ref.split("/")
            reading = report.observation.targets.get(decision.ref)
            own = None if reading is None else reading.max_replicas
            replicas = served.bounds.get(decision.ref, own)
            allowance = served.told.get(decision.ref)
            if replicas is not None and decision.current_replicas is not None:
                allowance = Allowance(
                    replicas=replicas,
                    current=decision.current_replicas,
                    band=decision.band.name.capitalize(),
                )
            if allowance is None:
                continue
            served.told[decision.ref] = allowance
            key = (namespace, name)
            told[key] = min(told.get(key, allowance), allowance, key=lambda one: one.replicas)
    return told
