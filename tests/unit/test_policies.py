"""The rules of the baseline policies, each on the case that tells it from the others."""

import collections

import pytest
from builders import chat, make_fleet, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.picker import Picker
from router.decide.settings import DecideSettings

FLEET = make_fleet({"H100": 3})
A, B, C = (replica.address for replica in FLEET.replicas())


def picker_with(policy, readings):
    picker = Picker(FLEET, DecideSettings(policy=policy))
    picker.observe(make_snapshot(FLEET, readings), PriceBoard(), now_seconds=0)
    picker.commit(now_seconds=0)
    return picker


def picks(picker, count, draw=None):
    return [
        picker.pick(chat(), now_seconds=0, draw=(k + 0.5) / count if draw is None else draw).address
        for k in range(count)
    ]


def test_round_robin_takes_each_in_turn():
    assert picks(picker_with("round-robin", {}), 6) == [A, B, C, A, B, C]


def test_least_request_takes_the_fewest_of_scraped_and_own():
    loads = {A: 5.0, B: 2.0, C: 3.0}
    picker = picker_with(
        "least-request", {a: {SignalKind.RUNNING_REQUESTS: n} for a, n in loads.items()}
    )

    assert picks(picker, 3)[0] == B
    assert set(picks(picker, 3)) <= {B, C}


@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_power_of_two_never_takes_the_most_loaded(draw):
    picker = picker_with("power-of-two", {A: {SignalKind.RUNNING_REQUESTS: 50.0}})

    assert picks(picker, 1, draw)[0] != A


def test_power_of_two_draws_every_pair_equally_often():
    loads = {A: 1.0, B: 2.0, C: 3.0}
    readings = {a: {SignalKind.RUNNING_REQUESTS: n} for a, n in loads.items()}

    found = collections.Counter(
        picks(picker_with("power-of-two", readings), 1, (k + 0.5) / 600)[0] for k in range(600)
    )

    assert (found[A], found[B], found[C]) == (400, 200, 0)


def test_queue_and_kv_wants_a_short_queue_and_free_memory():
    picker = picker_with(
        "queue-kv",
        {
            A: {SignalKind.WAITING_REQUESTS: 0.0, SignalKind.KV_USAGE_RATIO: 0.9},
            B: {SignalKind.WAITING_REQUESTS: 0.0, SignalKind.KV_USAGE_RATIO: 0.1},
            C: {SignalKind.WAITING_REQUESTS: 9.0, SignalKind.KV_USAGE_RATIO: 0.0},
        },
    )

    assert picks(picker, 4) == [B] * 4


def test_naive_tokens_per_watt_herds_on_the_best_of_the_last_scrape():
    readings = {
        address: {
            SignalKind.GENERATION_TOKENS_PER_SECOND: tokens,
            SignalKind.POWER_WATTS: watts,
        }
        for address, tokens, watts in ((A, 100.0, 500.0), (B, 900.0, 600.0))
    }

    assert picks(picker_with("naive-tokens-per-watt", readings), 50) == [B] * 50


def test_unknown_watts_are_not_the_best_tokens_per_watt():
    readings = {
        A: {SignalKind.GENERATION_TOKENS_PER_SECOND: 9e9},
        B: {SignalKind.GENERATION_TOKENS_PER_SECOND: 1.0, SignalKind.POWER_WATTS: 500.0},
        C: {SignalKind.POWER_WATTS: 0.0, SignalKind.GENERATION_TOKENS_PER_SECOND: 5.0},
    }

    assert picks(picker_with("naive-tokens-per-watt", readings), 3) == [B] * 3


@pytest.mark.parametrize("policy", ["greedy-marginal", "merit-packing", "dispatch"])
def test_energy_policies_leave_an_idle_board_idle_while_a_busy_one_has_room(policy):
    picker = picker_with(policy, {})

    assert len(set(picks(picker, 8, draw=0.9))) == 1
