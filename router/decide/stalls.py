"""Replicas that take requests and end none: found by the silence of their own answers.

With n requests in flight that live L seconds on average, answers end n/L times a second, so a gap
of g seconds without one has the chance exp(-g n / L). When that is too small the replica is taken
as stalled, until it gives a sign of life. docs/decisions/0013-stalled-replicas.md.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator

from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import FleetSnapshot
from router.decide.demand import Demand
from router.decide.ledger import Ticket
from router.decide.settings import DecideSettings
from router.decide.unit import Unit

# L follows the last few dozen answers: known to an eighth, and new within seconds under load.
_LIVES_REMEMBERED = 32.0
# What the predicted L is worth: the first to end after a replica was opened are the short answers.
_LIVES_EXPECTED = 8.0
# Requests that were sent together and write equally much end together. So nothing is said before
# some are older than answers get on average, and by more than answers differ in such a wave.
_DUE_LIVES = 1.25
_DUE_SHARE = 0.125
_WATCHES_PER_STEP = 128


class _Watch:
    """What is known of one replica's signs of life."""

    __slots__ = (
        "_area",
        "_at_seconds",
        "_started_sum",
        "_young",
        "began_seconds",
        "counted",
        "due",
        "ends",
        "flights",
        "life_seconds",
        "sign_seconds",
        "still_seconds",
    )

    def __init__(self) -> None:
        self.flights: set[Ticket] = set()
        self.due: set[Ticket] = set()  # those of them that are older than answers get
        self._young: deque[Ticket] = deque()
        self._started_sum = 0.0
        self._area = 0.0  # request-seconds in flight since the last end: L of it, by Little's law
        self._at_seconds = 0.0
        self.life_seconds = 0.0
        self.ends = 0
        self.sign_seconds = 0.0
        self.began_seconds: float | None = None  # the last sign before a stall that goes on
        self.counted: tuple[float, float] | None = None  # generation tokens and when
        self.still_seconds: float | None = None  # newest reading that shows no token since before

    def enter(self, ticket: Ticket, *, life_seconds: float, now_seconds: float) -> None:
        if not self.flights:
            self.sign_seconds = now_seconds
            self._area = 0.0
        if not self.ends:
            self.life_seconds = life_seconds
        self._advance(now_seconds)
        self.flights.add(ticket)
        self._young.append(ticket)
        self._started_sum += ticket.started_seconds

    def leave(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Take it out; whether it was here."""
        if ticket not in self.flights:
            return False
        self._advance(now_seconds)
        self.flights.discard(ticket)
        self.due.discard(ticket)
        self._started_sum = self._started_sum - ticket.started_seconds if self.flights else 0.0
        return True

    def end(self, *, gap_lives: float) -> None:
        """Learn how long answers live from one that ended just now."""
        sample = min(self._area, gap_lives * self.life_seconds)
        self._area = 0.0
        self.ends += 1
        weight = min(_LIVES_EXPECTED + self.ends, _LIVES_REMEMBERED)
        self.life_seconds += (sample - self.life_seconds) / weight

    def count(self, tokens: float, *, observed_seconds: float) -> bool:
        """Take a counter in; whether tokens were written since the last sign of life."""
        before = self.counted
        if before is not None and observed_seconds <= before[1]:
            return False
        self.counted = (tokens, observed_seconds)
        if before is None or before[1] <= self.sign_seconds:
            self.still_seconds = None
            return False
        if tokens == before[0]:
            self.still_seconds = observed_seconds
            return False
        self.still_seconds = None
        self.sign_seconds = before[1]  # some time after it; a later time is not known
        return True

    def still_since(self, since_seconds: float) -> bool:
        """Whether a reading taken after `since_seconds` shows that nothing is written."""
        return self.still_seconds is not None and self.still_seconds >= since_seconds

    def counts_since(self, since_seconds: float) -> bool:
        """Whether there is a reading taken after `since_seconds`."""
        return self.counted is not None and self.counted[1] >= since_seconds

    def overdue(
        self, *, gap_lives: float, min_seconds: float, fresh_seconds: float, now_seconds: float
    ) -> bool:
        """Whether an end is overdue.

        Fresh counters must show that nothing is written. Without any only the due requests count,
        because bursts of young ones end late, and one end at least must have been seen.
        """
        count, gap_seconds = len(self.flights), now_seconds - self.sign_seconds
        if not count or gap_seconds < min_seconds:
            return False
        self._advance(now_seconds)
        due = len(self.due)
        if self.still_seconds is not None:
            due = count if due >= _DUE_SHARE * count else 0
        elif not self.ends or self.counts_since(now_seconds - fresh_seconds):
            return False
        # What has run for long will run for about as long again: the rest of a mixed load.
        age_seconds = now_seconds - self._started_sum / count
        return gap_seconds * due > gap_lives * max(self.life_seconds, age_seconds)

    def _advance(self, now_seconds: float) -> None:
        elapsed_seconds = now_seconds - self._at_seconds
        if elapsed_seconds > 0.0:
            self._area += len(self.flights) * elapsed_seconds
            self._at_seconds = now_seconds
        young, born_seconds = self._young, now_seconds - _DUE_LIVES * self.life_seconds
        while young and young[0].started_seconds <= born_seconds:
            ticket = young.popleft()
            if ticket in self.flights:
                self.due.add(ticket)


class Stalls:
    """Finds stalled replicas. Each event costs the same whatever the fleet's size.

    Attributes:
        addresses: Taken as stalled now.
        found_total: Stalls found so far.
    """

    __slots__ = ("_freshness", "_gap_lives", "_min_seconds", "_watches", "addresses", "found_total")

    def __init__(self, settings: DecideSettings) -> None:
        """Watch nobody yet."""
        chance = settings.stall_chance
        self._gap_lives = -math.log(chance) if chance > 0.0 else math.inf
        self._min_seconds = settings.stall_min_seconds
        self._freshness: FreshnessPolicy = settings.freshness
        self._watches: dict[str, _Watch] = {}
        self.addresses: frozenset[str] = frozenset()
        self.found_total = 0

    def enter(self, ticket: Ticket, demand: Demand, unit: Unit, *, now_seconds: float) -> None:
        """A request was sent to `unit`."""
        objective = unit.backend.objective
        life_seconds = demand.output_tokens * objective.tpot_seconds + objective.ttft_seconds
        watch = self._watches.get(unit.address)
        if watch is None:
            watch = self._watches[unit.address] = _Watch()
        watch.enter(ticket, life_seconds=life_seconds, now_seconds=now_seconds)
        if watch.began_seconds is not None:  # one probe is enough
            self.addresses |= {unit.address}

    def move(self, ticket: Ticket, address: str, *, now_seconds: float) -> None:
        """A request that was sent to `address` runs on what `ticket.address` now says."""
        watch = self._watches.get(address)
        if ticket.address == address or watch is None:
            return
        if watch.leave(ticket, now_seconds=now_seconds):
            other = self._watches.setdefault(ticket.address, _Watch())
            other.enter(ticket, life_seconds=watch.life_seconds, now_seconds=now_seconds)

    def settle(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request ended, however.

        It is a sign of life unless the replica is taken as stalled and its fresh counters show
        that it writes nothing: then its callers give up.
        """
        watch = self._watches.get(ticket.address)
        if watch is None or not watch.leave(ticket, now_seconds=now_seconds):
            return
        if watch.began_seconds is None:
            watch.end(gap_lives=self._gap_lives)
        elif watch.still_since(now_seconds - self._freshness.fresh_seconds):
            if not watch.flights:  # an idle engine writes nothing either: let one request try
                self.addresses -= {ticket.address}
            return
        self._revive(ticket.address, watch, now_seconds=now_seconds)

    def observing(self, snapshot: FleetSnapshot, *, now_seconds: float) -> Iterator[None]:
        """Take the engines' token counters in, and look at every replica, some with each step."""
        for number, (address, watch) in enumerate(list(self._watches.items()), start=1):
            if not number % _WATCHES_PER_STEP:
                yield
            signal = snapshot.signal(address, SignalKind.GENERATION_TOKENS_TOTAL)
            if signal is not None:
                observed_seconds = signal.observed_seconds
                writes = watch.count(signal.value, observed_seconds=observed_seconds)
                if writes and watch.began_seconds is not None:
                    self._revive(address, watch, now_seconds=now_seconds)
            self.finds(address, now_seconds=now_seconds)

    def finds(self, address: str, *, now_seconds: float) -> bool:
        """Whether the replica has just turned out to be stalled; False when that was known."""
        watch = self._watches.get(address)
        if watch is None or watch.began_seconds is not None:
            return False
        if now_seconds - watch.sign_seconds < self._min_seconds:  # nearly always
            return False
        if not watch.overdue(
            gap_lives=self._gap_lives,
            min_seconds=self._min_seconds,
            fresh_seconds=self._freshness.fresh_seconds,
            now_seconds=now_seconds,
        ):
            return False
        watch.began_seconds = watch.sign_seconds
        self.addresses |= {address}
        self.found_total += 1
        return True

    def spare(self, units: Iterable[Unit]) -> list[Unit]:
        """The units that are not stalled; all of them when none is left."""
        known = list(units)
        return [unit for unit in known if unit.address not in self.addresses] or known

    def keep_only(self, addresses: frozenset[str]) -> None:
        """Forget replicas that are gone."""
        self._watches = {a: watch for a, watch in self._watches.items() if a in addresses}
        self.addresses &= addresses

    def _revive(self, address: str, watch: _Watch, *, now_seconds: float) -> None:
        watch.sign_seconds = now_seconds
        if watch.began_seconds is not None:
            watch.began_seconds = watch.still_seconds = None
            self.addresses -= {address}
