"""Rebalancing by eviction, where it is asked for: one pod at a time, and budgets are respected."""

import logging
from collections.abc import Sequence

from capper.decide.gates import GateRules, RoomView, violating
from capper.decide.placement import rank
from capper.decide.rack_room import PlacementRules
from capper.decide.scale_in import RackedPod, victims
from capper.kube.api import KubeError
from capper.racks.candidates import Candidate
from capper.racks.metrics import RackMetrics
from capper.racks.pod_writer import PodWriter
from capper.racks.pods import (
    Pod,
    created_epoch_seconds,
    is_live,
    name_of,
    owner_of,
    ready_since_epoch_seconds,
)
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_DWELL_SECONDS = 300.0


class Rebalancing:
    """Empties racks that stay over a limit."""

    def __init__(self, name: str, writer: PodWriter, clock: Clock, metrics: RackMetrics) -> None:
        """Evict for the configuration `name`; nothing before one interval has passed."""
        self._name = name
        self._writer = writer
        self._clock = clock
        self._metrics = metrics
        self._since: dict[str, float] = {}
        self._evicted_seconds = clock.monotonic_seconds()

    async def look(
        self, room: RoomView, candidates: Sequence[Candidate], rules: GateRules, interval: float
    ) -> bool:
        """Evict one pod when that is due and helps; whether one was evicted."""
        now_seconds = self._clock.monotonic_seconds()
        bad = violating(room, rules.placement)
        self._since = {rack: self._since.get(rack, now_seconds) for rack in bad}
        lasting = [
            rack for rack, since in self._since.items() if now_seconds - since >= _DWELL_SECONDS
        ]
        if not lasting or now_seconds - self._evicted_seconds < interval:
            return False
        chosen = _chosen(room, candidates, frozenset(lasting), rules)
        if chosen is None:
            return False
        self._evicted_seconds = now_seconds
        return await self._evict(*chosen)

    async def _evict(self, pod: Pod, rack: str, other: str) -> bool:
        try:
            done = await self._writer.evict(pod)
        except KubeError as error:
            _log.warning("%s/%s may not be evicted: %s", *name_of(pod), error)
            return False
        self._metrics.evicted(self._name, done=done)
        if done:
            message = f"Evicted: rack {rack} stays over a limit, and rack {other} has room."
            await self._writer.tell(pod, "Normal", "RackRebalanced", message)
        else:
            message = f"Not evicted from rack {rack}: a PodDisruptionBudget does not allow it now."
            await self._writer.tell(pod, "Warning", "RackRebalanceHeld", message)
        return done


def _chosen(
    room: RoomView, candidates: Sequence[Candidate], lasting: frozenset[str], rules: GateRules
) -> tuple[Pod, str, str] | None:
    """(pod, its rack, a rack with room); None while a replacement is on its way."""
    unready = {
        owner_of(one.pod)
        for one in candidates
        if is_live(one.pod) and ready_since_epoch_seconds(one.pod) is None
    }
    movable = {
        one.pod["metadata"]["name"]: one
        for one in candidates
        if one.rack in lasting and is_live(one.pod) and owner_of(one.pod) not in unready
    }
    for name in _order([*movable.values()], room, rules.placement):
        one = movable[name]
        if one.watts is None or one.rack is None:
            continue
        ranking = rank(
            rules.policy,
            room.racks,
            room.feeds,
            replica_watts=one.watts,
            model=room.model,
            factors=room.factors,
            rules=rules.placement,
        )
        others = [
            choice.rack
            for choice in ranking.choices
            if choice.rack in one.open_racks and choice.rack not in lasting
        ]
        if others:
            return one.pod, one.rack, others[0]
    return None


def _order(movable: list[Candidate], room: RoomView, rules: PlacementRules) -> Sequence[str]:
    """The worst rack's youngest first; all of one rack are taken as they come."""
    pods = [
        RackedPod(one.pod["metadata"]["name"], one.rack, created_epoch_seconds(one.pod) or 0.0)
        for one in movable
    ]
    ordered = victims(pods, room.racks, len(pods), rules)
    young = sorted(pods, key=lambda pod: (-pod.created_seconds, pod.name))
    return ordered or [pod.name for pod in young]
