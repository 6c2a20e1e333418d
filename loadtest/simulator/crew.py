"""Several router workers in front of one simulated fleet, each with a picker and a ledger.

What one does reaches the others as it does in production: encoded by `router.workers.records` and
repeated by `router.workers.mirror`, a moment later. Or not at all, to see what that is worth.
"""

import itertools
import random
from collections import deque
from collections.abc import Mapping, Sequence

from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from router.decide.commitment import Commitment
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection
from router.decide.picker import Picker
from router.decide.request_facts import RequestFacts
from router.decide.settings import DecideSettings
from router.workers.mirror import Mirror
from router.workers.ring import Taken

# A worker reads the others' rings before each pick and else every 20 ms; what it has not seen by
# then is what was written while it decided, or lay in a core's store buffer.
DELIVERY_SECONDS = 0.001


class _Clock:
    __slots__ = ("now_seconds",)

    def __init__(self) -> None:
        self.now_seconds = 0.0


class _Tail:
    """What one worker has not read yet of another (router.workers.mirror.Tail)."""

    same_hash_key = True

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._records: deque[tuple[float, int, bytes]] = deque()

    def push(self, seen_seconds: float, position: int, payload: bytes) -> None:
        self._records.append((seen_seconds, position, payload))

    def behind(self) -> bool:
        return bool(self._records) and self._records[0][0] <= self._clock.now_seconds

    def take(self) -> Taken:
        taken: list[tuple[int, bytes]] = []
        while self.behind():
            _, position, payload = self._records.popleft()
            taken.append((position, payload))
        return Taken(taken)

    def ask(self) -> None:
        """All begin together, so nobody has missed anything."""


class _Log:
    """What one worker writes (router.workers.mirror.Log)."""

    def __init__(self, clock: _Clock, tails: Sequence[_Tail], delivery_seconds: float) -> None:
        self._clock = clock
        self._tails = tails
        self._delivery_seconds = delivery_seconds
        self._position = 0

    def append(self, payload: bytes) -> int:
        self._position += 1
        seen_seconds = self._clock.now_seconds + self._delivery_seconds
        for tail in self._tails:
            tail.push(seen_seconds, self._position, payload)
        return self._position

    def asked(self) -> bool:
        return False


class Crew(Picker):
    """The workers' parent, as their picker: each request goes to one of them, drawn at random.

    Attributes:
        pickers: One per worker.
        mirrors: Theirs and the parent's; empty when each knows its own requests only.
    """

    def __init__(
        self,
        fleet: Fleet,
        settings: DecideSettings,
        *,
        workers: int,
        shared: bool,
        seed: int,
        delivery_seconds: float = DELIVERY_SECONDS,
    ) -> None:
        """Start them together.

        Args:
            fleet: The topology.
            settings: Of every worker's decision.
            workers: How many.
            shared: Whether they tell each other what they do.
            seed: Of the draws that deal requests out.
            delivery_seconds: Until the others see it.
        """
        super().__init__(fleet, settings)
        self.pickers = [Picker(fleet, settings) for _ in range(workers)]
        self.mirrors: list[Mirror] = []
        # Envoy's worker threads balance each by itself: to the router they are draws.
        self._deals = random.Random(f"{seed}:workers")  # noqa: S311 - not for secrets
        self._owners: dict[Ticket, Picker] = {}
        self._clock = _Clock()
        if shared:
            self._share(delivery_seconds)

    def observe(self, snapshot: FleetSnapshot, prices: PriceBoard, *, now_seconds: float) -> None:
        """All of them get the same snapshot."""
        self._clock.now_seconds = now_seconds
        super().observe(snapshot, prices, now_seconds=now_seconds)
        for picker in self.pickers:
            picker.observe(snapshot, prices, now_seconds=now_seconds)

    def commit(self, *, now_seconds: float) -> None:
        """The parent chooses for all that share a ledger; else each for itself."""
        self._clock.now_seconds = now_seconds
        super().commit(now_seconds=now_seconds)
        for picker in self.pickers:
            picker.commit(now_seconds=now_seconds)

    def commitments(self) -> dict[str, Commitment]:
        """The parent's, or the first worker's where the parent knows of no request."""
        return super().commitments() if self.mirrors else self.pickers[0].commitments()

    def pick(self, facts: RequestFacts, *, now_seconds: float, draw: float) -> Pick | Rejection:
        """One of them decides."""
        self._clock.now_seconds = now_seconds
        picker = self._deals.choice(self.pickers)
        answer = picker.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(answer, Pick):
            self._owners[answer.ticket] = picker
        return answer

    def serve(self, pick: Pick, address: str, *, now_seconds: float) -> None:
        """Told to the one that picked."""
        self._clock.now_seconds = now_seconds
        self._owners[pick.ticket].serve(pick, address, now_seconds=now_seconds)

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Told to the one that picked."""
        self._clock.now_seconds = now_seconds
        return self._owners.pop(ticket).settle(ticket, now_seconds=now_seconds)

    def _share(self, delivery_seconds: float) -> None:
        everyone: list[Picker] = [*self.pickers, self]
        tails: Mapping[tuple[int, int], _Tail] = {
            (writer, reader): _Tail(self._clock)
            for writer, reader in itertools.permutations(range(len(everyone)), 2)
        }
        for me, picker in enumerate(everyone):
            heard = [tail for (writer, _), tail in tails.items() if writer == me]
            mirror = Mirror(
                picker,
                _Log(self._clock, heard, delivery_seconds),
                [tail for (_, reader), tail in tails.items() if reader == me],
                leads=picker is self,
            )
            picker.peers = mirror
            self.mirrors.append(mirror)
