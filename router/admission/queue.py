"""The waiting requests as a state machine: offered once, and gone in exactly one way. Pure."""

from collections import Counter, OrderedDict
from collections.abc import Container, Iterator
from enum import StrEnum
from typing import NamedTuple

from router.admission.settings import AdmissionSettings
from router.admission.turns import Entry, Lane, Turns


class Fate(StrEnum):
    """What became of a request that was offered."""

    ADMITTED = "admitted"  # its turn came and it was decided
    EXPIRED = "expired"  # waited until its deadline
    CANCELLED = "cancelled"  # the client left
    EVICTED = "evicted"  # gave its place to one that was more important or fairer
    CLOSED = "closed"  # the router shuts down
    TURNED_AWAY = "turned_away"  # never waited: the queue was full


class Offer(NamedTuple):
    """The answer to an offer.

    Attributes:
        accepted: Whether the request waits now.
        evicted: The request that gave its place.
    """

    accepted: bool
    evicted: Entry | None = None


class ModelQueue(NamedTuple):
    """What waits for one model.

    Attributes:
        requests: How many.
        work_tokens: Their predicted tokens.
        oldest_seconds: Monotonic time at which the oldest arrived.
    """

    requests: int
    work_tokens: int
    oldest_seconds: float


class AdmissionQueue:
    """Bounded by requests and bytes; strict priority; fair among tenants.

    Attributes:
        fates: How many requests went which way, since the start.
        waiting_bytes: Bodies of those who wait.
    """

    def __init__(self, settings: AdmissionSettings) -> None:
        """Nobody waits."""
        self._settings = settings
        self._waiting: OrderedDict[int, Entry] = OrderedDict()
        self._lanes: OrderedDict[Lane, dict[int, Turns]] = OrderedDict()
        # Priority, tenant, arrival: who gives way when the queue is full.
        self._backlogs: dict[int, dict[str, OrderedDict[int, Entry]]] = {}
        self._work_tokens: Counter[str] = Counter()
        self.fates: Counter[Fate] = Counter()
        self.waiting_bytes = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Entry]:
        """Those who wait, the oldest first."""
        return iter(self._waiting.values())

    def holds(self, lane: Lane) -> bool:
        """Whether anybody waits in a lane."""
        return lane in self._lanes

    def work_tokens(self, model: str) -> int:
        """Predicted tokens of those who wait for a model."""
        return self._work_tokens[model]

    def models(self) -> dict[str, ModelQueue]:
        """What waits, by model."""
        found: dict[str, ModelQueue] = {}
        for entry in self:
            model = entry.facts.model
            before = found.get(model, ModelQueue(0, 0, entry.arrived_seconds))
            found[model] = before._replace(
                requests=before.requests + 1, work_tokens=before.work_tokens + entry.work_tokens
            )
        return found

    def offer(self, entry: Entry) -> Offer:
        """Let a request wait, in the place of another when the queue is full, or turn it away.

        The one that gives way is the newest of the tenant with most requests at the lowest
        priority: below the new one's priority, or at it when that tenant has more waiting than
        the new one's tenant would have.
        """
        if self._fits(entry, without=None):
            self._add(entry)
            return Offer(accepted=True)
        victim = self._victim(entry)
        if victim is None or not self._fits(entry, without=victim):
            self.fates[Fate.TURNED_AWAY] += 1
            return Offer(accepted=False)
        self._remove(victim, Fate.EVICTED)
        self._add(entry)
        return Offer(accepted=True, evicted=victim)

    def first(self, blocked: Container[Lane] = ()) -> Entry | None:
        """The request whose turn it is among the lanes that are not blocked.

        The highest priority; of lanes with the same, the one that was served least lately. The
        first of a lane is never passed by another of that lane, whatever room that one would take.
        """
        best: tuple[int, Turns] | None = None
        for lane, levels in self._lanes.items():
            if lane not in blocked:
                priority = max(levels)
                if best is None or priority > best[0]:
                    best = (priority, levels[priority])
        return None if best is None else best[1].first()

    def admit(self, entry: Entry) -> None:
        """The request that `first` gave goes."""
        self._lanes[entry.lane][entry.priority].take(entry)
        self._forget(entry, Fate.ADMITTED)
        if entry.lane in self._lanes:
            self._lanes.move_to_end(entry.lane)

    def cancel(self, entry: Entry) -> bool:
        """The client left; False when the request no longer waited."""
        if self._waiting.get(id(entry)) is not entry:
            return False
        self._remove(entry, Fate.CANCELLED)
        return True

    def expire(self, *, now_seconds: float) -> list[Entry]:
        """Take out those whose deadline has come."""
        # All wait equally long, so the order of arrival is that of deadlines.
        expired = []
        while self._waiting:
            entry = next(iter(self))
            if entry.deadline_seconds > now_seconds:
                break
            self._remove(entry, Fate.EXPIRED)
            expired.append(entry)
        return expired

    def close(self) -> list[Entry]:
        """Take out everybody."""
        closed = list(self)
        for entry in closed:
            self._remove(entry, Fate.CLOSED)
        return closed

    def next_deadline_seconds(self) -> float | None:
        """When somebody will have waited long enough; None while nobody waits."""
        return next(iter(self)).deadline_seconds if self._waiting else None

    def _fits(self, entry: Entry, *, without: Entry | None) -> bool:
        requests, held_bytes = len(self), self.waiting_bytes
        if without is not None:
            requests, held_bytes = requests - 1, held_bytes - without.facts.body_bytes
        return (
            requests < self._settings.max_waiting_requests
            and held_bytes + entry.facts.body_bytes <= self._settings.max_waiting_bytes
        )

    def _victim(self, entry: Entry) -> Entry | None:
        lowest = min(self._backlogs, default=entry.priority + 1)
        if lowest > entry.priority:
            return None
        tenants = self._backlogs[lowest]
        heaviest = max(tenants.values(), key=len)
        if lowest == entry.priority and len(heaviest) <= len(tenants.get(entry.tenant, ())) + 1:
            return None
        return next(reversed(heaviest.values()))

    def _add(self, entry: Entry) -> None:
        self._waiting[id(entry)] = entry
        levels = self._lanes.setdefault(entry.lane, {})
        turns = levels.get(entry.priority)
        if turns is None:
            turns = levels[entry.priority] = Turns(self._settings.quantum_tokens)
        turns.add(entry)
        tenants = self._backlogs.setdefault(entry.priority, {})
        tenants.setdefault(entry.tenant, OrderedDict())[id(entry)] = entry
        self._work_tokens[entry.facts.model] += entry.work_tokens
        self.waiting_bytes += entry.facts.body_bytes

    def _remove(self, entry: Entry, fate: Fate) -> None:
        self._lanes[entry.lane][entry.priority].remove(entry)
        self._forget(entry, fate)

    def _forget(self, entry: Entry, fate: Fate) -> None:
        """Clear every trace of a request that its lane no longer has."""
        del self._waiting[id(entry)]
        levels = self._lanes[entry.lane]
        if not levels[entry.priority]:
            del levels[entry.priority]
            if not levels:
                del self._lanes[entry.lane]
        tenants = self._backlogs[entry.priority]
        del tenants[entry.tenant][id(entry)]
        if not tenants[entry.tenant]:
            del tenants[entry.tenant]
            if not tenants:
                del self._backlogs[entry.priority]
        model = entry.facts.model
        self._work_tokens[model] -= entry.work_tokens
        if not self._work_tokens[model]:
            del self._work_tokens[model]
        self.waiting_bytes -= entry.facts.body_bytes
        self.fates[fate] += 1
