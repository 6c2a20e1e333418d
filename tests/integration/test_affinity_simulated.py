"""Shared prefixes in the simulator: dispatch with affinity takes fewer joules than without."""

import random
from dataclasses import replace

from fleet.topology import Objective
from loadtest.arrivals import Arrival
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.simulation import Simulation, World
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths

MODEL = "llama-3.1-8b"
BLOCK_TOKENS = 512


def documents(*, count, known, requests_per_second):
    """Questions on long documents: 6,144 tokens that are shared, 512 that are not."""
    draws = random.Random("documents")
    for number in range(count):
        document = draws.randrange(known)
        shared = tuple(1000 * document + block for block in range(12))
        yield Arrival(
            number / requests_per_second,
            13 * BLOCK_TOKENS,
            40,
            MODEL,
            (*shared, 1_000_000 + number),
            BLOCK_TOKENS,
        )


def play(arm_name, *, affinity=True):
    plans = (BackendPlan(accelerator="H100", replicas=4, models=(MODEL,)),)
    fleet = build_fleet(
        plans,
        model=MODEL,
        objective=Objective(ttft_seconds=4.0, tpot_seconds=0.2),
        racks=1,
        prior_ratio=1.0,
    )
    arrivals = list(documents(count=1000, known=160, requests_per_second=25.0))
    world = World(
        fleet=fleet, truths=truths(plans, MODEL), warmup_seconds=10.0, window_seconds=35.0
    )
    arm = arm_plan(arm_name).simulation_arm()
    arm = replace(arm, settings=replace(arm.settings, affinity=affinity))
    return Simulation(world, arm, iter(arrivals), seed=0).run()


def figures(run):
    return (
        run.dynamic_joules / run.output_tokens,
        run.accounts.prefix_hit_ratio,
        run.attained / run.requests,
    )


def test_dispatch_with_affinity_takes_fewer_joules_than_without_and_than_the_scorer():
    with_joules, with_hits, with_attained = figures(play("dispatch"))
    without_joules, without_hits, without_attained = figures(play("dispatch", affinity=False))
    scorer_joules, _, _ = figures(play("queue-kv-prefix"))
    assert with_hits > without_hits
    assert with_joules < without_joules
    assert with_joules < scorer_joules
    assert with_attained >= without_attained - 0.01
