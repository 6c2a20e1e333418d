"""Whose turn it is among the tenants of one lane at one priority: deficit round robin. Pure.

M. Shreedhar and G. Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995):
each turn gives a tenant a quantum; its first request goes when what it was given covers it. While
two tenants wait, what they have been served differs by at most the quantum and two of the largest
requests, however many requests either sends.
"""

from collections import OrderedDict, deque
from typing import NamedTuple

from router.decide.request_facts import RequestFacts


class Lane(NamedTuple):
    """Requests that may go to the same replicas. Room is found per lane."""

    model: str
    subset: frozenset[str] | None


class Entry:
    """One request that waits; compared by identity.

    Attributes:
        facts: The request.
        work_tokens: Predicted prompt and answer tokens: what fairness counts.
        arrived_seconds: Monotonic time.
        deadline_seconds: When it has waited long enough.
    """

    __slots__ = ("arrived_seconds", "deadline_seconds", "facts", "work_tokens")

    def __init__(
        self,
        facts: RequestFacts,
        *,
        work_tokens: int,
        arrived_seconds: float,
        deadline_seconds: float,
    ) -> None:
        """Describe a request; it takes at least one token."""
        self.facts = facts
        self.work_tokens = max(1, work_tokens)
        self.arrived_seconds = arrived_seconds
        self.deadline_seconds = deadline_seconds

    @property
    def lane(self) -> Lane:
        """Where it waits."""
        return Lane(self.facts.model, self.facts.hints.subset)

    @property
    def priority(self) -> int:
        """Higher goes first."""
        return self.facts.hints.priority

    @property
    def tenant(self) -> str:
        """On whose account it goes; empty for all who do not say."""
        return self.facts.hints.tenant


class _Flow:
    """The requests of one tenant, first come first served."""

    __slots__ = ("deficit_tokens", "entries", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.deficit_tokens = 0
        # A plain dict would look at every place that was given up before finding its first.
        self.entries: OrderedDict[int, Entry] = OrderedDict()

    @property
    def head(self) -> Entry:
        return next(iter(self.entries.values()))

    @property
    def missing_tokens(self) -> int:
        """What must still be given before its first request may go."""
        return self.head.work_tokens - self.deficit_tokens


class Turns:
    """Tenants with requests, in a ring."""

    __slots__ = ("_flows", "_granted", "_quantum_tokens", "_ring")

    def __init__(self, quantum_tokens: int) -> None:
        """Nobody waits yet."""
        self._quantum_tokens = quantum_tokens
        self._flows: dict[str, _Flow] = {}
        self._ring: deque[_Flow] = deque()
        self._granted = False

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._ring)

    def add(self, entry: Entry) -> None:
        """Put a request behind the others of its tenant."""
        flow = self._flows.get(entry.tenant)
        if flow is None:
            flow = self._flows[entry.tenant] = _Flow(entry.tenant)
            self._ring.append(flow)
        flow.entries[id(entry)] = entry

    def first(self) -> Entry:
        """The request whose turn it is; it stays so until it is taken or removed.

        Raises:
            IndexError: When nobody waits.
        """
        fruitless = 0
        while True:
            flow = self._ring[0]
            if not self._granted:
                flow.deficit_tokens += self._quantum_tokens
                self._granted = True
            if flow.missing_tokens <= 0:
                return flow.head
            self._ring.rotate(-1)
            self._granted = False
            fruitless += 1
            if fruitless == len(self._ring):
                self._skip_turns()

    def take(self, entry: Entry) -> None:
        """The request that `first` gave goes: its tenant pays for it."""
        self._flows[entry.tenant].deficit_tokens -= entry.work_tokens
        self.remove(entry)

    def remove(self, entry: Entry) -> None:
        """A request is no longer there. A tenant without requests keeps no credit."""
        flow = self._flows[entry.tenant]
        del flow.entries[id(entry)]
        if not flow.entries:
            self._granted = self._granted and self._ring[0] is not flow
            self._ring.remove(flow)
            del self._flows[entry.tenant]

    def _skip_turns(self) -> None:
        """Give at once what the turns would give that let nobody go."""
        missing_tokens = min(flow.missing_tokens for flow in self._ring)
        given_tokens = (-(-missing_tokens // self._quantum_tokens) - 1) * self._quantum_tokens
        for flow in self._ring:
            flow.deficit_tokens += given_tokens
