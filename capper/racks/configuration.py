"""The racks of one configuration: what is seen of them, and what is done in them in one turn."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from capper.api.room_blocks import Placement
from capper.decide.gates import Fate, GateDecision, GateRules, RoomView, decide_gates, violating
from capper.decide.plan import Plan
from capper.decide.policy import Mode, Policy
from capper.kube.api import KubeApi, KubeError
from capper.operator.entry import Entry
from capper.operator.leaving import RestoreError
from capper.operator.report import TurnReport
from capper.racks.candidates import (
    Seen,
    candidates,
    gated_pods,
    not_in_force,
    owners_of,
    why_not_in_force,
    wishes,
)
from capper.racks.deletion_costs import DeletionCosts
from capper.racks.ledger import Ledger
from capper.racks.looks import RackLook
from capper.racks.matrix import MatrixInForce
from capper.racks.metrics import RackMetrics
from capper.racks.placing import Placing
from capper.racks.pods import (
    Pod,
    is_of_replica_set,
    nodes_to_racks,
    owner_of,
    rack_of,
)
from capper.racks.rebalancing import Rebalancing
from capper.racks.room import rack_statuses, room_of, rules_of
from capper.racks.saying import conditions_of
from capper.racks.sensed import Sensed
from capper.racks.sensors import Sensors
from capper.racks.template_affinity import TemplateAffinity
from fleet.clock import Clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One configuration in one turn.

    Attributes:
        entry: The configuration.
        placement: Its block.
        report: The loop's newest turn.
        seen: The cluster.
        rules: How pods are placed.
    """

    entry: Entry
    placement: Placement
    report: TurnReport
    seen: Seen
    rules: GateRules


class RackConfiguration:
    """Keeps the racks of one configuration.

    Attributes:
        look: The newest; None before the first turn.
    """

    def __init__(
        self,
        name: str,
        *,
        api: KubeApi,
        clock: Clock,
        placing: Placing,
        sensors: Sensors,
        metrics: RackMetrics,
    ) -> None:
        """Prepare for the configuration "namespace/name"."""
        self._name = name
        self._clock = clock
        self._placing = placing
        self._sensors = sensors
        self._metrics = metrics
        self._costs = DeletionCosts(placing.writer, clock)
        self._rebalancing = Rebalancing(name, placing.writer, clock, metrics)
        self._template = TemplateAffinity(api, clock, name.partition("/")[0])
        self._report: TurnReport | None = None
        self._report_seconds = 0.0
        self._complaints: frozenset[str] = frozenset()
        self._seen: Seen | None = None
        self.look: RackLook | None = None

    async def turn(self, task: Task, ledger: Ledger, matrix: MatrixInForce) -> RackLook:
        """Look at the racks, place what is gated, and do what else is asked for."""
        self._seen = task.seen
        self._sensors.keep(one.rack_id for one in task.entry.config.spec.rack_constraints)
        sensed = await self._sensors.read(task.placement.queries)
        room, doubts = room_of(
            task.entry.config.spec,
            task.report,
            late_seconds=self._late_seconds(task.report),
            sensed=sensed,
            believe=self._sensors.believed,
            reserved=ledger.all(),
            matrix=matrix,
        )
        decisions = self._decide(task, room)
        refused = []
        for pod, decision in decisions:
            refused += [await self._placing.carry_out(task.entry, pod, decision, task.placement)]
            if decision.rack is not None:
                room = room.reserving(decision.rack, decision.watts)
        told = await self._further(task, room)
        problems = (*sensed.problems, *told, *dict.fromkeys(filter(None, refused)))
        self._complain(frozenset({*doubts, *problems, *filter(None, [matrix.problem])}))
        counts = {rack: len(found) for rack, found in task.seen.racks(task.placement).items()}
        self.look = RackLook(
            racks=rack_statuses(room, task.rules.placement, counts),
            conditions=conditions_of(
                task.placement,
                Mode(task.entry.config.spec.mode),
                racks=[one.name for one in room.racks],
                nodes=counts,
                matrix=matrix,
                doubts=doubts,
                problems=problems,
            ),
            gated=sum(decision.fate is Fate.WAITS for _, decision in decisions),
            matrix=matrix.source,
            cooling_watts=_cooling_watts(sensed),
            room=room,
        )
        self._metrics.show(self._name, self.look, len(doubts))
        return self.look

    async def before_acting(self, entry: Entry, policy: Policy, plan: Plan) -> None:
        """Mark the pods that a planned cut is to take; without a look at the racks, none."""
        placement, look, seen = entry.config.spec.placement, self.look, self._seen
        cuts = self._costs.cuts(plan)
        if not cuts or placement is None or not placement.steer_scale_in:
            return
        if look is None or look.room is None or seen is None:
            return
        rules = rules_of(entry.config.spec, placement).placement
        by_node = nodes_to_racks(seen.nodes, placement.rack_label)
        backends = {one.ref: one.backend for one in policy.targets}
        for ref, count in cuts.items():
            mine = [
                pod
                for pod in seen.pods
                if owner_of(pod) == backends.get(ref) and is_of_replica_set(pod)
            ]
            racked = [(pod, rack_of(pod, by_node)) for pod in mine]
            await self._costs.mark(racked, look.room.racks, count, rules)

    async def put_back(self) -> None:
        """Take all marks off.

        Raises:
            RestoreError: Something is still there.
        """
        try:
            await self._template.put_back()
        except KubeError as error:
            raise RestoreError(str(error)) from error
        if self._seen is not None:
            await self._costs.clean(self._seen.pods, frozenset(), at_once=True)

    def _decide(self, task: Task, room: RoomView) -> list[tuple[Pod, GateDecision]]:
        now_seconds = self._clock.epoch_seconds()
        peaks = task.entry.advice.peaks
        waiting = gated_pods(
            task.seen,
            task.report,
            task.placement,
            now_epoch_seconds=now_seconds,
            services=() if peaks is None else peaks.services,
        )
        room = replace(room, peaks=peaks)
        mode = Mode(task.entry.config.spec.mode)
        known = bool(task.seen.racks(task.placement))
        why = why_not_in_force(task.placement, mode, known=known)
        decided = decide_gates(waiting, room, task.rules)
        if why:
            decided = not_in_force(decided, why)
        pods = {pod["metadata"]["uid"]: pod for pod in task.seen.gated}
        return [(pods[one.key], one) for one in decided]

    async def _further(self, task: Task, room: RoomView) -> Sequence[str]:
        """Clean up, rebalance, write templates: what is asked for; sentences on what failed."""
        placement, enforces = task.placement, task.entry.enforces
        owners = owners_of(task.report.policy, task.report.plan)
        shrinking = {
            name
            for name, one in owners.items()
            if one.bound is not None
            and one.current_replicas is not None
            and one.bound < one.current_replicas
        }
        await self._costs.clean(task.seen.pods, frozenset(shrinking))
        if enforces and placement.rebalance_by_eviction:
            found = candidates(task.seen, task.report, placement)
            await self._rebalancing.look(room, found, task.rules, placement.eviction_seconds)
        try:
            if not (enforces and placement.mode == "DeploymentAffinity"):
                await self._template.put_back()
                return ()
            return await self._template.write(
                wishes(owners, room, placement, task.rules),
                rack_label=placement.rack_label,
                bad=violating(room, task.rules.placement),
            )
        except KubeError as error:
            return (str(error),)

    def _late_seconds(self, report: TurnReport) -> float:
        """How long ago the loop made this report: a loop that hangs tells old news."""
        now_seconds = self._clock.monotonic_seconds()
        if report is not self._report:
            self._report, self._report_seconds = report, now_seconds
        return now_seconds - self._report_seconds

    def _complain(self, complaints: frozenset[str]) -> None:
        """One log line for each new trouble, not one for each turn; figures in it may move."""
        subjects = {one.partition(" says ")[0]: one for one in complaints}
        for subject in sorted(subjects.keys() - self._complaints):
            _log.warning("%s: %s.", self._name, subjects[subject].removesuffix("."))
        self._complaints = frozenset(subjects)


def _cooling_watts(sensed: Sensed) -> float | None:
    value = None if sensed.cooling is None else sensed.cooling.value
    return value if value is not None and math.isfinite(value) and value >= 0.0 else None
