"""Admission around a real picker under any order of arrivals, ends, departures and failures."""

import asyncio
from dataclasses import replace

from builders import chat, make_fleet, make_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from telemetry_harness import ManualClock

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from fleet.topology import Fleet
from router.admission.decider import Admission
from router.admission.room_listener import RoomListener
from router.admission.settings import AdmissionSettings
from router.admission.waiter import AdmittedRequest
from router.decide.outcome import Pick, Rejection
from router.decide.picker import Picker
from router.decide.request_facts import NO_HINTS
from router.decide.room import Room
from router.decide.settings import DecideSettings

SLOTS, REPLICAS, PLACES = 2, 2, 5
REFUSING = PriceBoard(refusing=frozenset({"default"}), expires_seconds=1e9)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(-1, 1), st.sampled_from(["", "blue"])),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("leave"), st.integers(0, 9)),
        st.tuples(st.just("observe"), st.booleans(), st.booleans()),
        st.tuples(st.just("advance"), st.floats(0.0, 8.0)),
        st.tuples(st.just("take")),
    ),
    max_size=40,
)


class Walk:
    """One admission and all that was asked of it."""

    def __init__(self):
        [backend] = make_fleet({"H100": REPLICAS}).backends
        self.fleet = Fleet((replace(backend, max_running_requests=SLOTS),))
        self.clock = ManualClock()
        self.picker = Picker(self.fleet, DecideSettings(hold_when_full=True))
        limits = AdmissionSettings(max_waiting_requests=PLACES, max_wait_seconds=10.0)
        self.admission = Admission(
            self.picker, Room(self.picker), limits, clock=self.clock, draw=lambda: 0.5
        )
        self.picker.ledger.listener = RoomListener(self.admission.room_may_be, None)
        self.asked = self.over = 0
        self.picks, self.waiting = [], []

    @property
    def now(self):
        return self.clock.monotonic_seconds()

    async def ask(self, priority, tenant):
        self.asked += 1
        hints = NO_HINTS._replace(priority=priority, tenant=tenant)
        self.sort(self.admission.pick(chat(hints=hints), now_seconds=self.now, draw=0.5))

    def sort(self, result):
        if isinstance(result, Rejection):
            self.over += 1
        else:
            (self.picks if isinstance(result, Pick) else self.waiting).append(result)

    async def end(self, index):
        if self.picks:
            pick = self.picks.pop(index % len(self.picks))
            assert self.admission.settle(pick.ticket, now_seconds=self.now)
            self.over += 1

    async def leave(self, index):
        if self.waiting:
            self.waiting.pop(index % len(self.waiting)).withdraw(now_seconds=self.now)
            self.over += 1

    async def observe(self, up, refusing):
        health = {SignalKind.HEALTHY_RATIO: float(up)}
        snapshot = make_snapshot(self.fleet, default=health, at_seconds=self.now)
        board = REFUSING if refusing else PriceBoard()
        self.picker.observe(snapshot, board, now_seconds=self.now)
        self.admission.room_may_be()

    async def advance(self, seconds):
        self.clock.advance(seconds)
        self.admission.room_may_be()

    async def take(self):
        """Hand over what was decided, as streams do."""
        for _ in range(3):
            await asyncio.sleep(0)
        for waiter in [it for it in self.waiting if it not in list(self.admission.queue)]:
            self.waiting.remove(waiter)
            self.sort(await asyncio.wait_for(waiter.decided(), 1))

    def check(self):
        # A pick may be made and not be taken yet; nothing else runs unseen.
        running, queued = self.picker.ledger.running(), len(self.admission.queue)
        assert self.asked == len(self.picks) + len(self.waiting) + self.over
        assert len(self.picks) <= running <= len(self.picks) + len(self.waiting) - queued
        assert running <= SLOTS * REPLICAS
        assert queued <= PLACES
        assert all(isinstance(it, AdmittedRequest) for it in self.waiting)


async def walk(steps):
    walked = Walk()
    for name, *arguments in steps:
        await getattr(walked, name)(*arguments)
        walked.check()
    await walked.observe(up=True, refusing=False)
    for _ in range(2 * PLACES):
        await walked.take()
        while walked.picks:
            await walked.end(0)
        walked.check()
    assert (walked.over, walked.picker.ledger.running()) == (walked.asked, 0)
    assert len(walked.admission.queue) == 0


@settings(deadline=None, max_examples=80)
@given(STEPS)
def test_every_request_has_one_end_and_the_ledger_is_empty_after_all(steps):
    asyncio.run(walk(steps))
