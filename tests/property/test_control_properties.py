"""Whatever a control loop orders: no request and no token is lost, and every joule has a state."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.topology import Objective
from loadtest.arrivals import Arrival
from loadtest.engine import Engine
from loadtest.engine_state import EngineRequest, Limits
from loadtest.simulator.actuators import ActuatorModel
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.control import (
    SetClock,
    SetPowerLimit,
    SetPrices,
    Sleep,
    Start,
    Stop,
    Wake,
)
from loadtest.simulator.simulation import Arm, Simulation, World
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths
from loadtest.truth import truth_of
from router.decide.settings import DecideSettings

MODEL = "llama-3.1-8b"
PLANS = (
    BackendPlan(accelerator="A100", replicas=1, models=(MODEL,)),
    BackendPlan(accelerator="H100", replicas=2, models=(MODEL,)),
)
FLEET = build_fleet(PLANS, model=MODEL, objective=Objective(), racks=2, prior_ratio=1.0)
QUICK = ActuatorModel(
    start_seconds=(3.0, 6.0), wake_seconds=(0.5, 2.0), drain_seconds=1.5, clock_seconds=(0.0, 0.3)
)
BARE = ActuatorModel(
    start_seconds=(1.0, 1.0),
    wake_seconds=(0.0, 0.0),
    drain_seconds=0.0,
    stopped_boards_powered=False,
)


class Whimsical:
    """Orders anything, at random."""

    def __init__(self, seed):
        self._draws = random.Random(seed)
        self.orders = 0
        self.states = set()

    def decide(self, view):
        self.states |= {one.state for one in view.replicas}
        draws = self._draws
        for one in draws.sample(view.replicas, k=2):
            kind = draws.choice([SetClock, SetPowerLimit, Sleep, Wake, Stop, Start, SetPrices])
            self.orders += 1
            if kind is SetClock:
                wanted = draws.choice([None, 0.0, draws.uniform(2e8, 2.2e9)])
                yield SetClock(one.address, wanted)
            elif kind is SetPowerLimit:
                yield SetPowerLimit(one.address, draws.choice([None, 1.0, draws.uniform(50, 900)]))
            elif kind is SetPrices:
                ratios = {one.rack: draws.uniform(1, 3)}
                yield SetPrices(PriceBoard(ratios=ratios, expires_seconds=view.now_seconds + 5))
            else:
                yield kind(one.address)


def arrivals(seed):
    draws = random.Random(seed)
    now, made = 0.0, []
    while now < 24.0:
        now += draws.expovariate(6.0)
        made.append(Arrival(now, draws.randint(1, 3000), draws.randint(1, 120), MODEL))
    return made


def play(seed, policy, actuators):
    controller = Whimsical(seed)
    world = World(
        fleet=FLEET,
        truths=truths(PLANS, MODEL),
        window_seconds=25.0,
        actuators=actuators,
        control_period_seconds=0.7,
    )
    arm = Arm(name="any", settings=DecideSettings(policy=policy), controller=lambda: controller)
    simulation = Simulation(world, arm, iter(arrivals(seed)), seed=seed)
    return simulation, simulation.run(), controller


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["dispatch", "least-request", "round-robin"]),
    st.sampled_from([QUICK, BARE]),
)
def test_no_request_no_token_and_no_joule_is_lost_whatever_is_ordered(seed, policy, actuators):
    simulation, result, controller = play(seed, policy, actuators)
    assert controller.orders > 20
    offered = arrivals(seed)
    assert result.requests == result.completed == len(offered)
    assert result.output_tokens <= sum(one.output_tokens for one in offered)
    engines = [replica.engine for replica in simulation.replicas.values()]
    generated = sum(engine.counters.generation_tokens for engine in engines)
    assert generated == sum(one.output_tokens for one in offered)
    accounts = result.accounts
    assert sum(accounts.joules_by_state.values()) == pytest.approx(
        result.dynamic_joules + result.idle_joules
    )
    assert sum(accounts.seconds_by_state.values()) == pytest.approx(3 * 25.0)
    assert accounts.replica_hours <= 3 * 25.0 / 3600.0 + 1e-12


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10_000))
def test_the_same_seed_gives_the_same_run(seed):
    assert play(seed, "dispatch", QUICK)[1] == play(seed, "dispatch", QUICK)[1]


def test_the_orders_above_bring_replicas_into_every_state():
    seen = set()
    for seed in range(5):
        seen |= play(seed, "round-robin", QUICK)[2].states
    assert seen == set(ReplicaState)


clocks = st.lists(
    st.tuples(st.floats(0.001, 0.4), st.floats(0.2, 1.0), st.none() | st.floats(0.6, 1.0)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(
    clocks, st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 60)), min_size=1, max_size=9)
)
def test_changing_the_clock_conserves_tokens_and_joules(changes, sizes):
    full = truth_of("H100", MODEL)
    engine = Engine(full, Limits())
    for number, (prompt_tokens, output_tokens) in enumerate(sizes):
        engine.submit(
            EngineRequest(str(number), prompt_tokens=prompt_tokens, output_tokens=output_tokens),
            now_seconds=0.0,
        )
    waiting, due, now = list(changes), 0.0, 0.0
    step_joules = busy_seconds = 0.0
    while (iteration := engine.plan(now)) is not None:
        step_joules += iteration.energy_joules
        busy_seconds += iteration.duration_seconds
        # A change falls inside the step: it may not alter what the step takes.
        while waiting and due <= iteration.end_seconds:
            at = max(now, due)
            wait, ratio, limit = waiting.pop()
            clock_hz = full.asleep_clock_hz + ratio * (full.max_clock_hz - full.asleep_clock_hz)
            watts = (
                None if limit is None else max(limit * full.full_watts, full.lowest_limit_watts + 1)
            )
            engine.change_truth(full.at_clock(clock_hz, limit_watts=watts), now_seconds=at)
            due = at + wait
        engine.complete(iteration)
        now = iteration.end_seconds
    assert engine.counters.generation_tokens == sum(output for _, output in sizes)
    energy = engine.energy(now)
    assert energy.busy_seconds == pytest.approx(busy_seconds)
    assert energy.joules == pytest.approx(step_joules)
