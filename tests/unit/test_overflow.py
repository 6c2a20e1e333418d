"""In overload the excess goes where it makes the fewest others late."""

import collections

from builders import chat, make_fleet, make_snapshot

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.outcome import PickReason
from router.decide.picker import Picker
from router.decide.request_facts import RequestHints
from router.decide.settings import DecideSettings

IDLE = {SignalKind.HEALTHY_RATIO: 1.0, SignalKind.RUNNING_REQUESTS: 0.0}


def flooded(fleet, count, *, prompt_bytes=4000, **hints):
    """Where `count` requests of one moment go once no guard passes."""
    picker = Picker(fleet, DecideSettings())
    picker.observe(make_snapshot(fleet, default=IDLE), PriceBoard(), now_seconds=0.0)
    picker.commit(now_seconds=0.0)
    facts = chat(prompt_bytes=prompt_bytes, hints=RequestHints(**hints))
    picks = [picker.pick(facts, now_seconds=0.0, draw=0.5) for _ in range(count)]
    names = {
        replica.address: backend.name for backend in fleet.backends for replica in backend.replicas
    }
    late = collections.Counter(
        names[pick.address] for pick in picks if pick.reason is PickReason.LEAST_LATE
    )
    return picker, late


def test_the_excess_goes_to_the_replica_of_least_capacity():
    picker, late = flooded(make_fleet({"L40S": 1, "B200": 1}), 150)
    assert late["l40s"] > 4 * late["b200"]
    b200 = next(unit for unit in picker.units() if unit.backend.name == "b200")
    ahead_seconds = b200.account.prefill_free_seconds
    assert ahead_seconds <= 1.2 * b200.backend.objective.ttft_seconds


def test_it_takes_half_a_minute_of_work_and_no_more():
    picker, _ = flooded(make_fleet({"L40S": 1, "A100": 1, "B200": 1}), 500)
    work_seconds = {
        unit.backend.name: unit.running / group.capacity_requests_per_second
        for group in next(iter(picker._roster.pools.values())).groups
        for unit in group.units
    }
    assert 29.0 < work_seconds["l40s"] < 31.0
    assert work_seconds["l40s"] > work_seconds["a100"] > work_seconds["b200"]


def test_half_a_minute_of_long_prompts_is_a_few():
    # By the number of requests they would be little work, as long as the usual prompt is short.
    picker, late = flooded(make_fleet({"L40S": 4}), 20, prompt_bytes=100_000)
    assert late["l40s"] == 20
    work_seconds = [unit.account.prefill_free_seconds for unit in picker.units()]
    each_seconds = sum(work_seconds) / 20
    assert each_seconds < 30.0 < 20 * each_seconds
    assert max(work_seconds) < 30.0 + each_seconds


def test_once_all_have_half_a_minute_of_prompts_it_goes_to_the_least_late():
    picker, _ = flooded(make_fleet({"L40S": 4}), 100, prompt_bytes=400_000)
    assert {unit.running for unit in picker.units()} == {25.0}


def test_a_request_that_is_late_for_its_own_sake_goes_to_the_least_late():
    _, late = flooded(make_fleet({"L40S": 1, "B200": 1}), 5, tpot_seconds=1e-6)
    assert late == {"b200": 5}
