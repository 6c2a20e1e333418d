"""Doing what was decided of gated pods: reserve, narrow and lift in one patch, and tell why."""

import logging
from dataclasses import dataclass

from capper.api.room_blocks import Placement
from capper.decide.gates import Fate, GateDecision
from capper.decide.memory import release, reserve
from capper.decide.state import Reservation
from capper.kube.api import KubeError
from capper.operator.entry import Entry
from capper.racks.ledger import Ledger
from capper.racks.metrics import RackMetrics
from capper.racks.narrowing import let_go, placed
from capper.racks.pod_writer import PodWriter, RefusedError
from capper.racks.pods import Pod, Reserved, age_seconds, name_of
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_KEY = "placement/"


@dataclass(frozen=True, slots=True)
class Placing:
    """Acts on gated pods.

    Attributes:
        writer: Of pods.
        ledger: Where watts are set aside.
        metrics: Told of each gate.
        clock: For ages and ends of reservations.
    """

    writer: PodWriter
    ledger: Ledger
    metrics: RackMetrics
    clock: Clock

    async def carry_out(
        self, entry: Entry, pod: Pod, decision: GateDecision, placement: Placement
    ) -> None:
        """One decision; a pod that waits is left alone."""
        if decision.fate is Fate.PLACED and decision.rack is not None:
            await self._place(entry, pod, decision, decision.rack, placement)
        elif decision.fate is Fate.LET_GO:
            await self._let_go(entry, pod, decision)

    def share_with_loop(self, entry: Entry, foreign: frozenset[str], racks: frozenset[str]) -> None:
        """Let the loop's admission count what is set aside for pods that are no target's.

        Replicas of targets on their way it counts by itself.
        """
        state = entry.state
        held = {
            f"{_KEY}{one.key}": Reservation(
                domain=one.rack, watts=one.watts, until_seconds=one.until_epoch_seconds
            )
            for one in self.ledger.all()
            if one.key in foreign and one.rack in racks
        }
        for key in [key for key in state.reservations if key.startswith(_KEY)]:
            if key not in held:
                state = release(state, key)
        for key, one in held.items():
            if state.reservations.get(key) != one:
                state = reserve(state, key, one)
        entry.state = state

    async def _place(
        self, entry: Entry, pod: Pod, decision: GateDecision, rack: str, placement: Placement
    ) -> None:
        now_seconds = self.clock.epoch_seconds()
        uid = pod["metadata"]["uid"]
        until = now_seconds + placement.reserve_seconds
        patch = placed(
            pod,
            rack=rack,
            rack_label=placement.rack_label,
            watts=decision.watts,
            until_epoch_seconds=until,
            require=placement.require,
            avoid=decision.avoid,
        )
        self.ledger.send(Reserved(uid, rack, decision.watts, until), now_epoch_seconds=now_seconds)
        try:
            await self.writer.patch(pod, patch)
        except RefusedError as error:
            self.ledger.refuse(uid)
            _log.info("%s/%s is left alone: %s", *name_of(pod), error)
            return
        except KubeError as error:
            # It may have been done: the watts stay set aside until the pod tells.
            _log.warning("%s/%s: its rack may not be written: %s", *name_of(pod), error)
            return
        self._count(entry, pod, Fate.PLACED, rack)
        verb = "requires" if placement.require else "prefers"
        message = f"It {verb} rack {rack}: {decision.reason}; {decision.watts:.0f} W are reserved."
        if decision.avoid:
            message += f" It avoids {', '.join(decision.avoid)}, over a limit."
        await self.writer.tell(pod, "Normal", "RackChosen", message)

    async def _let_go(self, entry: Entry, pod: Pod, decision: GateDecision) -> None:
        try:
            await self.writer.patch(pod, let_go(pod))
        except RefusedError as error:
            _log.info("%s/%s is left alone: %s", *name_of(pod), error)
            return
        except KubeError as error:
            _log.warning("%s/%s: its gate may not be lifted: %s", *name_of(pod), error)
            return
        self._count(entry, pod, Fate.LET_GO, None)
        message = f"The gate is lifted as it is: {decision.reason}."
        await self.writer.tell(pod, "Warning", "RackNotChosen", message)

    def _count(self, entry: Entry, pod: Pod, fate: Fate, rack: str | None) -> None:
        age = age_seconds(pod, self.clock.epoch_seconds())
        self.metrics.lifted(entry.name, fate, rack=rack, gate_seconds=age)
