"""`headrace bench decide`: its arms ask for what they say, and growth is told as an exponent."""

import random
from itertools import islice

import pytest

from headrace.bench.decide import DecideCost, growth_of
from headrace.bench.decide_arms import ADAPTERS, ARMS
from headrace.bench.decide_state import Steady, fleet_of

ADDRESSES = [f"10.0.0.{number}:8000" for number in range(1, 9)]


def requests_of(arm, count=400):
    draws = random.Random(1)
    return list(islice(ARMS[arm](draws, ADDRESSES, 4), count))


def cost(policy, replicas, microseconds):
    return DecideCost(
        policy=policy,
        arm="plain",
        replicas=replicas,
        pick_microseconds=microseconds,
        settle_microseconds=1.0,
        pass_on_microseconds=1.0,
        observe_microseconds=1.0,
        observe_step_microseconds=1.0,
        commit_microseconds=1.0,
    )


def test_growth_is_between_neighbouring_sizes_of_one_policy():
    costs = [cost("a", 1000, 40.0), cost("b", 10, 1.0), cost("a", 10, 2.0), cost("a", 100, 20.0)]
    found = [(it.policy, it.replicas, it.to_replicas, it.ratio) for it in growth_of(costs)]

    assert found == [("a", 10, 100, 10.0), ("a", 100, 1000, 2.0)]
    first, second = growth_of(costs)
    assert first.exponent == pytest.approx(1.0)
    assert second.exponent == pytest.approx(0.301, abs=0.001)


def test_a_system_prompt_is_the_beginning_of_every_prompt():
    beginnings = {facts.prefix_block_hashes[:16] for facts in requests_of("system-prompt")}
    assert len(beginnings) == 1


def test_a_session_goes_on_from_what_was_said():
    last = {}
    for facts in requests_of("sessions"):
        before = last.get(facts.hints.session, ())
        assert facts.prefix_block_hashes[: len(before)] == before
        last[facts.hints.session] = facts.prefix_block_hashes
    assert len(last) > 8


def test_the_other_arms_ask_for_adapters_subsets_and_the_impossible():
    adapters = [facts.model in ADAPTERS for facts in requests_of("adapters")]
    assert 0.4 < sum(adapters) / len(adapters) < 0.6
    assert all(len(facts.hints.subset) == 3 for facts in requests_of("subset"))
    assert [facts.hints.ttft_seconds for facts in requests_of("no-guard", 2)] == [None, 1e-6]


@pytest.mark.parametrize("arm", ARMS)
def test_a_steady_state_stays_steady(arm):
    state = Steady(fleet_of(4, arm), "dispatch", arm)
    for _ in range(20):
        state.pick(state.request(), state.draw())
        state.settle()
    assert state.running() == state.in_flight
