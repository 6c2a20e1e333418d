"""The boards of a node as they are: orders carried out and read back, faults noticed.

Everything here runs in one thread that is nobody else's: NVML's calls take milliseconds.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from capper.clocks.board import Board
from capper.clocks.holding import Do, Order, readings_differ
from capper.clocks.leases import LeaseBook
from capper.clocks.nvml import BoardReading, Fault, Nvml, NvmlError
from capper.clocks.ramp import Position
from capper.clocks.tally import Tally
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_READ_BACK_PAUSE_SECONDS = 0.05


class NodeBoards:
    """What is done to boards, and what they answer.

    Attributes:
        book: Who holds what; it is the keeper's.
        known: Boards as last read, by UUID.
        readings: Of the last look, by UUID.
        said: What is wrong with a board, or with NVML or the record, until it is over.
        tally: What happened so far.
    """

    def __init__(
        self,
        nvml: Nvml,
        book: LeaseBook,
        clock: Clock,
        pause: Callable[[float], None],
        *,
        read_back_seconds: float,
    ) -> None:
        """Prepare; nothing is touched before `start`."""
        self._nvml = nvml
        self._clock = clock
        self._pause = pause
        self._read_back_seconds = read_back_seconds
        self._kinds: dict[str, str] = {}
        self.book = book
        self.known: dict[str, Board] = {}
        self.readings: dict[str, BoardReading] = {}
        self.said: dict[str, str] = {}
        self.tally = Tally()

    def start(self) -> None:
        """Start NVML, anew where it was before, and read every board."""
        try:
            self._nvml.start()
            self.known = {one.uuid: one for one in self._nvml.boards()}
        except NvmlError as error:
            self.fault("NVML", error)
            return
        self.said.pop("NVML", None)
        for uuid in self.book.holdings:
            if uuid in self.known:
                self.book.found(self.known[uuid])

    def look(self) -> None:
        """Read every board; find those that came back, failed, and drifted."""
        failed = self._failed()
        for uuid in (*self.known, *(self.book.holdings.keys() - self.known.keys())):
            if not self._nvml.started:
                return
            try:
                self._look_at(uuid, failed=uuid in failed)
            except NvmlError as error:
                self.fault(uuid, error)

    def _look_at(self, uuid: str, *, failed: bool) -> None:
        holding = self.book.holdings.get(uuid)
        if failed or (holding is not None and not holding.present):
            self.known[uuid] = self._nvml.board(uuid)
        reading = self.readings[uuid] = self._nvml.read(uuid)
        if holding is None:
            self.said.pop(uuid, None)
            return
        if not holding.present:
            self.book.found(self.known[uuid])
            _log.info("%s: is back", uuid)
            return
        differs = readings_differ(
            holding, sm_hertz=reading.sm_hertz, limit_watts=reading.limit_watts
        )
        if holding.known and differs is not None:
            if failed:
                self.book.found(self.known[uuid])  # nobody's doing: it is set again
            else:
                self._drift(uuid, differs, reading)

    def _failed(self) -> frozenset[str]:
        """Boards with a critical error since the last look: they are read anew."""
        errors = self._nvml.errors()
        for one in errors:
            self.tally.faults[f"xid_{one.number}"] += 1
            _log.warning("%s: XID %d", one.uuid, one.number)
        return frozenset(one.uuid for one in errors)

    def carry_out(self, uuid: str, orders: tuple[Order, ...], position: Position) -> None:
        """Do what is due on a board, and see that it holds."""
        holding = self.book.holdings[uuid]
        try:
            for order in orders:
                self.do(holding.board, order)
                self.book.touch(uuid)
            self.book.done(uuid, orders, position)
            differs, reading = self._read_back(uuid)
        except NvmlError as error:
            self.fault(uuid, error)
            return
        if differs is None:
            self.said.pop(uuid, None)
            return
        self._drift(uuid, differs, reading)

    def do(self, board: Board, order: Order) -> None:
        """One order.

        Raises:
            NvmlError: It was not done.
        """
        match order.do:
            case Do.LOCK:
                self._nvml.lock(board, order.value)
            case Do.UNLOCK:
                try:
                    self._nvml.unlock(board)
                except NvmlError as error:
                    if error.fault is not Fault.UNSUPPORTED:  # else it was never locked
                        raise
            case Do.LIMIT:
                self._nvml.limit(board, order.value)

    def fault(self, what: str, error: NvmlError) -> None:
        """Remember what a fault means; said once until it is over."""
        self.tally.faults[error.fault.value] += 1
        self.say(what, str(error), kind=error.fault.value)
        self.readings.pop(what, None)
        if error.fault is Fault.ABSENT:
            self._nvml.stop()
            for uuid in self.book.holdings:
                self.book.lost(uuid)
        elif what in self.book.holdings:
            if error.fault is Fault.LOST:
                self.book.lost(what)
                return
            self.book.unsure(what)
            if error.fault in {Fault.PERMISSION, Fault.UNSUPPORTED}:
                # It will not be better the next time: nobody is to believe that it holds.
                self.book.holdings[what] = replace(self.book.holdings[what], leases=())

    def say(self, what: str, sentence: str, *, kind: str = "") -> None:
        """One log line for each kind of thing that goes wrong, until it is over."""
        if what not in self.said or self._kinds.get(what) != (kind or sentence):
            _log.warning("%s", sentence)
        self.said[what], self._kinds[what] = sentence, kind or sentence

    def _read_back(self, uuid: str) -> tuple[str | None, BoardReading]:
        """What differs from what was set, once a clock has had time to follow."""
        deadline = self._clock.monotonic_seconds() + self._read_back_seconds
        while True:
            reading = self.readings[uuid] = self._nvml.read(uuid)
            differs = readings_differ(
                self.book.holdings[uuid],
                sm_hertz=reading.sm_hertz,
                limit_watts=reading.limit_watts,
            )
            if differs is None or self._clock.monotonic_seconds() >= deadline:
                return differs, reading
            self._pause(_READ_BACK_PAUSE_SECONDS)

    def _drift(self, uuid: str, differs: str, reading: BoardReading) -> None:
        self.tally.mismatches += 1
        now_seconds = self._clock.monotonic_seconds()
        left = self.book.drifted(uuid, reading.limit_watts, now_seconds=now_seconds)
        self.say(uuid, differs + (" It is left alone for half an hour." if left else ""))
