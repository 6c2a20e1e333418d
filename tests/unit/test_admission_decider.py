"""The shell of admission around a real picker: who waits, who goes, what a leaver leaves behind."""

import asyncio
from dataclasses import replace

import pytest
from builders import chat, make_fleet, make_snapshot
from telemetry_harness import ManualClock

from fleet.price import PriceBoard
from fleet.topology import Fleet
from router.admission.decider import Admission
from router.admission.queue import Fate
from router.admission.room_listener import RoomListener
from router.admission.settings import AdmissionSettings
from router.admission.waiter import AdmittedRequest
from router.decide.outcome import Pick, Rejection, RejectionReason
from router.decide.picker import Picker
from router.decide.request_facts import NO_HINTS
from router.decide.room import Room
from router.decide.settings import DecideSettings

SHEDDABLE = NO_HINTS._replace(priority=-1)


class FragilePicker(Picker):
    """A picker with a defect that one answer length sets off once it is switched on."""

    defective = False

    def pick(self, facts, *, now_seconds, draw):
        if self.defective and facts.max_output_tokens == 13:
            raise ZeroDivisionError("a defect")
        return super().pick(facts, now_seconds=now_seconds, draw=draw)


class Door:
    """One replica with few slots, and an admission before it."""

    def __init__(self, *, slots=1, models=("llama",), replicas=1, **settings):
        fleet = make_fleet({"H100": replicas}, models=models)
        self.fleet = Fleet(tuple(replace(it, max_running_requests=slots) for it in fleet.backends))
        self.clock = ManualClock()
        self.picker = FragilePicker(self.fleet, DecideSettings(hold_when_full=True))
        self.admission = Admission(
            self.picker,
            Room(self.picker),
            AdmissionSettings(**settings),
            clock=self.clock,
            draw=lambda: 0.0,
        )
        self.picker.ledger.listener = RoomListener(self.admission.room_may_be, None)

    @property
    def queue(self):
        return self.admission.queue

    @property
    def now(self):
        return self.clock.monotonic_seconds()

    def ask(self, model="llama", *, hints=NO_HINTS, **fields):
        facts = chat(model, hints=hints, **fields)
        return self.admission.pick(facts, now_seconds=self.now, draw=0.5)

    def end(self, pick):
        assert self.admission.settle(pick.ticket, now_seconds=self.now)

    def observe(self, board=None, fleet=None):
        snapshot = make_snapshot(fleet or self.fleet, at_seconds=self.now)
        self.picker.observe(snapshot, board or PriceBoard(), now_seconds=self.now)
        self.admission.room_may_be()


async def decision(waiting):
    async with asyncio.timeout(5):
        return await waiting.decided()


async def test_what_ends_makes_room_for_the_first_who_waits():
    door = Door()
    running = door.ask()
    first, second = door.ask(), door.ask()
    assert isinstance(running, Pick)
    assert isinstance(first, AdmittedRequest)
    door.end(running)
    pick = await decision(first)
    assert isinstance(pick, Pick)
    assert door.picker.ledger.running() == 1
    door.end(pick)
    door.end(await decision(second))
    assert door.picker.ledger.running() == 0
    assert door.queue.fates == {Fate.ADMITTED: 2}


async def test_nobody_overtakes_those_who_wait():
    door = Door()
    running = door.ask()
    first = door.ask()
    door.end(running)  # room, but the event loop has not come round yet
    late = door.ask()
    assert isinstance(late, AdmittedRequest)
    await decision(first)
    assert len(door.queue) == 1


async def test_an_objective_stands_for_its_priority():
    door = Door()
    door.admission.set_view({"urgent": 7, "batch": -3}, ())
    running = door.ask()
    plain, unknown, urgent = (
        door.ask(hints=NO_HINTS._replace(objective=name)) for name in (None, "other", "urgent")
    )
    assert [it.priority for it in (plain, unknown, urgent)] == [0, 0, 7]
    shed = door.ask(hints=NO_HINTS._replace(objective="batch"))
    assert shed.reason is RejectionReason.SHED
    door.end(running)
    await decision(urgent)
    assert list(door.queue) == [plain, unknown]


@pytest.mark.parametrize("when", ["waiting", "decided", "taken"])
async def test_a_client_that_leaves_leaves_nothing_behind(when):
    door = Door()
    running = door.ask()
    leaver, stayer = door.ask(), door.ask()
    if when != "waiting":
        door.end(running)
        await asyncio.sleep(0)
    if when == "taken":
        await decision(leaver)
    leaver.withdraw(now_seconds=door.now)
    if when == "waiting":
        door.end(running)
    door.end(await decision(stayer))
    assert door.picker.ledger.running() == 0
    assert door.picker.ledger.entered_total == door.picker.ledger.settled_total
    assert len(door.queue) == 0


async def test_a_full_lane_does_not_hold_up_another_model():
    fleet = make_fleet({"H100": 2})
    [backend] = fleet.backends
    one, two = backend.replicas
    door = Door(replicas=2)
    door.fleet = Fleet(
        (replace(backend, max_running_requests=1, replicas=(one, replace(two, models=("b",)))),)
    )
    door.observe()
    running, other = door.ask(), door.ask("b")
    stuck, free = door.ask(), door.ask("b")
    door.end(other)
    assert isinstance(await decision(free), Pick)
    assert list(door.queue) == [stuck]
    assert running.ticket.settled is False


async def test_a_defect_ends_the_request_that_sets_it_off_and_no_other():
    door = Door()
    running = door.ask()
    fatal, next_one = door.ask(output_tokens=13), door.ask()
    door.picker.defective = True
    door.end(running)
    with pytest.raises(ZeroDivisionError):
        await decision(fatal)
    assert isinstance(await decision(next_one), Pick)


async def test_a_deadline_is_kept_without_any_other_event():
    door = Door(max_wait_seconds=0.02)
    door.ask()
    waiting = door.ask()
    door.clock.advance(0.02)
    rejection = await decision(waiting)
    assert rejection.reason is RejectionReason.NO_ROOM_IN_TIME
    assert door.queue.fates == {Fate.EXPIRED: 1}


async def test_an_alarm_that_rings_too_early_is_set_again():
    door = Door(max_wait_seconds=0.02)
    door.ask()
    waiting = door.ask()
    await asyncio.sleep(0.05)  # by the loop's clock the time is up, by ours it is not
    assert len(door.queue) == 1
    door.clock.advance(0.02)
    rejection = await decision(waiting)
    assert rejection.reason is RejectionReason.NO_ROOM_IN_TIME


async def test_a_brake_keeps_those_who_wait_waiting_and_refuses_the_others():
    door = Door()
    running = door.ask()
    waiting = door.ask()
    brake = PriceBoard(refusing=frozenset({"default"}), expires_seconds=door.now + 5.0)
    door.observe(brake)
    door.end(running)
    await asyncio.sleep(0)
    assert list(door.queue) == [waiting]
    refused = door.ask()
    assert refused.reason is RejectionReason.SHED
    door.observe()
    assert isinstance(await decision(waiting), Pick)


async def test_hundreds_go_in_several_turns_of_the_loop():
    door = Door(slots=256)
    door.picker.known_models = frozenset({"llama"})
    door.picker.observe(make_snapshot(Fleet(())), PriceBoard(), now_seconds=door.now)
    waiting = [door.ask() for _ in range(200)]
    assert door.admission.waiting()["llama"].has_replica is False
    door.observe()
    await asyncio.sleep(0)
    assert 0 < len(door.queue) < 200
    picks = [await decision(it) for it in waiting]
    assert all(isinstance(it, Pick) for it in picks)
    assert door.picker.ledger.running() == 200


async def test_shutting_down_refuses_those_who_wait_and_those_who_would():
    door = Door()
    running = door.ask()
    waiting = door.ask()
    door.admission.close()
    assert (await decision(waiting)).reason is RejectionReason.SHUTTING_DOWN
    assert door.ask().reason is RejectionReason.SHUTTING_DOWN
    door.end(running)
    assert isinstance(door.ask(), Pick)


async def test_waiting_may_be_turned_off():
    door = Door(max_waiting_requests=0)
    door.ask()
    rejection = door.ask()
    assert isinstance(rejection, Rejection)
    assert rejection.reason is RejectionReason.FULL


async def test_what_may_be_shed_waits_for_a_replica_but_not_for_room():
    door = Door()
    door.picker.known_models = frozenset({"llama", "b"})
    door.ask()
    door.ask()
    assert door.ask(hints=SHEDDABLE).reason is RejectionReason.SHED
    assert isinstance(door.ask("b", hints=SHEDDABLE), AdmittedRequest)


async def test_models_that_are_scaled_to_zero_are_listed():
    door = Door()
    door.admission.set_view({}, ("asleep",))
    assert door.admission.models() == ("asleep", "llama")
