"""Shared prefixes in the simulator: cached tokens cost no prefill, and routing decides on hits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.topology import Objective
from loadtest.arrivals import Arrival
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.gateway import ROUTER_BLOCK_TOKENS
from loadtest.simulator.prefix_scorer import PrefixIndex
from loadtest.simulator.simulation import Simulation, World
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths
from loadtest.traces.mooncake_traffic import mooncake_like
from router.decide.picker import Picker

MODEL = "llama-3.1-8b"


class Listener(Picker):
    """Keeps the facts of every request."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.facts = []

    def pick(self, facts, *, now_seconds, draw):
        self.facts.append(facts)
        return super().pick(facts, now_seconds=now_seconds, draw=draw)


def simulate(arrivals, *, arm="queue-kv", replicas=1):
    plans = (BackendPlan(accelerator="H100", replicas=replicas, models=(MODEL,)),)
    fleet = build_fleet(plans, model=MODEL, objective=Objective(), racks=1, prior_ratio=1.0)
    world = World(
        fleet=fleet, truths=truths(plans, MODEL), window_seconds=arrivals[-1].at_seconds + 1.0
    )
    made = arm_plan(arm).simulation_arm()
    simulation = Simulation(world, made, iter(arrivals), seed=0)
    simulation.picker = Listener(fleet, made.settings, policy=made.policy)
    return simulation, simulation.run()


def test_a_prompt_that_was_computed_before_is_not_computed_again():
    same = [Arrival(float(k), 5120, 3, MODEL, tuple(range(10)), 512) for k in range(4)]
    other = [one._replace(prefix_blocks=()) for one in same]
    shared, hit = simulate(same)
    alone, miss = simulate(other)
    [one], [two] = (
        [replica.engine.counters for replica in run.replicas.values()] for run in (shared, alone)
    )
    # All but the last block of 16 tokens, of which one token at least is left to compute.
    cached = 3 * (5120 - 16)
    assert two.computed_prompt_tokens - one.computed_prompt_tokens == cached
    assert hit.accounts.prefix_hit_tokens == cached
    assert hit.accounts.prefix_hit_ratio == pytest.approx(cached / (4 * 5120))
    assert miss.accounts.prefix_hit_ratio == 0.0
    assert hit.dynamic_joules < 0.5 * miss.dynamic_joules
    assert hit.ttft.p50_seconds < miss.ttft.p50_seconds


def test_the_router_is_told_hashes_of_the_prompt_s_blocks_and_no_more():
    blocks = [Arrival(0.0, 1000, 2, MODEL, (1, 2)), Arrival(1.0, 1500, 2, MODEL, (1, 3, 4))]
    run, _ = simulate([*blocks, Arrival(2.0, 400, 2, MODEL)])
    first, second, third = (facts.prefix_block_hashes for facts in run.picker.facts)
    assert len(first) == 1000 // ROUTER_BLOCK_TOKENS
    alike = 512 // ROUTER_BLOCK_TOKENS
    assert first[:alike] == second[:alike]
    assert not set(first[alike:]) & set(second)
    assert third == ()


def test_the_scorer_with_prefixes_finds_more_of_them_than_without():
    arrivals = mooncake_like(160, requests_per_second=4.0, seed=1, models={MODEL: 1.0})
    ratios = {
        arm: simulate(arrivals, arm=arm, replicas=4)[1].accounts.prefix_hit_ratio
        for arm in ("queue-kv", "queue-kv-prefix")
    }
    assert ratios["queue-kv-prefix"] > 1.3 * ratios["queue-kv"]


def test_mooncake_like_traffic_has_the_trace_s_statistics():
    arrivals = mooncake_like(6000, requests_per_second=3.4, seed=0, models={MODEL: 1.0})
    assert arrivals == mooncake_like(6000, requests_per_second=3.4, seed=0, models={MODEL: 1.0})
    assert arrivals[-1].at_seconds == pytest.approx(5999 / 3.4)
    seen, hits = set(), 0
    for one in arrivals:
        assert len(one.prefix_blocks) == -(-one.prompt_tokens // 512)
        known = 0
        while known < len(one.prefix_blocks) and one.prefix_blocks[known] in seen:
            known += 1
        seen.update(one.prefix_blocks)
        hits += min(512 * known, one.prompt_tokens - 1)
    prompt_tokens = sum(one.prompt_tokens for one in arrivals)
    assert prompt_tokens / 6000 == pytest.approx(12035, rel=0.1)
    assert sum(one.output_tokens for one in arrivals) / 6000 == pytest.approx(343, rel=0.05)
    assert hits / prompt_tokens == pytest.approx(0.374, abs=0.06)


@given(st.lists(st.lists(st.integers(0, 30), max_size=8, unique=True), max_size=30))
def test_the_index_never_grows_beyond_its_size_and_knows_the_last_prompt(prompts):
    index = PrefixIndex(blocks_per_replica=10)
    for prompt in prompts:
        index.record("a", prompt)
        assert index.matching_blocks("a", prompt) == len(prompt)
        assert index.matching_blocks("b", prompt) == 0
    assert sum(index.matching_blocks("a", [block]) for block in range(31)) <= 10
