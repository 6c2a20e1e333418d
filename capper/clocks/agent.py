"""The agent of one node: its keeper in a thread, and who owns which board."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, TypeVar

from capper.clocks.answers import BoardAnswer, BoardClaim, Outcome
from capper.clocks.keeper import NodeKeeper
from capper.clocks.owners import OwnerClaim, Ownership, by_board, merged
from capper.clocks.pod_resources import OwnersUnknownError
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_Value = TypeVar("_Value")
# Pods come and go in seconds; an answer this old still tells who shares a board.
_OWNERS_SECONDS = 60.0


class Owners(Protocol):
    """Says who owns which board of this node; raises OwnersUnknownError."""

    async def owners(self) -> Ownership:
        """Board -> owners."""
        ...


class NodeAgent:
    """Leases on the boards of one node.

    Attributes:
        node: Name of the node.
        keeper: The boards; to be read from other threads, not called.
        ownership: As last known.
    """

    def __init__(
        self,
        keeper: NodeKeeper,
        clock: Clock,
        *,
        node: str,
        kubelet: Owners | None = None,
        declared_owners: Ownership | None = None,
        declared_shared: frozenset[str] = frozenset(),
        beat_seconds: float = 1.0,
    ) -> None:
        """Put the parts together; nothing is touched before `start`.

        Args:
            keeper: The boards.
            clock: For the age of what the kubelet said.
            node: Name of the node.
            kubelet: Who says whose the boards are; None: only the declared owners count.
            declared_owners: From the configuration.
            declared_shared: Boards that may be set though others use them or MIG is on.
            beat_seconds: From one look at the boards to the next.
        """
        self.node = node
        self.keeper = keeper
        self._clock = clock
        self._kubelet = kubelet
        self._declared_owners = declared_owners or {}
        self._declared_shared = declared_shared
        self._beat_seconds = beat_seconds
        self.ownership: Ownership = self._declared_owners
        self._asked_seconds = float("-inf")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="boards")
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Put back what was left lowered, and begin to beat."""
        await self._in_thread(self.keeper.open)
        self._beating = asyncio.create_task(self._beat_for_ever(), name="clock agent")

    async def stop(self) -> None:
        """Put everything back, or leave it at its safe limit."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self._in_thread(self.keeper.close)
        self._thread.shutdown()

    async def hold(
        self, holder: str, claims: Sequence[OwnerClaim], terms: BoardClaim
    ) -> list[tuple[str, BoardAnswer]]:
        """(owner, answer) for each owner's boards of the claims that are on this node.

        Args:
            holder: Who asks.
            claims: All that this holder wants here; what it held before and leaves out is let go.
            terms: How long, and what then.
        """
        try:
            ownership = await self._owners()
        except OwnersUnknownError as error:
            said = f"{self.node}: {error}"
            failed = BoardAnswer(uuid="", outcome=Outcome.FAILED, sentence=said)
            return [(claim.owner, failed) for claim in claims]
        wanted, refused = by_board(
            claims,
            ownership,
            frozenset(self.keeper.boards),
            declared=self._declared_shared,
        )
        for _, one in refused:
            self.keeper.tally.refusals["owners"] += 1
            _log.debug("%s", one.sentence)
        asked = [
            replace(
                terms,
                uuid=uuid,
                setting=wish.setting,
                mig_declared=uuid in self._declared_shared,
            )
            for uuid, wish in wanted.items()
        ]
        answers = await self._in_thread(lambda: self.keeper.hold(holder, asked))
        held = [(owner, one) for one in answers for owner in wanted[one.uuid].owners]
        return [*held, *refused]

    async def release(self, holder: str) -> tuple[str, ...]:
        """Let go of all that a holder has."""
        return await self._in_thread(lambda: self.keeper.release(holder))

    async def _owners(self) -> Ownership:
        if self._kubelet is None:
            return self._declared_owners
        now_seconds = self._clock.monotonic_seconds()
        try:
            found = await self._kubelet.owners()
        except OwnersUnknownError:
            if now_seconds - self._asked_seconds > _OWNERS_SECONDS:
                raise
            return self.ownership
        self._asked_seconds = now_seconds
        self.ownership = merged(self._declared_owners, found)
        return self.ownership

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._beat_seconds)
            try:
                await self._in_thread(self.keeper.beat)
            except Exception:  # noqa: BLE001 - supervisor: leases must run out whatever happens
                _log.exception("a beat of the clock agent failed")

    async def _in_thread(self, work: Callable[[], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
