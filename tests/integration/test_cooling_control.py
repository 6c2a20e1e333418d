"""Cooling control against a manager on loopback: ramps, and the safe set-point when in doubt."""

import asyncio
import logging
from dataclasses import replace

import pytest
from cooling_manager import cooling_manager
from telemetry_harness import ManualClock, free_port

from capper.api.room_blocks import Cooling
from capper.cooling.looks import Room
from capper.cooling.watch import CoolingWatch
from capper.decide.observation import Sample
from capper.decide.rack_room import Rack
from fleet.thermal import ThermalModel

NAME = "llm/row"


def room(inlet=22.0, *, watts=5000.0, enforce=True, supply=None):
    racks = {
        name: Rack(
            name=name,
            cap_watts=20_000.0,
            power=None if watts is None else Sample(watts, 1.0),
            inlet=None if inlet is None else Sample(inlet, 1.0),
        )
        for name in ("a", "b")
    }
    return Room(racks=racks, supply=supply, enforce=enforce)


class Hand:
    """A watch, turned by hand: each turn takes its step to the end."""

    def __init__(self, manager, **spec):
        self.clock = ManualClock()
        self.watch = CoolingWatch(self.clock)
        self.spec = {
            "adapter": "http",
            "url": manager.url,
            "sensorPointer": "/Sensor/Reading",
            "timeoutSeconds": 5,
            **spec,
        }

    async def turn(self, racks=None, *, seconds=30.0):
        self.clock.advance(seconds)
        cooling = Cooling.model_validate(self.spec)
        await self.watch.look(NAME, cooling, racks or room())
        await self.watch.settle()
        return await self.watch.look(NAME, cooling, racks or room())


@pytest.fixture
async def manager():
    async with cooling_manager() as running:
        yield running


@pytest.fixture
async def hand(manager):
    made = []

    def make(**spec):
        made.append(Hand(manager, **spec))
        return made[-1]

    yield make
    for one in made:
        await one.watch.aclose()


async def test_the_supply_rises_on_its_ramp_from_what_the_manager_holds(manager, hand):
    one = hand()
    manager.set_celsius = 20.0
    first = await one.turn()
    assert (first.point.supply_celsius, first.problem, first.unknown) == (20.0, "", "")
    looks = [await one.turn() for _ in range(6)]
    assert [look.point.supply_celsius for look in looks] == [20.25 + 0.25 * n for n in range(6)]
    assert manager.written() == [20.0, *(look.point.supply_celsius for look in looks)]
    assert looks[-1].in_force_celsius == looks[-1].supply_celsius == 21.5
    hot = await one.turn(room(28.0))
    # Redline 27 less 0.5: 1.5 K too many, and inlets follow only a part of the last rise.
    assert hot.point.supply_celsius < 21.5 - 1.5 + 1e-9
    assert manager.written()[-1] == pytest.approx(hot.point.supply_celsius, abs=1e-3)


async def test_nothing_is_written_in_observe_and_a_dry_run_tells_nobody(manager, hand):
    one = hand()
    seen = await one.turn(room(enforce=False))
    seen = await one.turn(room(enforce=False))
    assert (seen.point.supply_celsius, seen.in_force_celsius) == (18.25, 18.0)
    assert manager.orders == []
    dry = hand(adapter="dry-run", url=None, sensorPointer=None)
    dry.spec = {key: value for key, value in dry.spec.items() if value is not None}
    measured = room(supply=Sample(18.0, 1.0))
    for _ in range(3):
        seen = await dry.turn(measured)
    assert (seen.point.supply_celsius, seen.writes) == (18.5, 3)
    assert manager.asked == 2


async def test_a_set_point_that_stays_is_renewed_with_its_time_to_live(manager, hand):
    one = hand(body='{"SetPoint": $supplyCelsius, "Oem": {"Watchdog": $validSeconds}}')
    for _ in range(5):
        await one.turn(room(27.5))  # 15 C, the coldest
    assert manager.written() == [17.0, 16.0, 15.0, 15.0]
    assert {one["Oem"]["Watchdog"] for one in manager.orders} == {180.0}


@pytest.mark.parametrize(
    ("racks", "unknown"),
    [
        (room(None), "the inlet temperature of rack a"),
        (room(watts=None), "the power of rack a"),
        (room(9e18), "the inlet temperature of rack a"),
        (Room(racks={}, supply=None, enforce=True), "the racks of the room"),
    ],
)
async def test_a_room_that_is_not_known_gets_the_safe_set_point(manager, hand, racks, unknown):
    one = hand()
    manager.set_celsius = 24.0
    await one.turn()
    seen = await one.turn(racks)
    assert (seen.unknown, seen.problem, seen.safe) == (unknown, "", True)
    assert manager.set_celsius == 18.0


async def test_a_supply_sensor_that_lies_high_does_not_warm_the_racks(manager, hand):
    """Inlets are 4 K above the supply; the sensor says 8 K more than there is."""
    one = hand(intervalSeconds=30)
    for _ in range(80):
        manager.sensor_celsius = manager.set_celsius + 8.0
        seen = await one.turn(room(manager.set_celsius + 4.0))
    assert manager.set_celsius + 4.0 <= 26.5 + 0.01
    assert seen.point.supply_celsius == pytest.approx(22.5, abs=0.1)
    manager.sensor_celsius = 9e18
    seen = await one.turn()
    assert (seen.unknown, manager.set_celsius) == ("the supply temperature", 18.0)


async def test_an_inlet_that_hangs_while_the_supply_moves_is_not_believed(manager, hand):
    """Rack b follows the supply; rack a says 22 degrees whatever happens."""
    one = hand(rampCelsiusPerMinute=1.0)

    def half_dead():
        seen = room(22.0)
        b = seen.racks["b"]
        racks = {**seen.racks, "b": replace(b, inlet=Sample(manager.set_celsius + 2.0, 1.0))}
        return replace(seen, racks=racks)

    warmest, unknown = 0.0, []
    for _ in range(60):
        seen = await one.turn(half_dead())
        warmest = max(warmest, manager.set_celsius)
        unknown.append(seen.unknown)
    assert unknown[-1] == "the inlet temperature of rack a"
    assert manager.set_celsius == 18.0
    assert warmest < 18.0 + 2.0 + 5.5, "two kelvin, and what the ramp adds while inlets lag behind"
    seen = await one.turn(room(22.5))
    assert seen.unknown == "", "it moves again"


@pytest.mark.parametrize(
    ("failing", "trouble", "words"),
    [
        ({"GET": (500, "boom")}, "status", "GET: the cooling manager answered 500: boom"),
        ({"GET": (404, "")}, "refused", "GET: the cooling manager answered 404"),
        ({"GET": (302, "")}, "refused", "answered 302"),
        ({"PATCH": (503, "busy")}, "status", "PATCH: the cooling manager answered 503: busy"),
        ({"PATCH": (400, "no")}, "refused", "PATCH: the cooling manager answered 400: no"),
    ],
)
async def test_a_manager_that_refuses_is_told_once_and_meets_the_safe_set_point(
    manager, hand, caplog, failing, trouble, words
):
    one = hand()
    manager.set_celsius = 22.0
    await one.turn()
    manager.failing = failing
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            seen = await one.turn()
    assert words in seen.problem
    assert seen.failures[trouble] >= 3
    assert seen.point.supply_celsius == 18.0 or "PATCH" in failing
    assert len([line for line in caplog.messages if words in line]) == 1
    manager.failing = {}
    for _ in range(3):
        seen = await one.turn()
    assert (seen.problem, manager.set_celsius) == ("", seen.point.supply_celsius)


async def test_reading_fails_and_the_safe_set_point_still_arrives(manager, hand):
    one = hand()
    manager.set_celsius = 23.0
    await one.turn()
    manager.failing = {"GET": (500, "boom")}
    await one.turn()
    assert manager.set_celsius == 18.0


@pytest.mark.parametrize(
    "raw",
    ["", "[]", "not json", '{"SetPoint": "18"}', '{"SetPoint": NaN}', '{"SetPoint": true}'],
)
async def test_an_answer_without_a_number_is_malformed(manager, hand, raw):
    one = hand()
    manager.raw = raw
    seen = await one.turn()
    assert seen.failures == {"malformed": 2}
    assert seen.point.supply_celsius == 18.0


@pytest.mark.parametrize("raw", ['{"SetPoint": 9e18}', '{"SetPoint": -273}'])
async def test_a_set_point_that_cannot_be_one_is_not_believed(manager, hand, raw):
    one = hand(sensorPointer="/SetPoint")
    manager.raw = raw
    seen = await one.turn()
    assert (seen.in_force_celsius, seen.point.supply_celsius) == (None, 18.0)
    assert "says to hold" in seen.problem


async def test_a_manager_that_takes_orders_and_does_not_follow_is_found(manager, hand, caplog):
    one = hand()
    manager.set_celsius = 20.0
    await one.turn()
    manager.deaf = True
    with caplog.at_level(logging.WARNING):
        await one.turn()
        seen = await one.turn()
    assert seen.problem == "the cooling manager holds 20.0 C, 18.0 C was written"
    assert seen.failures["read_back"] >= 2
    assert manager.written()[-1] == 18.0
    manager.deaf = False
    await one.turn()
    seen = await one.turn()
    assert (seen.problem, seen.in_force_celsius) == ("", seen.point.supply_celsius)
    assert seen.point.supply_celsius == pytest.approx(18.25)


async def test_a_manager_that_hangs_holds_up_no_turn(manager, hand):
    one = hand(timeoutSeconds=0.2)
    manager.gate = asyncio.Event()
    cooling = Cooling.model_validate(one.spec)
    one.clock.advance(30.0)
    seen = await one.watch.look(NAME, cooling, room())
    assert seen.point is None, "the step has only begun"
    await one.watch.settle()
    seen = await one.watch.look(NAME, cooling, room())
    assert seen.failures["timeout"] == 2
    assert seen.point.supply_celsius == 18.0
    manager.gate.set()


async def test_nobody_there_is_unreachable(hand):
    one = hand(url=f"http://127.0.0.1:{free_port()}")
    seen = await one.turn()
    assert seen.failures == {"unreachable": 2}


async def test_what_is_left_behind(manager, hand):
    one = hand()
    manager.set_celsius = 23.0
    await one.turn()
    await one.watch.aclose()
    assert manager.set_celsius == 23.0, "to give back connections sets nothing"
    one = hand()
    await one.turn()
    one.watch.hold()
    await one.watch.let_go()
    assert manager.set_celsius == 23.0, "somebody else leads"
    one = hand()
    await one.turn()
    await one.watch.let_go()
    assert manager.set_celsius == 18.0, "the process ends"
    asked = manager.asked
    await one.turn()
    assert manager.asked == asked, "and controls nothing any more"
    one = hand()
    manager.set_celsius = 23.0
    await one.turn()
    await one.watch.look(NAME, None, room())
    assert manager.set_celsius == 18.0, "the block is gone"
    one = hand()
    manager.set_celsius = 23.0
    await one.turn()
    await one.watch.look(NAME, Cooling.model_validate(one.spec), room(enforce=False))
    assert manager.set_celsius == 18.0, "it may not enforce any more"


async def test_with_a_matrix_watts_count_before_the_inlets_have_risen(manager, hand):
    kelvin_per_watt = 1e-3
    hot = ThermalModel(
        racks=("a", "b"),
        approach_celsius=(0.0, 0.0),
        recirculation_kelvin_per_watt=((kelvin_per_watt, 0.0), (0.0, kelvin_per_watt)),
    )
    cool_inlets = room(inlet=22.0, watts=9000.0)
    manager.set_celsius = 24.0
    blind = await hand().turn(cool_inlets)
    manager.set_celsius = 24.0
    aware = await hand().turn(replace(cool_inlets, model=hot))
    assert blind.point.supply_celsius >= 24.0
    assert aware.point.supply_celsius <= 27.0 - 9000.0 * kelvin_per_watt
    assert aware.unknown == ""
