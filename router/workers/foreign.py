"""One other worker, as its records make it known: repeats them in a picker. Pure."""

from collections.abc import Iterable

from fleet.physics import Mix
from router.decide.affinity_nearness import NOWHERE, Nearness
from router.decide.demand import Demand
from router.decide.ledger import Ticket
from router.decide.picker import Picker
from router.decide.request_facts import NO_HINTS, Api, RequestFacts, RequestHints
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
)

# Entering a request asks nothing of the mean request.
_NO_MIX = Mix(prompt_tokens=0.0, computed_prompt_tokens=0.0, output_tokens=0.0)


class _Told:
    """What a request found on the replica that it was picked for; nothing is known of others."""

    __slots__ = ("_address", "_nearness")

    def __init__(self, address: str, nearness: Nearness) -> None:
        self._address = address
        self._nearness = nearness

    def at(self, address: str) -> Nearness:
        return self._nearness if address == self._address else NOWHERE

    def beyond(self, here: Nearness) -> frozenset[str]:
        return frozenset() if here == self._nearness else frozenset((self._address,))


class ForeignWorker:
    """The tickets of one other worker.

    Attributes:
        tickets: By number; of this picker's ledger.
        complete: Whether all of its open tickets are here.
        entered_total: Tickets that were ever here.
        led_seconds: When it last told the committed sets; None: it never did.
    """

    __slots__ = (
        "_listed",
        "_picker",
        "_through",
        "complete",
        "entered_total",
        "led_seconds",
        "tickets",
    )

    def __init__(self, picker: Picker) -> None:
        """Nothing known."""
        self._picker = picker
        self.tickets: dict[int, Ticket] = {}
        self.complete = False
        self.entered_total = 0
        self.led_seconds: float | None = None
        self._listed: set[int] | None = None  # of a picture that has begun
        self._through = -1

    def lose(self) -> None:
        """Some of its records are lost."""
        self.complete = False
        self._listed = None

    def repeat(self, number: int, record: Record, *, now_seconds: float) -> bool:
        """Do as the record says; whether that made the picture complete again.

        Args:
            number: Position of the record.
            record: What happened.
            now_seconds: Monotonic time, for ends whose time was not told.
        """
        match record:
            case Entered():
                self._enter(number, record)
            case Ended():
                self._end(record)
            case Moved():
                self._move(record)
            case _:
                return self._redraw(number, record, now_seconds)
        return False

    def _redraw(self, number: int, record: Record, now_seconds: float) -> bool:
        match record:
            case Gone():
                self._end_all(tuple(self.tickets), now_seconds)
                self._listed, self.complete = None, True
            case Picture():
                self._listed, self._through = set(), number
            case Held():
                self._hold(record, now_seconds)
            case Committed():
                self.led_seconds = record.at_seconds
                self._picker.follow(record.model, record.commitment)
            case Complete():
                return self._compare(now_seconds)
        return False

    def _enter(self, number: int, entry: Entered) -> None:
        near = None
        if entry.believed_tokens or entry.load_seconds:
            near = _Told(
                entry.address,
                Nearness(entry.cached_tokens, entry.believed_tokens, entry.load_seconds),
            )
        session = entry.session
        facts = RequestFacts(
            entry.model,
            Api.OTHER,
            prompt_bytes=entry.prompt_bytes,
            hints=NO_HINTS if session is None else RequestHints(session=session),
            prefix_block_hashes=entry.block_hashes,
            prefix_block_ratio=entry.block_ratio,
        )
        demand = _demand(entry.model, entry.prompt_tokens, entry.output_tokens, near)
        self.entered_total += 1
        self.tickets[number] = self._picker.repeat(
            entry.address, facts, demand, now_seconds=entry.at_seconds
        )

    def _end(self, ended: Ended) -> None:
        ticket = self.tickets.pop(ended.number, None)
        if ticket is not None:
            self._picker.repeat_settle(ticket, now_seconds=ended.at_seconds)

    def _move(self, moved: Moved) -> None:
        ticket = self.tickets.get(moved.number)
        if ticket is not None:
            self._picker.repeat_serve(
                ticket, moved.address, moved.skipped, now_seconds=moved.at_seconds
            )

    def _hold(self, held: Held, now_seconds: float) -> None:
        if self._listed is None:
            return
        self._listed.add(held.number)
        ticket = self.tickets.get(held.number)
        if ticket is None:
            demand = _demand(held.model, held.prompt_tokens, held.output_tokens, None)
            self.entered_total += 1
            self.tickets[held.number] = self._picker.hold(
                held.address, demand, since_seconds=held.since_seconds
            )
        elif ticket.address != held.address:
            self._picker.repeat_serve(ticket, held.address, (), now_seconds=now_seconds)

    def _compare(self, now_seconds: float) -> bool:
        """A picture is complete: what it left out has ended."""
        listed = self._listed
        if listed is None:  # its beginning was lost
            return False
        ended = [
            number for number in self.tickets if number <= self._through and number not in listed
        ]
        self._end_all(ended, now_seconds)
        made_up, self.complete, self._listed = not self.complete, True, None
        return made_up

    def _end_all(self, numbers: Iterable[int], now_seconds: float) -> None:
        for number in numbers:
            self._picker.repeat_settle(self.tickets.pop(number), now_seconds=now_seconds)


def _demand(model: str, prompt_tokens: float, output_tokens: float, near: _Told | None) -> Demand:
    return Demand(
        model=model,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        mix=_NO_MIX,
        ttft_objective_seconds=None,
        tpot_objective_seconds=None,
        sheddable=False,
        subset=None,
        near=near,
    )
