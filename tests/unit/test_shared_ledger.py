"""Router workers that share a ledger: plans, odd topologies, energy, and what repeating costs."""

import math
import sys

import pytest
from builders import chat, make_fleet, make_snapshot
from workers_harness import ADDRESSES, FLEET, Workers, running

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.metering.meter import Meter
from router.workers.board import LEAST_RING_BYTES, Board
from router.workers.joining import hash_seed, join

# Calls of Python and built-in functions to repeat one entry and one end, and to find nothing new.
ENTRY_AND_END_CALLS = 99
# The comparison with the other worker and with the parent, and the three calls around them.
NOTHING_NEW_CALLS = 2 + 3
TOLERANCE_RATIO = 1.1


def calls(act):
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def pick(picker, *, now_seconds=1.0, **request):
    return picker.pick(chat(**request), now_seconds=now_seconds, draw=0.5)


def seeing(crew):
    """With readings of the replicas, so that requests are packed."""
    idle = {SignalKind.RUNNING_REQUESTS: 0.0}
    for picker in crew.everyone:
        picker.observe(make_snapshot(FLEET, default=idle), PriceBoard(), now_seconds=0.0)
    return crew


def test_the_parents_sets_are_in_force_in_all_workers():
    crew = Workers(2)
    for _ in range(40):
        pick(crew.pickers[0])
    crew.watcher.commit(now_seconds=1.0)
    for picker in crew.pickers:
        picker.commit(now_seconds=1.5)
        assert picker.commitments() == crew.watcher.commitments()
    llama = crew.watcher.commitments()["llama"]
    assert llama.addresses
    assert llama.requests_per_second > crew.watcher.commitments()["qwen"].requests_per_second


def test_a_worker_chooses_alone_while_the_parent_is_silent():
    crew = Workers(1)
    crew.watcher.commit(now_seconds=1.0)
    for _ in range(40):
        pick(crew.pickers[0], now_seconds=3.0)
    [picker] = crew.pickers
    picker.commit(now_seconds=4.0)
    told = crew.watcher.commitments()["llama"]
    assert picker.commitments()["llama"].requests_per_second == told.requests_per_second
    picker.commit(now_seconds=5.0)
    assert picker.commitments()["llama"].requests_per_second > told.requests_per_second
    crew.watcher.commit(now_seconds=6.0)
    picker.commit(now_seconds=6.0)
    assert picker.commitments() == crew.watcher.commitments()


def test_a_worker_that_comes_later_gets_the_sets_with_the_open_tickets():
    crew = Workers(2)
    pick(crew.pickers[1])
    crew.watcher.commit(now_seconds=1.0)
    crew.restart(0)
    assert crew.pickers[0].commitments() == {}
    crew.calm_down(now_seconds=1.2)
    assert crew.pickers[0].commitments() == crew.watcher.commitments()
    assert running(crew.pickers[0]) == running(crew.pickers[1])


def test_a_replica_that_is_not_known_here_yet_is_counted_when_it_is():
    board = Board.create(2, LEAST_RING_BYTES)
    larger = make_fleet({"A100": 2, "H100": 2, "B200": 2}, models=("llama", "qwen", "gemma"))
    new = Picker(larger, DecideSettings(policy="round-robin"))
    old = Picker(FLEET, DecideSettings())
    first, second = join(board, 0, new), join(board, 1, old)
    second.tick(now_seconds=0.0)
    picks = [pick(new) for _ in range(6)] + [pick(new, model="gemma")]
    second.tick(now_seconds=1.0)
    assert running(old) == running(new)
    assert "gemma" not in old.models()
    snapshot = make_snapshot(larger, at_seconds=2.0)
    old.observe(snapshot, PriceBoard(), now_seconds=2.0)
    busy = {unit.address: unit.running for unit in old.units() if unit.running}
    assert busy == running(new)
    for it in picks:
        new.settle(it.ticket, now_seconds=3.0)
    first.tick(now_seconds=3.0)
    second.tick(now_seconds=3.0)
    assert running(old) == {}


def test_a_worker_that_leaves_takes_its_requests_with_it():
    crew = Workers(2)
    pick(crew.pickers[0])
    pick(crew.pickers[1])
    crew.mirrors[0].leave()
    crew.mirrors[1].tick(now_seconds=2.0)
    assert crew.mirrors[1].open == 0
    assert crew.pickers[1].ledger.running() == 1


def test_own_and_foreign_requests_are_told_apart():
    crew = Workers(2)
    one = pick(crew.pickers[0])
    pick(crew.pickers[1])
    crew.pickers[0].settle(one.ticket, now_seconds=2.0)
    crew.calm_down(now_seconds=2.0)
    ledger, mirror = crew.pickers[1].ledger, crew.mirrors[1]
    assert (ledger.entered_total, ledger.settled_total) == (2, 1)
    assert (mirror.foreign_entered_total, mirror.foreign_settled_total) == (1, 1)


def test_skips_count_against_a_replica_in_all_workers():
    crew = Workers(2)
    for _ in range(2):
        skipped = pick(crew.pickers[0])
        crew.pickers[0].serve(skipped, skipped.fallbacks[0], now_seconds=1.0)
    assert pick(crew.pickers[1]).address != skipped.address
    assert crew.pickers[1].outliers.avoided(now_seconds=1.0) == {skipped.address}


def test_skips_for_a_replica_that_nobody_knows_count_in_all_workers():
    crew = seeing(Workers(2))
    for _ in range(2):
        skipped = pick(crew.pickers[0])
        crew.pickers[0].serve(skipped, "10.255.0.1:8000", now_seconds=1.0)
    crew.tick(now_seconds=1.0)
    for picker in crew.everyone:
        assert picker.outliers.avoided(now_seconds=1.0) == set(skipped.endpoints)


def test_who_serves_again_is_held_no_skips_against_whoever_was_told_of_them():
    crew = seeing(Workers(2))
    first = pick(crew.pickers[1], now_seconds=0.5)
    for _ in range(2):
        skipped = pick(crew.pickers[0])
        assert skipped.address == first.address
        crew.pickers[0].serve(skipped, skipped.fallbacks[0], now_seconds=1.0)
    crew.pickers[1].serve(first, first.address, now_seconds=1.5)
    crew.tick(now_seconds=1.5)
    for picker in crew.everyone:
        assert picker.outliers.avoided(now_seconds=1.5) == frozenset()


def test_a_request_ends_after_those_that_others_began_before_its_end():
    crew = seeing(Workers(2))
    mine = pick(crew.pickers[0], now_seconds=1.0, prompt_bytes=50_000)
    theirs = pick(crew.pickers[1], now_seconds=1.001, prompt_bytes=50_000)
    assert mine.address == theirs.address
    crew.pickers[0].settle(mine.ticket, now_seconds=1.002)
    crew.tick(now_seconds=1.002)
    free = {it.ledger.account(mine.address).prefill_free_seconds for it in crew.everyone}
    assert len(free) == 1


def test_the_requests_of_all_workers_share_the_joules_once():
    ended, meters = [], []
    crew = Workers(2)
    for picker in crew.pickers:
        own = set()
        meter = Meter(on_end=lambda ticket, energy, own=own: ended.append((ticket in own, energy)))
        meters.append((meter, own))
        picker.ledger.listener = meter
    watts = {SignalKind.POWER_WATTS: 300.0}
    snapshot = make_snapshot(FLEET, dict.fromkeys(ADDRESSES, watts), at_seconds=0.0)
    for picker, (meter, _) in zip(crew.pickers, meters, strict=True):
        picker.observe(snapshot, PriceBoard(), now_seconds=0.0)
        meter.observe(snapshot, picker.units(), now_seconds=0.0)
    flights = []
    for number in range(6):
        picker, (_, own) = crew.pickers[number % 2], meters[number % 2]
        flights.append((picker, pick(picker, now_seconds=0.5 + 0.1 * number)))
        own.add(flights[-1][1].ticket)
        crew.tick(now_seconds=0.5 + 0.1 * number)
    for number, (picker, it) in enumerate(flights):
        picker.settle(it.ticket, now_seconds=2.0 + 0.2 * number)
        crew.tick(now_seconds=2.0 + 0.2 * number)
    own_joules = math.fsum(energy.joules for is_own, energy in ended if is_own)
    assert len(ended) == 12
    for meter, _ in meters:
        busy_joules = math.fsum(it.own_joules for it in meter.totals.values())
        assert own_joules == pytest.approx(busy_joules)
        assert meter.open == 0


def test_what_repeating_costs():
    crew = Workers(2)
    crew.calm_down(now_seconds=0.0)
    [me, other], mirror = crew.pickers, crew.mirrors[1]
    entries = 50
    picks = [pick(me) for _ in range(entries)]
    entered = calls(lambda: mirror.catch_up(now_seconds=1.0))
    for it in picks:
        me.settle(it.ticket, now_seconds=2.0)
    settled = calls(lambda: mirror.catch_up(now_seconds=2.0))
    assert other.ledger.settled_total == entries
    assert (entered + settled) / entries <= TOLERANCE_RATIO * ENTRY_AND_END_CALLS
    nothing = calls(lambda: mirror.catch_up(now_seconds=2.0))
    assert nothing <= NOTHING_NEW_CALLS


def test_hash_seeds_are_such_as_python_takes():
    seeds = {hash_seed() for _ in range(20)}
    assert len(seeds) == 20
    assert all(1 <= int(seed) < 2**32 for seed in seeds)
