"""What one pick costs, in counts that no machine's speed changes.

The baselines are what a pick took when it was last looked at; a change that takes more must say so
here. Times are in `headrace bench decide`.
"""

import functools
import gc
import sys
import tracemalloc

import pytest

from headrace.bench.decide_state import Steady, fleet_of

PICKS = 100
TOLERANCE_RATIO = 1.1
# Calls of Python functions and of built-in ones, by kind of request and replicas.
CALLS = {
    ("plain", 8): 144,
    ("plain", 100): 177,
    ("plain", 1000): 206,
    ("system-prompt", 100): 295,
    ("sessions", 100): 349,
    ("distrusted", 100): 396,
    ("adapters", 100): 272,
    ("subset", 100): 312,
    ("no-guard", 100): 410,
}
SETTLE_CALLS = 26
# Memory blocks that the interpreter keeps when a pick is over (ticket, what is remembered of the
# load and of the prompt) and bytes that a pick has in use at once.
KEPT_BLOCKS = {"plain": 5.4, "system-prompt": 15.2, "sessions": 16.7}
WORKING_BYTES = {"plain": 1600, "system-prompt": 2200, "sessions": 2500}


@functools.cache
def steady(arm, replicas):
    return Steady(fleet_of(replicas, arm), "dispatch", arm)


def calls_of(act, count):
    calls = 0

    def note(_frame, event, _argument):
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    for _ in range(count):
        arguments = act.prepare()
        sys.setprofile(note)
        try:
            act(*arguments)
        finally:
            sys.setprofile(before)
        act.after()
    return calls / count


class Picks:
    """One pick, with the end of another request between two."""

    def __init__(self, state):
        self.state = state

    def prepare(self):
        return self.state.request(), self.state.draw()

    def __call__(self, facts, draw):
        self.state.pick(facts, draw)

    def after(self):
        self.state.settle()


class Settles(Picks):
    """The end of a request, with a pick before each."""

    def prepare(self):
        self.state.pick(self.state.request(), self.state.draw())
        return ()

    def __call__(self):
        self.state.settle()

    def after(self):
        pass


@pytest.mark.parametrize(("arm", "replicas"), CALLS)
def test_a_pick_takes_no_more_calls_than_it_did(arm, replicas):
    most = TOLERANCE_RATIO * CALLS[arm, replicas]
    assert calls_of(Picks(steady(arm, replicas)), PICKS) <= most


def test_the_end_of_a_request_takes_no_more_calls_than_it_did():
    assert calls_of(Settles(steady("plain", 100)), PICKS) <= TOLERANCE_RATIO * SETTLE_CALLS


def test_the_baseline_itself_hardly_grows_with_the_fleet():
    assert CALLS["plain", 1000] < 1.25 * CALLS["plain", 100]


@pytest.mark.parametrize("arm", KEPT_BLOCKS)
def test_a_request_in_flight_keeps_few_blocks(arm):
    state = steady(arm, 100)
    requests = [Picks(state).prepare() for _ in range(2 * PICKS)]
    gc.collect()
    before = sys.getallocatedblocks()
    for facts, draw in requests:
        state.pick(facts, draw)
    kept = (sys.getallocatedblocks() - before) / len(requests)
    for _ in requests:
        state.settle()

    assert kept <= TOLERANCE_RATIO * KEPT_BLOCKS[arm]


def test_nothing_is_left_behind_once_the_past_is_forgotten():
    """The ledger remembers 30 s: four times what is in flight here."""
    state = steady("plain", 8)

    def turns(count):
        for _ in range(count):
            state.pick(state.request(), state.draw())
            state.settle()
        gc.collect()
        return sys.getallocatedblocks()

    before = turns(8 * state.in_flight)
    assert (turns(8 * state.in_flight) - before) / (8 * state.in_flight) < 0.2


@pytest.mark.parametrize("arm", WORKING_BYTES)
def test_a_pick_has_few_bytes_in_use_at_once(arm):
    state, used = steady(arm, 100), []
    tracemalloc.start()
    try:
        for _ in range(PICKS):
            facts, draw = Picks(state).prepare()
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            state.pick(facts, draw)
            used.append(tracemalloc.get_traced_memory()[1] - before)
            state.settle()
    finally:
        tracemalloc.stop()

    assert sorted(used)[PICKS // 2] <= TOLERANCE_RATIO * WORKING_BYTES[arm]
