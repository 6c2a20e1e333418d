"""The ledger of this router's own requests in flight: what no scrape can know in time.

An account is kept per replica. A request is entered when it is picked and settled exactly once when
its stream ends, however it ends; all sums of an account are then back to what they were.
"""

from collections import deque
from collections.abc import Iterator
from typing import Protocol

_Mark = tuple[float, int, float]
"""State of an account from a time on: (at_seconds, running, resident_tokens)."""


class Watcher(Protocol):
    """Told of every change of an account, in the call that makes it."""

    def reload(self) -> None:
        """The account has changed."""
        ...


class Account:
    """The own requests in flight on one replica.

    Attributes:
        address: The replica's.
        running: Requests entered and not settled.
        resident_tokens: KV tokens they hold on average over their lives (prompt + half the answer).
        prefill_free_seconds: Monotonic time at which the prompts entered so far will be computed:
            a fluid queue that grows by each prompt's prefill time and drains with the clock.
        watcher: Told of changes, when there is one.
        is_noted: Whether its last change is among those that nobody has asked for yet.
    """

    __slots__ = (
        "_changed",
        "_marks",
        "address",
        "is_noted",
        "prefill_free_seconds",
        "resident_tokens",
        "running",
        "watcher",
    )

    def __init__(self, address: str, changed: "list[Account]") -> None:
        """Start empty; every change is noted in `changed`, once until somebody looks."""
        self.address = address
        self._changed = changed
        self.is_noted = False
        self.running = 0
        self.resident_tokens = 0.0
        self.prefill_free_seconds = 0.0
        self.watcher: Watcher | None = None
        self._marks: deque[_Mark] = deque()

    def at(self, at_seconds: float) -> tuple[int, float]:
        """(running, resident_tokens) as they were at `at_seconds`.

        A time before the remembered history gives the oldest state that is remembered.
        """
        for marked_seconds, running, resident_tokens in reversed(self._marks):
            if marked_seconds <= at_seconds:
                return running, resident_tokens
        if self._marks:
            return self._marks[0][1:]
        return self.running, self.resident_tokens

    def queue_until(self, at_seconds: float) -> None:
        """The engine itself says that prompts wait at least until then: the fluid queue ran dry."""
        self.prefill_free_seconds = max(self.prefill_free_seconds, at_seconds)

    def change(
        self, *, requests: int, resident_tokens: float, now_seconds: float, keep_seconds: float
    ) -> None:
        """Add to the sums and remember the state, forgetting what is older than `keep_seconds`."""
        marks, horizon_seconds = self._marks, now_seconds - keep_seconds
        if not marks:
            marks.append((horizon_seconds, self.running, 0.0))
        running = self.running = self.running + requests
        # Floating sums drift; an empty account holds nothing by definition.
        resident_tokens = self.resident_tokens + resident_tokens if running else 0.0
        self.resident_tokens = resident_tokens
        marks.append((now_seconds, running, resident_tokens))
        while marks[1][0] <= horizon_seconds:  # the newest of at least two never is
            marks.popleft()
        if not self.is_noted:
            self.is_noted = True
            self._changed.append(self)
        if self.watcher is not None:
            self.watcher.reload()


class Ticket:
    """One entered request. `settled` turns True once and for ever."""

    __slots__ = ("account", "address", "resident_tokens", "settled", "started_seconds")

    def __init__(
        self, account: Account, address: str, resident_tokens: float, started_seconds: float
    ) -> None:
        """Bind the entry to its account."""
        self.account = account
        self.address = address
        self.resident_tokens = resident_tokens
        self.started_seconds = started_seconds
        self.settled = False


class LedgerListener(Protocol):
    """Told of every entry, each exactly once, in the call that changes the ledger."""

    def entered(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request began on `ticket.address`."""
        ...

    def moved(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request turned out to run elsewhere: on what `ticket.address` now says."""
        ...

    def settled(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request ended."""
        ...


class Ledger:
    """All accounts, by replica address.

    Attributes:
        listener: Told of entries, when there is one.
    """

    __slots__ = (
        "_accounts",
        "_changed",
        "_keep_seconds",
        "entered_total",
        "listener",
        "settled_total",
    )

    def __init__(self, *, keep_seconds: float = 30.0) -> None:
        """Remember each account's past for `keep_seconds`: longer than a fresh scrape is old."""
        self._accounts: dict[str, Account] = {}
        self._changed: list[Account] = []
        self._keep_seconds = keep_seconds
        self.listener: LedgerListener | None = None
        self.entered_total = 0
        self.settled_total = 0

    def account(self, address: str) -> Account:
        """The account of a replica, opened when first asked for."""
        account = self._accounts.get(address)
        if account is None:
            account = self._accounts[address] = Account(address, self._changed)
        return account

    def enter(
        self,
        address: str,
        *,
        resident_tokens: float,
        prefill_seconds: float,
        now_seconds: float,
    ) -> Ticket:
        """Record the start of a request on `address`."""
        account = self.account(address)
        account.change(
            requests=1,
            resident_tokens=resident_tokens,
            now_seconds=now_seconds,
            keep_seconds=self._keep_seconds,
        )
        begin_seconds = max(account.prefill_free_seconds, now_seconds)
        account.prefill_free_seconds = begin_seconds + prefill_seconds
        self.entered_total += 1
        ticket = Ticket(account, address, resident_tokens, now_seconds)
        if self.listener is not None:
            self.listener.entered(ticket, now_seconds=now_seconds)
        return ticket

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Record the end of a request. Returns False, and changes nothing, the second time."""
        if ticket.settled:
            return False
        ticket.settled = True
        account = ticket.account
        account.change(
            requests=-1,
            resident_tokens=-ticket.resident_tokens,
            now_seconds=now_seconds,
            keep_seconds=self._keep_seconds,
        )
        if not account.running:
            account.prefill_free_seconds = min(account.prefill_free_seconds, now_seconds)
        self.settled_total += 1
        if self.listener is not None:
            self.listener.settled(ticket, now_seconds=now_seconds)
        return True

    def move(self, ticket: Ticket, address: str, *, now_seconds: float) -> bool:
        """The request runs on `address` instead; False, and no change, when settled or there.

        The prompt's prefill stays on the first account's queue, which drains with the clock.
        """
        if ticket.settled or ticket.address == address:
            return False
        for account, sign in ((ticket.account, -1), (self.account(address), 1)):
            account.change(
                requests=sign,
                resident_tokens=sign * ticket.resident_tokens,
                now_seconds=now_seconds,
                keep_seconds=self._keep_seconds,
            )
        ticket.account, ticket.address = self.account(address), address
        if self.listener is not None:
            self.listener.moved(ticket, now_seconds=now_seconds)
        return True

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Close the accounts of replicas that are gone, once nothing runs on them any more."""
        for address in [a for a in self._accounts if a not in addresses]:
            if not self._accounts[address].running:
                del self._accounts[address]

    def changed(self) -> list[str]:
        """Addresses whose accounts have changed since this was last asked, each once."""
        if not self._changed:
            return []
        addresses = []
        for account in self._changed:
            account.is_noted = False
            addresses.append(account.address)
        self._changed.clear()
        return addresses

    def running(self) -> int:
        """Own requests in flight over all replicas."""
        return self.entered_total - self.settled_total

    def __iter__(self) -> Iterator[tuple[str, Account]]:
        """All (address, account) pairs."""
        return iter(self._accounts.items())
