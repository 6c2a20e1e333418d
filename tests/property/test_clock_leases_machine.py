"""Whatever happens to leases and to the agent, boards end as they were, or at their safe limit."""

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from capper.clocks.board import Board, Setting
from capper.clocks.holding import Do, readings_differ
from capper.clocks.lease import Lease, OnExpiry
from capper.clocks.leases import LeaseBook
from capper.clocks.ramp import Ramp
from capper.clocks.record import from_document, to_document

CLOCKS = tuple(float(mega) * 1e6 for mega in (345, 540, 780, 1020, 1260, 1500, 1740, 1980))
HOLDERS = ("one", "two")
RAMP = Ramp(up_seconds=30.0, up_ratio=0.25, down_seconds=0.5)


class Plant:
    """A board, and whether its driver loads as it was."""

    def __init__(self, saved_watts):
        self.saved_watts = saved_watts
        self.reset()
        self.watts = saved_watts

    def reset(self):
        self.hertz, self.watts = None, 700.0

    def board(self):
        return Board(
            uuid="GPU-0",
            clocks_hertz=CLOCKS,
            limit_watts=self.watts,
            min_limit_watts=200.0,
            max_limit_watts=700.0,
        )

    def do(self, order):
        if order.do is Do.LIMIT:
            assert 200.0 <= order.value <= self.saved_watts
            self.watts = order.value
        else:
            assert order.do is Do.UNLOCK or order.value in CLOCKS
            self.hertz = order.value if order.do is Do.LOCK else None


class Leases(RuleBasedStateMachine):
    """The book, its record on disk, and the board; the shell's order of things is the keeper's."""

    @initialize(saved_watts=st.sampled_from([300.0, 650.0, 700.0]))
    def start(self, saved_watts):
        self.now = 1000.0
        self.plant = Plant(saved_watts)
        self.record = json.dumps(to_document([]))
        self.book = LeaseBook(RAMP)
        self.falls = 0
        self.reloaded = False

    @rule(
        holder=st.sampled_from(HOLDERS),
        mega_hertz=st.none() | st.floats(100.0, 2200.0),
        watts=st.none() | st.floats(50.0, 900.0),
        safe_watts=st.none() | st.floats(100.0, 800.0),
        on_expiry=st.sampled_from(OnExpiry),
        seconds=st.floats(1.0, 60.0),
        dies_after=st.none() | st.integers(0, 2),
    )
    def claim(self, holder, mega_hertz, watts, safe_watts, on_expiry, seconds, dies_after):
        lease = Lease(
            holder=holder,
            setting=Setting(max_hertz=mega_hertz and mega_hertz * 1e6, limit_watts=watts),
            expires_seconds=self.now + seconds,
            on_expiry=on_expiry,
            safe_limit_watts=safe_watts,
        )
        self.book.claim(self.plant.board(), lease, now_seconds=self.now)
        self.turn(dies_after=dies_after)

    @rule(holder=st.sampled_from(HOLDERS))
    def release(self, holder):
        self.book.release(holder)
        self.turn()

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0, 61.0]))
    def wait(self, seconds):
        self.now += seconds
        self.book.expire(now_seconds=self.now)
        self.turn()

    @rule()
    def reload_driver(self):
        self.plant.reset()
        if self.book.holdings:
            self.book.lost("GPU-0")
            self.turn()
            self.book.found(self.plant.board())
            self.turn()
        else:
            self.plant.watts = self.plant.saved_watts  # whoever set it sets it again

    @rule()
    def crash_and_restart(self):
        boards = {"GPU-0": self.plant.board()}
        self.book = LeaseBook(RAMP)
        self.book.take_up(from_document(json.loads(self.record), boards))
        self.book.end_all()
        self.turn(at_once=True)
        self.as_it_was_or_safe()

    @rule()
    def stop_in_order_and_restart(self):
        self.book.end_all()
        self.turn(at_once=True)
        self.as_it_was_or_safe()
        self.crash_and_restart()

    def turn(self, *, at_once=False, dies_after=None):
        self.save()
        for uuid, orders, position in list(self.book.due(now_seconds=self.now, at_once=at_once)):
            for number, order in enumerate(orders):
                if number == dies_after:
                    self.crash_and_restart()
                    return
                self.plant.do(order)
                self.book.touch(uuid)
            self.book.done(uuid, orders, position)
            holding = self.book.holdings[uuid]
            hertz, watts = self.plant.hertz or CLOCKS[-1], self.plant.watts
            assert readings_differ(holding, sm_hertz=hertz, limit_watts=watts) is None
        self.book.settle()
        self.save()

    def save(self):
        self.record = json.dumps(to_document(self.book.holdings.values()))

    def as_it_was_or_safe(self):
        holding = self.book.holdings.get("GPU-0")
        leases = () if holding is None else holding.leases
        assert all(lease.expired for lease in leases)
        if not leases:
            assert (self.plant.hertz, self.plant.watts) == (None, self.plant.saved_watts)
            assert json.loads(self.record)["boards"] == {}
        elif all(lease.safe_limit_watts is not None for lease in leases):
            safe = min(lease.safe_limit_watts for lease in leases)
            assert (self.plant.hertz, self.plant.watts) == (None, safe)

    @invariant()
    def limits_stay_between_the_lowest_and_what_was_there(self):
        if hasattr(self, "plant"):
            assert 200.0 <= self.plant.watts <= self.plant.saved_watts

    @invariant()
    def what_is_held_is_recorded_with_the_original(self):
        if hasattr(self, "plant") and self.plant.watts != self.plant.saved_watts:
            known = json.loads(self.record)["boards"]["GPU-0"]
            assert known["original_limit_watts"] == self.plant.saved_watts

    def teardown(self):
        """Left alone, everything comes back: leases run out, ramps end."""
        if not hasattr(self, "plant"):
            return
        for _ in range(12):
            self.wait(31.0)
        self.as_it_was_or_safe()


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
