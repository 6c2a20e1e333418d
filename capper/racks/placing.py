"""Doing what was decided of gated pods: reserve, narrow and lift in one patch, and tell why."""

import logging
import math

from capper.api.room_blocks import Placement
from capper.decide.gates import Fate, GateDecision
from capper.decide.memory import release, reserve
from capper.decide.state import Reservation
from capper.kube.api import KubeError
from capper.operator.entry import Entry
from capper.racks.candidates import service_of
from capper.racks.ledger import Ledger
from capper.racks.metrics import RackMetrics
from capper.racks.narrowing import let_go, placed
from capper.racks.pod_writer import PodWriter, RefusedError
from capper.racks.pods import Pod, Reserved, age_seconds, name_of
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_KEY = "placement/"
_AFTER_REFUSAL_SECONDS = 10.0


class Placing:
    """Acts on gated pods.

    Attributes:
        writer: Of pods.
        ledger: Where watts are set aside.
    """

    def __init__(
        self, writer: PodWriter, ledger: Ledger, metrics: RackMetrics, clock: Clock
    ) -> None:
        """Write through `writer`; `metrics` are told of each gate."""
        self.writer = writer
        self.ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._refused: dict[str, tuple[float, str]] = {}

    async def carry_out(
        self, entry: Entry, pod: Pod, decision: GateDecision, placement: Placement
    ) -> str:
        """One decision; a pod that waits is left alone. Says what the capper has no right to."""
        now_seconds = self._clock.monotonic_seconds()
        since, why = self._refused.get(decision.key, (-math.inf, ""))
        if now_seconds - since < _AFTER_REFUSAL_SECONDS:
            return why
        try:
            if decision.fate is Fate.PLACED and decision.rack is not None:
                await self._place(entry, pod, decision, decision.rack, placement)
            elif decision.fate is Fate.LET_GO:
                await self._let_go(entry, pod, decision)
        except RefusedError as error:
            self.ledger.refuse(decision.key)
            _log.info("%s/%s is left alone: %s", *name_of(pod), error)
            return self._refuse(decision.key, str(error) if error.forbidden else "", now_seconds)
        except KubeError as error:
            # It may have been done: what was set aside stays so until the pod tells.
            _log.warning("%s/%s: its gate may not be lifted: %s", *name_of(pod), error)
        return ""

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
        now_seconds = self._clock.epoch_seconds()
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
        await self.writer.patch(pod, patch)
        peaks = entry.advice.peaks
        service = None if peaks is None else service_of(pod, peaks.services)
        if service is not None:
            entry.advice.placed(uid, service, rack)
        self._count(entry, pod, Fate.PLACED, rack)
        verb = "requires" if placement.require else "prefers"
        message = f"It {verb} rack {rack}: {decision.reason}; {decision.watts:.0f} W are reserved."
        if decision.avoid:
            message += f" It avoids {', '.join(decision.avoid)}, over a limit."
        await self.writer.tell(pod, "Normal", "RackChosen", message)

    async def _let_go(self, entry: Entry, pod: Pod, decision: GateDecision) -> None:
        await self.writer.patch(pod, let_go(pod))
        self._count(entry, pod, Fate.LET_GO, None)
        message = f"The gate is lifted as it is: {decision.reason}."
        await self.writer.tell(pod, "Warning", "RackNotChosen", message)

    def _count(self, entry: Entry, pod: Pod, fate: Fate, rack: str | None) -> None:
        age = age_seconds(pod, self._clock.epoch_seconds())
        self._metrics.lifted(entry.name, fate, rack=rack, gate_seconds=age)

    def _refuse(self, key: str, why: str, now_seconds: float) -> str:
        """Do not ask again soon; forgets those that may be asked again."""
        recent = {
            uid: pair
            for uid, pair in self._refused.items()
            if now_seconds - pair[0] < _AFTER_REFUSAL_SECONDS
        }
        self._refused = {**recent, key: (now_seconds, why)}
        return why
