"""Several routers in front of one simulated fleet: each has its own ledger, all the same scrape."""

import itertools

from router.decide.ledger import Ticket
from router.decide.outcome import Pick
from router.decide.picker import Picker


class SeveralPickers(Picker):
    """Requests go to the routers in turn, as through a load balancer.

    Attributes:
        pickers: Each is told of every snapshot, and knows its own requests only.
    """

    def __init__(self, fleet, settings, *, routers):
        super().__init__(fleet, settings)
        self.pickers = [Picker(fleet, settings) for _ in range(routers)]
        self._turns = itertools.cycle(self.pickers)
        self._owners: dict[Ticket, Picker] = {}

    def observe(self, snapshot, prices, *, now_seconds):
        for picker in self.pickers:
            picker.observe(snapshot, prices, now_seconds=now_seconds)

    def commit(self, *, now_seconds):
        for picker in self.pickers:
            picker.commit(now_seconds=now_seconds)

    def commitments(self):
        return self.pickers[0].commitments()

    def pick(self, facts, *, now_seconds, draw):
        picker = next(self._turns)
        answer = picker.pick(facts, now_seconds=now_seconds, draw=draw)
        if isinstance(answer, Pick):
            self._owners[answer.ticket] = picker
        return answer

    def serve(self, pick, address, *, now_seconds):
        self._owners[pick.ticket].serve(pick, address, now_seconds=now_seconds)

    def settle(self, ticket, *, now_seconds):
        return self._owners.pop(ticket).settle(ticket, now_seconds=now_seconds)
