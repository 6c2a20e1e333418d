"""Scale-in by rack: a deletion cost on the pods that a planned cut is to take, and off again."""

import logging
import math
from collections.abc import Iterable, Sequence

from capper.decide.plan import Plan, SetMaxReplicas
from capper.decide.rack_room import PlacementRules, Rack
from capper.decide.scale_in import RackedPod, costs, victims
from capper.kube.api import KubeError
from capper.kube.kinds import at
from capper.racks.marks import COST_BEFORE, DELETION_COST
from capper.racks.pod_writer import PodWriter, RefusedError
from capper.racks.pods import Pod, created_epoch_seconds, is_live, name_of, owner_of
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_BATCH_SECONDS = 60.0


class DeletionCosts:
    """Writes costs of one configuration's pods, in one batch a minute at most.

    The documentation of Kubernetes asks not to change them often: each is a write of a pod.
    """

    def __init__(self, writer: PodWriter, clock: Clock) -> None:
        """Write through `writer`."""
        self._writer = writer
        self._clock = clock
        self._marked_seconds = -math.inf
        self._cleaned_seconds = -math.inf

    def cuts(self, plan: Plan) -> dict[str, int]:
        """Target -> replicas that a bound of this plan takes."""
        return {
            one.target: one.current_replicas - one.replicas
            for one in plan.actions
            if isinstance(one, SetMaxReplicas) and one.replicas < one.current_replicas
        }

    async def mark(
        self,
        pods: Sequence[tuple[Pod, str | None]],
        racks: Sequence[Rack],
        count: int,
        rules: PlacementRules,
    ) -> int:
        """Give the pods that are to go a cost; returns how many got one.

        Args:
            pods: Replicas of one target, each with its rack.
            racks: Of the room.
            count: How many the cut takes.
            rules: What is believed.
        """
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - self._marked_seconds < _BATCH_SECONDS:
            return 0
        by_name = {pod["metadata"]["name"]: pod for pod, _ in pods if is_live(pod)}
        known = [
            RackedPod(pod["metadata"]["name"], rack, created_epoch_seconds(pod) or 0.0)
            for pod, rack in pods
            if is_live(pod)
        ]
        names = victims(known, racks, count, rules)
        if not names:
            return 0
        self._marked_seconds = now_seconds
        written = 0
        for name, cost in costs(names).items():
            pod = by_name[name]
            before = at(pod, ("metadata", "annotations", COST_BEFORE))
            kept = at(pod, ("metadata", "annotations", DELETION_COST)) or ""
            marks = {DELETION_COST: str(cost), COST_BEFORE: kept if before is None else before}
            written += await self._write(pod, marks)
        return written

    async def clean(
        self, pods: Iterable[Pod], busy: frozenset[str], *, at_once: bool = False
    ) -> int:
        """Put back what was there before, on pods that no cut is planned for any more.

        Args:
            pods: Of the namespace.
            busy: Owners of which a cut is under way.
            at_once: Also within a minute of the last time: the configuration ends.
        """
        left = [
            pod
            for pod in pods
            if at(pod, ("metadata", "annotations", COST_BEFORE)) is not None
            and is_live(pod)
            and owner_of(pod) not in busy
        ]
        now_seconds = self._clock.monotonic_seconds()
        soon = now_seconds - self._cleaned_seconds < _BATCH_SECONDS
        if not left or (soon and not at_once):
            return 0
        self._cleaned_seconds = now_seconds
        written = 0
        for pod in left:
            before = at(pod, ("metadata", "annotations", COST_BEFORE))
            written += await self._write(pod, {DELETION_COST: before or None, COST_BEFORE: None})
        return written

    async def _write(self, pod: Pod, annotations: dict[str, str | None]) -> int:
        uid = pod["metadata"]["uid"]
        try:
            await self._writer.patch(pod, {"metadata": {"uid": uid, "annotations": annotations}})
        except (RefusedError, KubeError) as error:
            _log.info("%s/%s: its deletion cost is not written: %s", *name_of(pod), error)
            return 0
        return 1
