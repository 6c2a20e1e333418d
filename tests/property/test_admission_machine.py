"""The queue of those who wait, against a plain list, under any sequence of what can happen."""

from builders import chat
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from router.admission.queue import AdmissionQueue, Fate
from router.admission.settings import AdmissionSettings
from router.admission.turns import Entry, Lane
from router.decide.request_facts import NO_HINTS

LIMITS = AdmissionSettings(
    max_waiting_requests=6, max_waiting_bytes=1000, max_wait_seconds=10.0, quantum_tokens=100
)
TENANTS = ("", "blue", "red")
MODELS = ("llama", "mistral")
SUBSETS = (None, frozenset({"10.0.0.1:8000"}))


def entry_of(*, tenant="", priority=0, model="llama", subset=None, work=10, size=0, now=0.0):
    hints = NO_HINTS._replace(tenant=tenant, priority=priority, subset=subset)
    facts = chat(model, hints=hints)._replace(body_bytes=size)
    return Entry(
        facts,
        work_tokens=work,
        arrived_seconds=now,
        deadline_seconds=now + LIMITS.max_wait_seconds,
    )


class QueueMachine(RuleBasedStateMachine):
    """`waiting` is the reference: who should wait, in the order of arrival."""

    entries = Bundle("entries")

    def __init__(self):
        super().__init__()
        self.queue = AdmissionQueue(LIMITS)
        self.waiting = []
        self.offered = 0
        self.gone = {fate: [] for fate in Fate}
        self.now = 0.0

    def leaves(self, entry, fate):
        self.waiting.remove(entry)
        self.gone[fate].append(entry)

    @rule(
        target=entries,
        tenant=st.sampled_from(TENANTS),
        priority=st.integers(-2, 2),
        model=st.sampled_from(MODELS),
        subset=st.sampled_from(SUBSETS),
        work=st.integers(0, 2000),
        size=st.integers(0, 1200),
    )
    def offer(self, **fields):
        entry = entry_of(**fields, now=self.now)
        self.offered += 1
        held_bytes = sum(it.facts.body_bytes for it in self.waiting)
        room = len(self.waiting) < LIMITS.max_waiting_requests
        fits = room and held_bytes + entry.facts.body_bytes <= LIMITS.max_waiting_bytes
        offer = self.queue.offer(entry)
        assert offer.accepted or not fits
        if offer.evicted is not None:
            assert offer.accepted
            assert not fits
            self.gives_way(offer.evicted, entry)
            self.leaves(offer.evicted, Fate.EVICTED)
        if not offer.accepted:
            self.gone[Fate.TURNED_AWAY].append(entry)
            return multiple()
        self.waiting.append(entry)
        return entry

    def gives_way(self, victim, entry):
        assert victim.priority == min(it.priority for it in self.waiting)
        assert victim.priority <= entry.priority
        if victim.priority == entry.priority:
            alike = [it.tenant for it in self.waiting if it.priority == entry.priority]
            assert alike.count(victim.tenant) > alike.count(entry.tenant) + 1

    @rule(entry=consumes(entries))
    def cancel(self, entry):
        waited = entry in self.waiting
        assert self.queue.cancel(entry) is waited
        if waited:
            self.leaves(entry, Fate.CANCELLED)

    @rule(blocked=st.sets(st.builds(Lane, st.sampled_from(MODELS), st.sampled_from(SUBSETS))))
    def admit(self, blocked):
        entry = self.queue.first(blocked)
        free = [it for it in self.waiting if it.lane not in blocked]
        if entry is None:
            assert not free
            return
        assert self.queue.first(blocked) is entry
        assert entry.priority == max(it.priority for it in free)
        before = [
            it
            for it in free
            if (it.lane, it.priority, it.tenant) == (entry.lane, entry.priority, entry.tenant)
        ]
        assert before[0] is entry
        self.queue.admit(entry)
        self.leaves(entry, Fate.ADMITTED)

    @rule(seconds=st.sampled_from((0.0, 0.5, 4.0, 5.0, 10.0)))
    def wait(self, seconds):
        self.now += seconds
        for entry in self.queue.expire(now_seconds=self.now):
            assert self.now >= entry.arrived_seconds + LIMITS.max_wait_seconds
            self.leaves(entry, Fate.EXPIRED)
        assert all(it.deadline_seconds > self.now for it in self.waiting)

    @rule()
    def close(self):
        closed = self.queue.close()
        assert closed == self.waiting
        for entry in closed:
            self.leaves(entry, Fate.CLOSED)

    @invariant()
    def nobody_is_lost_or_counted_twice(self):
        assert list(self.queue) == self.waiting
        assert {fate: len(them) for fate, them in self.gone.items()} == {
            fate: self.queue.fates[fate] for fate in Fate
        }
        assert self.offered == len(self.waiting) + sum(self.queue.fates.values())

    @invariant()
    def it_is_bounded(self):
        assert len(self.queue) <= LIMITS.max_waiting_requests
        assert self.queue.waiting_bytes <= LIMITS.max_waiting_bytes

    @invariant()
    def the_sums_are_those_of_who_waits(self):
        assert self.queue.waiting_bytes == sum(it.facts.body_bytes for it in self.waiting)
        for model in MODELS:
            work = sum(it.work_tokens for it in self.waiting if it.facts.model == model)
            assert self.queue.work_tokens(model) == work
        assert {lane for lane in {it.lane for it in self.waiting} if self.queue.holds(lane)} == {
            it.lane for it in self.waiting
        }
        first = min((it.deadline_seconds for it in self.waiting), default=None)
        assert self.queue.next_deadline_seconds() == first


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
