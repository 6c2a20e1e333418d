"""Carries leases out on the boards of this node: record first, then clocks, then limits.

Everything here runs in one thread that is nobody else's: NVML's calls take milliseconds.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from capper.clocks.answers import BoardAnswer, BoardClaim, Outcome, answer_of
from capper.clocks.board import Board, RefusedError
from capper.clocks.holding import Do, Order
from capper.clocks.lease import Lease
from capper.clocks.leases import LeaseBook
from capper.clocks.node_boards import NodeBoards
from capper.clocks.nvml import BoardReading, Fault, Nvml, NvmlError
from capper.clocks.ramp import Ramp
from capper.clocks.record import DamagedRecordError, from_document, to_document
from capper.clocks.record_file import RecordFile
from capper.clocks.tally import Tally
from fleet.clock import Clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """Pace of the keeper.

    Attributes:
        ramp: Of clocks.
        read_back_seconds: A board has this long to run at what was set.
    """

    ramp: Ramp = field(default_factory=Ramp)
    read_back_seconds: float = 0.5


class NodeKeeper:
    """The boards of one node.

    Attributes:
        book: Who holds what.
    """

    def __init__(
        self,
        nvml: Nvml,
        record: RecordFile,
        clock: Clock,
        pause: Callable[[float], None],
        settings: KeeperSettings | None = None,
    ) -> None:
        """Prepare; nothing is touched before `open`."""
        self._nvml = nvml
        self._record = record
        self._clock = clock
        self._limits: dict[str, tuple[str, ...]] = {}
        settings = settings or KeeperSettings()
        self.book = LeaseBook(settings.ramp)
        self._boards = NodeBoards(
            nvml, self.book, clock, pause, read_back_seconds=settings.read_back_seconds
        )

    @property
    def tally(self) -> Tally:
        """What happened so far."""
        return self._boards.tally

    @property
    def boards(self) -> dict[str, Board]:
        """As last read, by UUID."""
        return self._boards.known

    @property
    def readings(self) -> dict[str, BoardReading]:
        """Of the last beat, by UUID."""
        return self._boards.readings

    @property
    def nvml_works(self) -> bool:
        """Whether the driver answers."""
        return self._nvml.started

    def open(self) -> None:
        """Start NVML and put back what an agent before this one left lowered."""
        self._boards.start()
        try:
            document = self._record.read()
            holdings = [] if document is None else from_document(document, self.boards)
        except DamagedRecordError as error:
            self._distrust(error)
            return
        if holdings:
            _log.warning("%d boards were left held by an agent that ended", len(holdings))
        self.tally.orphans += len(holdings)
        self.book.take_up(holdings)
        self.book.end_all()
        self._turn(at_once=True)
        self._boards.look()

    def restore_all(self) -> tuple[str, ...]:
        """Put everything back, safe limits too; returns the boards for which that failed."""
        for uuid, holding in self.book.holdings.items():
            self.book.holdings[uuid] = replace(holding, leases=())
        self._turn(at_once=True)
        return tuple(self.book.holdings)

    def board_of_instance(self, uuid: str) -> str | None:
        """The board of a MIG instance; None when NVML does not know it."""
        try:
            return self._nvml.board_of_instance(uuid)
        except NvmlError:
            return None

    def hold(self, holder: str, claims: Sequence[BoardClaim]) -> list[BoardAnswer]:
        """Take up or renew leases, let go of the holder's others, and set what follows."""
        now_seconds = self._clock.monotonic_seconds()
        answers = {one.uuid: self._claim(holder, one, now_seconds) for one in claims}
        held = [one.uuid for one in claims if answers[one.uuid] is None]
        self.book.keep_only(holder, frozenset(answers))
        try:
            self._save()
        except OSError as error:
            said = f"the record cannot be written: {error}; nothing is set."
            for uuid in held:
                if not self.book.holdings[uuid].touched:
                    self.book.release(holder, uuid)
                    answers[uuid] = self._refuse(uuid, "record", f"{uuid}: {said}", failed=True)
        self._turn()
        return [answers[one.uuid] or self._outcome(holder, one.uuid) for one in claims]

    def release(self, holder: str) -> tuple[str, ...]:
        """End all leases of a holder; clocks rise by their ramp."""
        released = self.book.release(holder)
        self._turn()
        return released

    def beat(self) -> None:
        """Once a second or so: leases run out, ramps go on, boards are looked at."""
        for uuid, lease in self.book.expire(now_seconds=self._clock.monotonic_seconds()):
            self.tally.expirations[lease.on_expiry.value] += 1
            _log.warning("%s: %s did not renew its lease", uuid, lease.holder)
        if not self._nvml.started:
            self._boards.start()
        self._boards.look()
        self._turn()

    def close(self) -> None:
        """The agent ends: what is held is put back at once, or left at its safe limit."""
        self.book.end_all()
        self._turn(at_once=True)
        self._nvml.stop()
        self._record.close()

    # Inside

    def _claim(self, holder: str, claim: BoardClaim, now_seconds: float) -> BoardAnswer | None:
        try:
            if not self._nvml.started:
                said = self._boards.said.get("NVML", "NVML does not answer.")
                return self._refuse(claim.uuid, Fault.ABSENT.value, said, failed=True)
            if claim.uuid in self.book.holdings:
                board = self.book.holdings[claim.uuid].board
            else:
                board = self.boards[claim.uuid] = self._nvml.board(claim.uuid)
            if board.mig and not claim.mig_declared:
                said = f"{claim.uuid}: its MIG instances share one clock."
                return self._refuse(claim.uuid, "mig", said)
            lease = Lease(
                holder=holder,
                setting=claim.setting,
                expires_seconds=now_seconds + claim.lease_seconds,
                on_expiry=claim.on_expiry,
                safe_limit_watts=claim.safe_limit_watts,
            )
            self._limits[claim.uuid] = self.book.claim(board, lease, now_seconds=now_seconds)
        except RefusedError as error:
            return self._refuse(claim.uuid, "range", str(error))
        except NvmlError as error:
            self._boards.fault(claim.uuid, error)
            return self._refuse(claim.uuid, error.fault.value, str(error), failed=True)
        return None

    def _outcome(self, holder: str, uuid: str) -> BoardAnswer:
        """What became of a claim that was taken up."""
        said, holding = self._boards.said.get(uuid, ""), self.book.holdings.get(uuid)
        if holding is None or not any(one.holder == holder for one in holding.leases):
            return self._refuse(uuid, "nvml", said or f"{uuid}: it was given up.")
        return answer_of(holding, said, self._limits.get(uuid, ()))

    def _refuse(
        self, uuid: str, reason: str, sentence: str, *, failed: bool = False
    ) -> BoardAnswer:
        self.tally.refusals[reason] += 1
        outcome = Outcome.FAILED if failed else Outcome.REFUSED
        return BoardAnswer(uuid=uuid, outcome=outcome, sentence=sentence)

    def _turn(self, *, at_once: bool = False) -> None:
        now_seconds = self._clock.monotonic_seconds()
        for uuid, orders, position in list(self.book.due(now_seconds=now_seconds, at_once=at_once)):
            if self._nvml.started:
                self._boards.carry_out(uuid, orders, position)
        held = len(self.book.holdings)
        self.book.settle()
        self.tally.restores += held - len(self.book.holdings)
        try:
            self._save()
            self._boards.said.pop("record", None)
        except OSError as error:
            self._boards.say("record", f"the record cannot be written: {error}.")

    def _distrust(self, error: DamagedRecordError) -> None:
        """Without a record: locks are taken off everywhere, limits are left as they are."""
        aside = self._record.set_aside()
        _log.error("the record is damaged (%s) and is now %s: all locks are reset", error, aside)
        for board in self.boards.values():
            try:
                self._boards.do(board, Order(board.uuid, Do.UNLOCK))
            except NvmlError as fault:
                self._boards.fault(board.uuid, fault)

    def _save(self) -> None:
        self._record.write(to_document(self.book.holdings.values()))
