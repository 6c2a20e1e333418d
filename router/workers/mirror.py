"""Tells other workers what this picker does, and repeats in it what they do. Pure.

It is the `peers` of a picker. Foreign requests get tickets of the picker's own ledger, so loads,
traffic, prefixes, sessions and stalls are those of all workers together. Where the picture of one
writer is incomplete (this reader joined late, or was overtaken) its tickets are kept, because
forgetting them would make full replicas look empty; the writer is asked for a list of its open
ones, and whatever that list leaves out has ended.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from typing import NamedTuple, Protocol

import msgspec

from router.decide.affinity_nearness import NOWHERE
from router.decide.commitment import Commitment
from router.decide.demand import Demand
from router.decide.ledger import Ticket
from router.decide.picker import Picker
from router.decide.request_facts import RequestFacts
from router.workers.foreign import ForeignWorker
from router.workers.records import (
    Committed,
    Complete,
    Ended,
    Entered,
    Gone,
    Held,
    Moved,
    Picture,
    Record,
    decode,
    encode,
)
from router.workers.ring import Taken

# Tickets listed per tick, so that a long list neither blocks nor overtakes its readers.
_HELD_PER_TICK = 1000
# Sets are chosen once a second; who hears of none for so long chooses alone.
_LED_SECONDS = 3.5


class Log(Protocol):
    """Where own records go."""

    def append(self, payload: bytes) -> int:
        """Write one; returns its position, which no other record ever has."""
        ...

    def asked(self) -> bool:
        """Whether a reader has asked for a picture since this was last called."""
        ...


class Tail(Protocol):
    """Another worker's records as they come."""

    @property
    def same_hash_key(self) -> bool:
        """Whether hashes in its records mean something in this process."""
        ...

    def behind(self) -> bool:
        """Whether there is anything new."""
        ...

    def take(self) -> Taken:
        """All that is new."""
        ...

    def ask(self) -> None:
        """Ask the writer for a picture."""
        ...


class _Own(NamedTuple):
    number: int
    model: str
    prompt_tokens: float
    output_tokens: float


class _News(NamedTuple):
    at_seconds: float
    other: ForeignWorker
    number: int
    record: Record | None  # None: some are lost here


_AT_SECONDS = itemgetter(0)


class Mirror:
    """The peers of one picker (router.decide.peers.Peers).

    Attributes:
        repeated_total: Foreign records that were repeated.
        laps_total: How often a writer overtook this reader.
        torn_total: How often a record could not be read for long.
        resyncs_total: Pictures that made up for one of those, or for a late start.
        hash_keys_differ: Whether hashes of prompts came that mean nothing here, and were ignored.
    """

    def __init__(
        self, picker: Picker, log: Log, tails: Iterable[Tail], *, leads: bool = False
    ) -> None:
        """Begin without a picture of anybody.

        Args:
            picker: Where foreign records are repeated.
            log: Where own records go.
            tails: The other processes' records.
            leads: Whether this one chooses the committed sets for all; one does at most.
        """
        self._log = log
        self._others = [(tail, ForeignWorker(picker)) for tail in tails]
        self._own: dict[Ticket, _Own] = {}
        self._listing: Iterator[Record] = iter(())
        self.hash_keys_differ = False
        self.repeated_total = self.laps_total = self.torn_total = self.resyncs_total = 0
        self._leads = leads
        self._sets: tuple[Committed, ...] = ()
        log.append(encode(Gone()))  # of whoever wrote here before
        for tail, _ in self._others:
            tail.ask()

    @property
    def open(self) -> int:
        """Foreign tickets held."""
        return sum(len(other.tickets) for _, other in self._others)

    @property
    def foreign_entered_total(self) -> int:
        """Foreign requests that the ledger was told of; the rest of its total is own."""
        return sum(other.entered_total for _, other in self._others)

    @property
    def foreign_settled_total(self) -> int:
        """Those of them that have ended."""
        return self.foreign_entered_total - self.open

    @property
    def resyncing(self) -> int:
        """Workers of whom the picture is not complete."""
        return sum(not other.complete for _, other in self._others)

    # What the picker tells

    def entered(
        self, ticket: Ticket, facts: RequestFacts, demand: Demand, *, now_seconds: float
    ) -> None:
        """An own request was picked."""
        near = NOWHERE if demand.near is None else demand.at(ticket.address)
        number = self._log.append(
            encode(
                Entered(
                    ticket.address,
                    facts.model,
                    now_seconds,
                    demand.prompt_tokens,
                    demand.output_tokens,
                    facts.prompt_bytes,
                    near.cached_tokens,
                    near.believed_tokens,
                    near.load_seconds,
                    facts.hints.session,
                    facts.prefix_block_ratio,
                    facts.prefix_block_hashes,
                )
            )
        )
        self._own[ticket] = _Own(number, facts.model, demand.prompt_tokens, demand.output_tokens)

    def served(
        self, ticket: Ticket, address: str, skipped: tuple[str, ...], *, now_seconds: float
    ) -> None:
        """An own request is served by `address`."""
        own = self._own.get(ticket)
        if own is not None:
            moved = Moved(own.number, address, skipped, now_seconds)
            self._log.append(encode(moved))

    def settled(self, ticket: Ticket, *, now_seconds: float) -> None:
        """An own request ended."""
        own = self._own.pop(ticket, None)
        if own is not None:
            self._log.append(encode(Ended(own.number, now_seconds)))

    def committed(self, sets: Mapping[str, Commitment], *, now_seconds: float) -> None:
        """Sets were chosen here: for all, if this process leads."""
        if not self._leads:
            return
        self._sets = tuple(
            Committed(model, now_seconds, commitment) for model, commitment in sets.items()
        )
        for record in self._sets:
            self._log.append(encode(record))

    def is_led(self, *, now_seconds: float) -> bool:
        """Whether another process has told the committed sets lately."""
        return not self._leads and any(
            other.led_seconds is not None and now_seconds - other.led_seconds < _LED_SECONDS
            for _, other in self._others
        )

    # What the others did

    def catch_up(self, *, now_seconds: float) -> None:
        """Repeat what is new, in the order of time."""
        news: list[_News] | None = None
        for tail, other in self._others:
            if tail.behind():
                if news is None:
                    news = []
                self._take(tail, other, news)
        if news is not None:
            self._repeat(news, now_seconds)

    def tick(self, *, now_seconds: float) -> None:
        """Catch up where no picks come, and list open tickets to who asked; some 50 times a second.

        Args:
            now_seconds: Monotonic time.
        """
        self.catch_up(now_seconds=now_seconds)
        if self._log.asked():
            self._listing = self._picture()
        for record in islice(self._listing, _HELD_PER_TICK):
            self._log.append(encode(record))

    def leave(self) -> None:
        """Say that all own tickets have ended; the last thing that is said."""
        self._log.append(encode(Gone()))
        self._own.clear()

    # Inside

    def _take(self, tail: Tail, other: ForeignWorker, news: list[_News]) -> None:
        taken, at_seconds = tail.take(), -math.inf
        trusts_hashes = tail.same_hash_key
        for number, payload in taken.records:
            record = decode(payload)
            if record is None:  # of another version: its checksum was right
                self.torn_total += 1
                continue
            if not trusts_hashes and isinstance(record, Entered) and record.block_hashes:
                self.hash_keys_differ = True
                record = msgspec.structs.replace(record, block_hashes=())
            # Each writer's own order stays, whatever times it tells, or none.
            at_seconds = max(at_seconds, getattr(record, "at_seconds", at_seconds))
            news.append(_News(at_seconds, other, number, record))
        if taken.lapped or taken.torn:
            self.laps_total += taken.lapped
            self.torn_total += taken.torn
            news.append(_News(at_seconds, other, 0, None))
            tail.ask()

    def _repeat(self, news: list[_News], now_seconds: float) -> None:
        news.sort(key=_AT_SECONDS)
        self.repeated_total += len(news)
        for _, other, number, record in news:
            if record is None:
                other.lose()
            else:
                self.resyncs_total += other.repeat(number, record, now_seconds=now_seconds)

    def _picture(self) -> Iterator[Record]:
        """All own tickets that are open now, and still are when they are listed."""
        own = tuple(self._own.items())
        yield Picture()
        yield from self._sets
        for ticket, it in own:
            if ticket in self._own:
                yield Held(
                    it.number,
                    ticket.address,
                    it.model,
                    ticket.started_seconds,
                    it.prompt_tokens,
                    it.output_tokens,
                )
        yield Complete()
