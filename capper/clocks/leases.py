"""All leases of a node: what is claimed, what follows, and what a restart has to put back. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from capper.clocks.board import Board, RefusedError, fitted, fitted_safe
from capper.clocks.holding import Do, Holding, Order, limit_differs
from capper.clocks.lease import Lease
from capper.clocks.ramp import Position, Ramp

_MAX_DRIFTS = 3
_FEUD_SECONDS = 1800.0


class LeaseBook:
    """Holdings by board, and the rules between them.

    Attributes:
        holdings: By UUID: every board that is held, or not yet put back.
    """

    def __init__(self, ramp: Ramp | None = None) -> None:
        """Nothing is held."""
        self._ramp = ramp or Ramp()
        self._feuds: dict[str, float] = {}
        self.holdings: dict[str, Holding] = {}

    def take_up(self, holdings: Iterable[Holding]) -> None:
        """Go on with what a record knew."""
        self.holdings.update({one.board.uuid: one for one in holdings})

    def claim(self, board: Board, lease: Lease, *, now_seconds: float) -> tuple[str, ...]:
        """Take up or renew a lease; says what the board cannot do of it.

        Args:
            board: As read now; only a board that is not held yet is taken from here, so that a
                limit that we lowered is never mistaken for the original.
            lease: With the setting that is wished.
            now_seconds: Monotonic time.

        Raises:
            RefusedError: It cannot be set, or another writer fights for it. Nothing changed.
        """
        uuid = board.uuid
        if now_seconds < self._feuds.get(uuid, float("-inf")):
            raise RefusedError(f"{uuid}: another program sets its clocks or limit: left to it.")
        holding = self.holdings.get(uuid)
        if holding is None:
            holding = Holding(board=board, original_watts=board.limit_watts)
        original = holding.original_watts
        setting, said = fitted(lease.setting, holding.board, original_watts=original)
        safe = lease.safe_limit_watts
        if safe is not None:
            safe = fitted_safe(safe, holding.board, original_watts=original)
        lease = replace(lease, setting=setting, safe_limit_watts=safe)
        self.holdings[uuid] = holding.with_lease(lease)
        return said

    def keep_only(self, holder: str, uuids: frozenset[str]) -> None:
        """End a holder's leases on all other boards."""
        for uuid in self.holdings.keys() - uuids:
            self.release(holder, uuid)

    def release(self, holder: str, uuid: str | None = None) -> tuple[str, ...]:
        """End a holder's lease on one board or all; returns the boards that had one."""
        ended = []
        for name, holding in self.holdings.items():
            had = any(lease.holder == holder for lease in holding.leases)
            if had and uuid in {None, name}:
                self.holdings[name] = holding.without(holder)
                ended.append(name)
        return tuple(ended)

    def expire(self, *, now_seconds: float) -> tuple[tuple[str, Lease], ...]:
        """End what was not renewed; returns (board, the lease that ran out) of each."""
        gone = []
        for name, holding in self.holdings.items():
            kept = []
            for lease in holding.leases:
                left = lease.at(now_seconds)
                if left is not lease:
                    gone.append((name, lease))
                if left is not None:
                    kept.append(left)
            self.holdings[name] = replace(holding, leases=tuple(kept))
        return tuple(gone)

    def end_all(self) -> None:
        """Treat every lease as run out: the agent ends, or has ended before."""
        for name, holding in self.holdings.items():
            left = [lease.ended() for lease in holding.leases]
            kept = tuple(lease for lease in left if lease is not None)
            self.holdings[name] = replace(holding, leases=kept)

    def due(
        self, *, now_seconds: float, at_once: bool = False
    ) -> Iterator[tuple[str, tuple[Order, ...], Position]]:
        """(board, its orders, its clock's position once they are done), where there are any."""
        for name, holding in self.holdings.items():
            orders, position = holding.orders(self._ramp, now_seconds=now_seconds, at_once=at_once)
            if orders:
                yield name, orders, position

    def touch(self, uuid: str) -> None:
        """Something was set on a board, maybe not all that was due."""
        self.holdings[uuid] = replace(self.holdings[uuid], touched=True)

    def done(self, uuid: str, orders: tuple[Order, ...], position: Position) -> None:
        """Everything that was due on a board is in force."""
        holding = self.holdings[uuid]
        limits = any(order.do is Do.LIMIT for order in orders)
        goal_watts = holding.goal.limit_watts
        self.holdings[uuid] = replace(
            holding,
            position=position,
            limit_watts=goal_watts if limits else holding.limit_watts,
            known=True,
        )

    def settle(self) -> None:
        """Forget the boards that are as they were before."""
        for name in [name for name, one in self.holdings.items() if one.free]:
            del self.holdings[name]

    def unsure(self, uuid: str) -> None:
        """It is not known what a board has: everything is set anew at the next turn."""
        self.holdings[uuid] = replace(self.holdings[uuid], known=False)

    def drifted(self, uuid: str, limit_watts: float | None, *, now_seconds: float) -> bool:
        """Something else was found than what was set; True when it is left to who set it.

        Args:
            uuid: Board.
            limit_watts: As read: a limit that is not ours is then left as it is.
            now_seconds: Monotonic time.
        """
        holding = self.holdings[uuid]
        recent = now_seconds - holding.drifted_seconds < _FEUD_SECONDS
        drifts = holding.drifts + 1 if recent else 1
        foreign = limit_differs(holding, limit_watts)
        holding = replace(holding, known=False, drifts=drifts, drifted_seconds=now_seconds)
        self.holdings[uuid] = holding
        if drifts < _MAX_DRIFTS:
            return False
        self.holdings[uuid] = replace(
            holding,
            leases=(),
            limit_watts=None,
            original_watts=None if foreign else holding.original_watts,
        )
        self._feuds[uuid] = now_seconds + _FEUD_SECONDS
        return True

    def lost(self, uuid: str) -> None:
        """A board does not answer; its leases and its original are kept."""
        self.holdings[uuid] = replace(self.holdings[uuid], present=False, known=False)

    def found(self, board: Board) -> None:
        """A board was read again, after it was lost or the driver was loaded anew."""
        holding = self.holdings[board.uuid]
        self.holdings[board.uuid] = replace(holding, board=board, present=True, known=False)
