"""Conservation: whatever happens in whatever order, requests' joules are the busy joules.

Every run is also checked against an account kept the slow way: at every stretch between two
events, each request in flight on a replica gets watts * seconds / n added to it.
"""

import math
from dataclasses import dataclass, field

import pytest
from builders import make_fleet, make_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.ledger import Ledger
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.metering.energy import Method
from router.metering.intensity import StaticIntensity
from router.metering.meter import Meter, MeterSettings

FLEET = make_fleet({"A100": 1, "H100": 2})
ADDRESSES = [replica.address for replica in FLEET.replicas()]
FRESH_SECONDS = 5.0
GRAMS_PER_JOULE = 400.0 / 3.6e6
NO_PRICES = PriceBoard()

replica_numbers = st.integers(0, len(ADDRESSES) - 1)
watts = st.none() | st.floats(10.0, 1000.0)
steps = st.one_of(
    st.tuples(st.just("wait"), st.floats(0.0, 12.0)),
    st.tuples(st.just("step back"), st.floats(0.0, 3.0)),
    st.tuples(st.just("enter"), replica_numbers),
    st.tuples(st.just("settle"), st.integers(0, 50)),
    st.tuples(st.just("settle twice"), st.integers(0, 50)),
    st.tuples(st.just("move"), st.integers(0, 50), replica_numbers),
    st.tuples(st.just("observe"), st.lists(watts, min_size=3, max_size=3), st.integers(0, 5)),
)


@dataclass
class SlowAccount:
    """The definition, carried out stretch by stretch."""

    now_seconds: float = 0.0
    where: dict[int, str] = field(default_factory=dict)
    joules: dict[int, float] = field(default_factory=dict)
    unknown_seconds: dict[int, float] = field(default_factory=dict)
    watts: dict[str, tuple[float, float]] = field(default_factory=dict)
    foreign: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ADDRESSES, 0.0))

    def advance(self, now_seconds: float) -> None:
        ends = sorted({until for _, until in self.watts.values()} | {now_seconds})
        for end in ends:
            if self.now_seconds < end <= now_seconds:
                self._stretch(end)

    def _stretch(self, end: float) -> None:
        seconds = end - self.now_seconds
        for address in ADDRESSES:
            here = [number for number, at in self.where.items() if at == address]
            known = self.watts.get(address)
            for number in here:
                if known is None or known[1] <= self.now_seconds:
                    self.unknown_seconds[number] += seconds
                else:
                    n = len(here) + self.foreign[address]
                    self.joules[number] += known[0] * seconds / n
        self.now_seconds = end


class Bench:
    """Ledger, picker's units and meter, as the router has them; watts only where measured."""

    def __init__(self, *, model_watts: bool = False, share_with_others: bool = True):
        self.ends = {}
        self.meter = Meter(
            MeterSettings(
                fresh_seconds=FRESH_SECONDS,
                model_watts=model_watts,
                share_with_others=share_with_others,
            ),
            intensity=StaticIntensity(default_grams_per_kwh=400.0),
            on_end=self._ended,
        )
        self.picker = Picker(FLEET, DecideSettings())
        self.ledger: Ledger = self.picker.ledger
        self.ledger.listener = self.meter
        self.slow = SlowAccount()
        self.tickets = []
        self.clock_seconds = self.newest_seconds = 0.0
        self.version = 0
        self.before = dict.fromkeys(ADDRESSES, 0.0)
        self.observe([None, None, None], 0)

    def _ended(self, ticket, energy):
        assert ticket not in self.ends
        self.ends[ticket] = energy

    def _now(self):
        self.newest_seconds = max(self.newest_seconds, self.clock_seconds)
        self.slow.advance(self.newest_seconds)
        return self.clock_seconds

    def observe(self, readings, foreign):
        now_seconds = self._now()
        self.version += 1
        by_address = dict(zip(ADDRESSES, readings, strict=True))
        load = dict(self.ledger)
        snapshot = make_snapshot(
            FLEET,
            {
                address: {SignalKind.RUNNING_REQUESTS: load[address].running + foreign}
                | ({} if value is None else {SignalKind.POWER_WATTS: value})
                for address, value in by_address.items()
            },
            at_seconds=now_seconds,
            version=self.version,
        )
        self.picker.observe(snapshot, NO_PRICES, now_seconds=now_seconds)
        self.meter.observe(snapshot, self.picker.units(), now_seconds=now_seconds)
        self.slow.watts = {
            address: (value, now_seconds + FRESH_SECONDS)
            for address, value in by_address.items()
            if value is not None
        }
        for unit in self.picker.units():
            previous = self.before[unit.address]
            self.before[unit.address] = unit.foreign_running
            self.slow.foreign[unit.address] = min(previous, unit.foreign_running)

    def enter(self, address):
        ticket = self.ledger.enter(
            address, resident_tokens=1.0, prefill_seconds=0.0, now_seconds=self._now()
        )
        number = len(self.tickets)
        self.tickets.append(ticket)
        self.slow.where[number] = address
        self.slow.joules[number] = self.slow.unknown_seconds[number] = 0.0

    def settle(self, number):
        settled = self.ledger.settle(self.tickets[number], now_seconds=self._now())
        assert settled == (number in self.slow.where)
        self.slow.where.pop(number, None)

    def move(self, number, address):
        moved = self.ledger.move(self.tickets[number], address, now_seconds=self._now())
        assert moved == (self.slow.where.get(number, address) != address)
        if moved:
            self.slow.where[number] = address

    def play(self, step):
        kind, *arguments = step
        if kind == "wait":
            self.clock_seconds += arguments[0]
        elif kind == "step back":
            self.clock_seconds -= arguments[0]
        elif kind == "enter":
            self.enter(ADDRESSES[arguments[0]])
        elif kind == "observe":
            self.observe(*arguments)
        elif self.tickets:
            number = arguments[0] % len(self.tickets)
            if kind == "move":
                self.move(number, ADDRESSES[arguments[1]])
            for _ in range({"settle": 1, "settle twice": 2}.get(kind, 0)):
                self.settle(number)

    def finish(self):
        for number in range(len(self.tickets)):
            self.settle(number)
        self.meter.advance(now_seconds=self._now())

    def joules(self):
        return math.fsum(self.ends[ticket].joules or 0.0 for ticket in self.tickets)


@settings(deadline=None)
@given(st.lists(steps, max_size=60))
def test_requests_joules_are_the_busy_joules_and_each_is_what_the_definition_says(played):
    bench = Bench()
    for step in played:
        bench.play(step)
    bench.finish()
    own_joules = sum(totals.own_joules for totals in bench.meter.totals.values())
    assert bench.joules() == pytest.approx(own_joules, rel=1e-9, abs=1e-6)
    for number, ticket in enumerate(bench.tickets):
        energy, slow = bench.ends[ticket], bench.slow
        assert (energy.joules or 0.0) == pytest.approx(slow.joules[number], rel=1e-9, abs=1e-6)
        unknown_seconds = energy.seconds * (1.0 - energy.coverage_ratio)
        assert unknown_seconds == pytest.approx(slow.unknown_seconds[number], abs=1e-6)
        assert (energy.joules is None) == (energy.method is None)
        if energy.grams_co2e is not None:
            assert energy.grams_co2e == pytest.approx(energy.joules * GRAMS_PER_JOULE, abs=1e-12)
    assert bench.meter.open == 0


@settings(deadline=None)
@given(st.lists(steps, max_size=60), st.booleans())
def test_with_the_profile_as_a_stand_in_nothing_is_unknown_and_the_sum_still_holds(played, share):
    bench = Bench(model_watts=True, share_with_others=share)
    for step in played:
        bench.play(step)
    bench.finish()
    totals = bench.meter.totals.values()
    assert sum(t.unknown_seconds for t in totals) == 0.0
    assert share or sum(t.foreign_joules for t in totals) == 0.0
    assert bench.joules() == pytest.approx(sum(t.own_joules for t in totals), rel=1e-9, abs=1e-6)
    for energy in bench.ends.values():
        assert energy.coverage_ratio == pytest.approx(1.0)
        assert (energy.method is Method.MEASURED) == (energy.measured_ratio == 1.0)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(50.0, 900.0), st.floats(0.1, 4.0))
def test_two_routers_that_see_each_others_load_share_one_replica_without_remainder(
    ours, theirs, watts, seconds
):
    """Each has its own ledger and is scraped the same replica; what both meter is its energy."""
    joules = 0.0
    for own, others in ((ours, theirs), (theirs, ours)):
        bench = Bench()
        for _ in range(own):
            bench.enter(ADDRESSES[0])
        for _ in range(2):  # foreign load counts when two snapshots agree on it
            bench.observe([watts, None, None], others)
        bench.clock_seconds += seconds
        bench.finish()
        joules += bench.joules()
    assert joules == pytest.approx(watts * seconds, rel=1e-9)


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=30))
def test_replica_time_is_shared_too_so_that_what_is_paid_by_time_adds_up(waits):
    bench = Bench()
    for number, seconds in enumerate(waits):
        bench.enter(ADDRESSES[0])
        bench.clock_seconds += seconds
        if number % 3 == 2:
            bench.settle(number - 1)
    bench.finish()
    [busy_seconds] = [t.busy_seconds for t in bench.meter.totals.values() if t.busy_seconds]
    shared = sum(energy.replica_seconds for energy in bench.ends.values())
    assert shared == pytest.approx(busy_seconds, rel=1e-9)
