"""The shell of admission: a decider that lets requests wait instead of refusing them.

Room is looked for whenever the ledger or a snapshot may have made some. All decisions are made in
the event loop, each in one step with its entry in the ledger.
"""

import asyncio
from collections.abc import Callable, Mapping

from fleet.clock import Clock
from router.admission import refusals
from router.admission.demand import WaitingDemand
from router.admission.queue import AdmissionQueue
from router.admission.settings import AdmissionSettings
from router.admission.turns import Entry, Lane
from router.admission.waiter import AdmittedRequest
from router.decide.explain import Explanation
from router.decide.ledger import Ticket
from router.decide.outcome import Pick, Rejection, RejectionReason
from router.decide.request_facts import RequestFacts, RequestHints
from router.decide.room import Room
from router.extproc.decider import Decider, Waiting

# The event loop serves others between two turns, however many may go at once.
_DECISIONS_PER_TURN = 64
# Only these pass by themselves.
_WAITABLE = frozenset({RejectionReason.FULL, RejectionReason.NO_HEALTHY_REPLICA})
_NO_ROOM = _WAITABLE | {RejectionReason.SHED}


class Admission:
    """Wraps the decider that does the picking.

    Attributes:
        settings: How requests wait.
        queue: Who waits.
        waited: Told how long each admitted request waited.
    """

    def __init__(
        self,
        decider: Decider,
        room: Room,
        settings: AdmissionSettings,
        *,
        clock: Clock,
        draw: Callable[[], float],
    ) -> None:
        """Wrap `decider`.

        Args:
            decider: Asked for picks, so that they are metered and remembered.
            room: Tells whether asking is of use.
            settings: How requests wait.
            clock: For deadlines.
            draw: Uniform numbers in [0, 1).
        """
        self.settings = settings
        self.queue = AdmissionQueue(settings)
        self.waited: Callable[[float], None] | None = None
        self._decider = decider
        self._room = room
        self._clock = clock
        self._draw = draw
        self._priorities: Mapping[str, int] = {}
        self._absent_models: tuple[str, ...] = ()
        self._closed = False
        self._turn: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None

    # What the service tells

    def set_view(self, priorities: Mapping[str, int], absent_models: tuple[str, ...]) -> None:
        """Take objectives' priorities, and the models that are scaled to zero."""
        self._priorities = priorities
        self._absent_models = absent_models

    def room_may_be(self) -> None:
        """Something has ended or changed: look for room soon, once for many such calls."""
        if len(self.queue) and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def close(self) -> None:
        """Refuse those who wait, and from now on all who would have to; others are picked for."""
        self._closed = True
        for handle in (self._turn, self._alarm):
            if handle is not None:
                handle.cancel()
        for entry in self.queue.close():
            _waiter(entry).decide(self._shutting_down())

    def waiting(self) -> dict[str, WaitingDemand]:
        """What waits now, by model."""
        now_seconds = self._clock.monotonic_seconds()
        absent = RejectionReason.NO_HEALTHY_REPLICA
        without_replica = {
            entry.facts.model
            for lane, entry in {entry.lane: entry for entry in self.queue}.items()
            if lane.subset is None
            and self._room.why_not(entry.facts, now_seconds=now_seconds) is absent
        }
        return {
            model: WaitingDemand(
                requests=waits.requests,
                work_tokens=waits.work_tokens,
                oldest_age_seconds=now_seconds - waits.oldest_seconds,
                has_replica=model not in without_replica,
            )
            for model, waits in self.queue.models().items()
        }

    # The decider

    def models(self) -> tuple[str, ...]:
        """Names of all models, those that are scaled to zero included, sorted."""
        return tuple(sorted({*self._decider.models(), *self._absent_models}))

    def pick(
        self, facts: RequestFacts, *, now_seconds: float, draw: float
    ) -> Pick | Rejection | Waiting:
        """Decide now if that may be; else wait behind those who wait already."""
        facts = self._with_priority(facts)
        if not self._must_queue(facts, now_seconds):
            result = self._decider.pick(facts, now_seconds=now_seconds, draw=draw)
            waitable = isinstance(result, Rejection) and result.reason in _WAITABLE
            if not waitable or not self.settings.max_waiting_requests:
                return result
        if self._closed:
            return self._shutting_down()
        return self._offer(facts, now_seconds, draw)

    def pass_on(
        self, hints: RequestHints, *, now_seconds: float, draw: float
    ) -> tuple[str, ...] | Rejection:
        """Endpoints for a request without a prompt; never waits."""
        return self._decider.pass_on(hints, now_seconds=now_seconds, draw=draw)

    def serve(self, pick: Pick, address: str, *, now_seconds: float) -> None:
        """Take note of the endpoint that really serves a pick."""
        self._decider.serve(pick, address, now_seconds=now_seconds)

    def settle(self, ticket: Ticket, *, now_seconds: float) -> bool:
        """Record the end of a request."""
        return self._decider.settle(ticket, now_seconds=now_seconds)

    def explain(self, facts: RequestFacts, *, now_seconds: float) -> Explanation | Rejection:
        """Say where a request would go now, and why; records nothing."""
        return self._decider.explain(self._with_priority(facts), now_seconds=now_seconds)

    def withdraw(self, entry: Entry, *, now_seconds: float) -> None:
        """A client left; what it held back may go."""
        if self.queue.cancel(entry):
            self.room_may_be()
            self._set_alarm(now_seconds)

    # Inside

    def _with_priority(self, facts: RequestFacts) -> RequestFacts:
        """With the priority of the objective it names; one that is not known has 0."""
        objective = facts.hints.objective
        if objective is None:
            return facts
        priority = self._priorities.get(objective, 0)
        return facts._replace(hints=facts.hints._replace(priority=priority))

    def _must_queue(self, facts: RequestFacts, now_seconds: float) -> bool:
        """Whether others wait before it, unless it would be shed anyway."""
        queue = self.queue
        if not len(queue) or not queue.holds(Lane(facts.model, facts.hints.subset)):
            return False
        why = self._room.why_not(facts, now_seconds=now_seconds)
        sheddable = facts.hints.priority < 0
        return why is not RejectionReason.SHED and not (sheddable and why is RejectionReason.FULL)

    def _offer(
        self, facts: RequestFacts, now_seconds: float, draw: float
    ) -> AdmittedRequest | Rejection:
        entry = AdmittedRequest(
            facts,
            self.settings,
            self,
            work_tokens=self._room.work_tokens(facts, now_seconds=now_seconds),
            now_seconds=now_seconds,
        )
        offer = self.queue.offer(entry)
        if not offer.accepted:
            return refusals.queue_full(self._drain_seconds(facts, now_seconds, draw))
        if offer.evicted is not None:
            seconds = self._drain_seconds(offer.evicted.facts, now_seconds, draw)
            _waiter(offer.evicted).decide(refusals.queue_full(seconds))
        self._set_alarm(now_seconds)
        return entry

    def _take_turn(self) -> None:
        """Let go whom there is room for; the rest of many in the loop's next turn."""
        self._turn = None
        now_seconds = self._clock.monotonic_seconds()
        self._expire(now_seconds)
        blocked: set[Lane] = set()
        decisions = 0
        while decisions < _DECISIONS_PER_TURN:
            entry = self.queue.first(blocked)
            if entry is None:
                return
            if self._let_go(_waiter(entry), now_seconds):
                decisions += 1
            else:
                blocked.add(entry.lane)
        self.room_may_be()

    def _let_go(self, entry: AdmittedRequest, now_seconds: float) -> bool:
        """Decide on a request whose turn it is; False when there is no room for it yet."""
        try:
            result = self._try(entry.facts, now_seconds)
        except Exception as error:  # noqa: BLE001 - a defect must end one request, not those behind
            self.queue.admit(entry)
            entry.fail(error)
            return True
        if result is None:
            return False
        self.queue.admit(entry)
        if self.waited is not None and isinstance(result, Pick):
            self.waited(now_seconds - entry.arrived_seconds)
        entry.decide(result)
        return True

    def _try(self, facts: RequestFacts, now_seconds: float) -> Pick | Rejection | None:
        """Pick if there is room; None when there is not."""
        if self._room.why_not(facts, now_seconds=now_seconds) in _NO_ROOM:
            return None
        result = self._decider.pick(facts, now_seconds=now_seconds, draw=self._draw())
        if isinstance(result, Rejection) and result.reason in _WAITABLE:
            return None
        assert isinstance(result, Pick | Rejection), "only the outermost decider lets requests wait"
        return result

    def _expire(self, now_seconds: float) -> None:
        for entry in self.queue.expire(now_seconds=now_seconds):
            why = self._room.why_not(entry.facts, now_seconds=now_seconds)
            seconds = self._drain_seconds(entry.facts, now_seconds, self._draw())
            _waiter(entry).decide(refusals.expired(entry.facts.model, why, seconds))
        self._set_alarm(now_seconds)

    def _ring(self) -> None:
        self._alarm = None
        self._expire(self._clock.monotonic_seconds())
        self.room_may_be()

    def _set_alarm(self, now_seconds: float) -> None:
        """Wake up at the next deadline; an alarm that rings too early sets the next."""
        deadline_seconds = self.queue.next_deadline_seconds()
        if deadline_seconds is not None and self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(max(0.0, deadline_seconds - now_seconds), self._ring)

    def _drain_seconds(self, facts: RequestFacts, now_seconds: float, draw: float) -> float:
        return refusals.drain_seconds(
            self.settings,
            work_tokens=self.queue.work_tokens(facts.model),
            tokens_per_second=self._room.tokens_per_second(facts, now_seconds=now_seconds),
            draw=draw,
        )

    def _shutting_down(self) -> Rejection:
        jitter_ratio = 1.0 + self.settings.retry_jitter_ratio * self._draw()
        return refusals.shutting_down(self.settings.min_retry_after_seconds * jitter_ratio)


def _waiter(entry: Entry) -> AdmittedRequest:
    assert isinstance(entry, AdmittedRequest), "the queue holds what _offer put in"
    return entry
