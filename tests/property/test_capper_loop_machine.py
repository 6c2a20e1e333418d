"""The whole loop against a simple plant: outages, caps that move, writers that fight."""

import itertools
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from capper.decide.clock_model import ClockCurve
from capper.decide.document import from_document, to_document
from capper.decide.loop import decide
from capper.decide.memory import applied
from capper.decide.observation import (
    DomainReading,
    Observation,
    PowerReading,
    Sample,
    TargetReading,
)
from capper.decide.plan import (
    Brake,
    ReleaseClock,
    ReleasePowerLimit,
    RestoreMaxReplicas,
    SetClock,
    SetMaxReplicas,
    SetPowerLimit,
    SetShed,
    ShedLevel,
)
from capper.decide.policy import (
    DomainPolicy,
    LimitRange,
    Mode,
    NamedCap,
    Policy,
    Rung,
    TargetPolicy,
)
from capper.decide.state import State
from capper.decide.tuning import Freshness

TURN_SECONDS = 15.0
# After which the last sample is stale: till then what it allowed may still be carried out.
SEEING_TURNS = int(Freshness().stale_after_seconds / TURN_SECONDS)
IDLE_WATTS = 100.0
CURVE = ClockCurve(base_hertz=1.98e9, knee_hertz=1.2e9, static_watts=IDLE_WATTS)


class Deployment:
    """Replicas that an autoscaler moves to the demand, within the bound that is written."""

    def __init__(self, top, busy_watts):
        self.top = self.bound = top
        self.busy_watts = busy_watts
        self.replicas, self.demand = 1, 1.0
        self.hertz, self.limit_watts, self.refusing = None, None, False

    def turn(self):
        # As the HPA: up by at most 4, down to the bound at once and by demand one at a time.
        wish = max(1, min(self.bound, self.replicas + 4, round(self.demand)))
        self.replicas = max(wish, min(self.replicas - 1, self.bound))

    def watts(self):
        busy = 0.0 if self.refusing else min(1.0, self.demand / self.replicas)
        full = IDLE_WATTS + busy * self.busy_watts
        each = CURVE.watts(self.hertz or CURVE.base_hertz, base_watts=full)
        return self.replicas * min(each, self.limit_watts or each)

    def reading(self):
        return TargetReading(
            spec_replicas=self.replicas,
            status_replicas=self.replicas,
            desired_replicas=min(self.bound, round(self.demand)),
            ready_replicas=self.replicas,
            min_replicas=1,
            max_replicas=self.bound,
            watts=self.watts(),
            replica_watts_p95=IDLE_WATTS + self.busy_watts,
        )


class Loop(RuleBasedStateMachine):
    @initialize(
        tops=st.lists(st.integers(1, 8), min_size=1, max_size=3),
        busy=st.floats(100.0, 900.0),
        rungs=st.sets(st.sampled_from(Rung)),
        clocked=st.booleans(),
        limited=st.booleans(),
    )
    def start(self, tops, busy, rungs, clocked, limited):
        self.plants = {f"t{n}": Deployment(top, busy) for n, top in enumerate(tops)}
        self.full_watts = sum(top * (IDLE_WATTS + busy) for top in tops)
        self.policy = Policy(
            domains=(self.root(self.full_watts * 2.0),),
            targets=tuple(
                TargetPolicy(
                    ref=ref,
                    clocks=CURVE if clocked else None,
                    limit_range=LimitRange(IDLE_WATTS + 0.3 * busy, IDLE_WATTS + busy)
                    if limited
                    else None,
                )
                for ref in self.plants
            ),
            mode=Mode.ENFORCE,
            rungs=frozenset(rungs | {Rung.REPLICAS}),
        )
        self.now, self.state = 1e6, State()
        self.samples, self.visible = [], True
        self.rises = {ref: [] for ref in self.plants}
        self.turns(3)

    def root(self, watts):
        return DomainPolicy(name="fleet", caps=(NamedCap(source="cap", watts=watts),))

    @rule(ratio=st.floats(0.05, 2.0))
    def the_cap_moves(self, ratio):
        self.policy = replace(self.policy, domains=(self.root(self.full_watts * ratio),))
        self.turns(4)

    @rule(demands=st.lists(st.floats(0.0, 10.0), min_size=3, max_size=3), turns=st.integers(1, 20))
    def demand_moves(self, demands, turns):
        for plant, demand in zip(self.plants.values(), demands, strict=False):
            plant.demand = demand
        self.turns(turns)

    @rule(turns=st.integers(1, 40))
    def telemetry_is_lost(self, turns):
        self.visible = False
        seeing = min(turns, SEEING_TURNS)
        self.turns(seeing)
        bounds = {ref: plant.bound for ref, plant in self.plants.items()}
        self.turns(turns - seeing)
        for ref, plant in self.plants.items():
            assert plant.bound <= bounds[ref], "blindness raises nothing"
        self.visible = True

    @rule(ref=st.integers(0, 2), bound=st.integers(1, 12))
    def another_writes(self, ref, bound):
        self.plants[list(self.plants)[ref % len(self.plants)]].bound = bound
        self.turns(3)

    @rule()
    def the_capper_restarts(self):
        self.state = from_document(to_document(self.state))

    @rule(seconds=st.floats(-4000.0, 4000.0))
    def the_clock_is_stepped(self, seconds):
        self.now += seconds
        self.rises = {ref: [] for ref in self.plants}
        self.turns(1)

    @rule()
    def the_load_vanishes(self):
        for plant in self.plants.values():
            plant.demand = 0.0
        # Enough for the largest bound that anybody wrote.
        self.policy = replace(self.policy, domains=(self.root(self.full_watts * 50.0),))
        self.turns(240)
        for ref, plant in self.plants.items():
            memory = self.state.targets[ref]
            assert not memory.touched, (ref, plant.bound, memory)
            assert plant.hertz is None
            assert plant.limit_watts is None
            assert not plant.refusing
        assert self.state.domains["fleet"].price_ratio == 1.0

    def turns(self, count):
        for _ in range(count):
            self.turn()

    def turn(self):
        self.now += TURN_SECONDS
        for plant in self.plants.values():
            plant.turn()
        if self.visible:
            self.samples.append((self.now, sum(one.watts() for one in self.plants.values())))
        aged = tuple(Sample(watts, self.now - at) for at, watts in self.samples[-5:])
        observation = Observation(
            domains={"fleet": DomainReading(power=(PowerReading(samples=aged),))},
            targets={ref: plant.reading() for ref, plant in self.plants.items()},
        )
        plan = decide(self.policy, observation, self.state, now_seconds=self.now)
        self.state = plan.state
        for action in plan.actions:
            self.carry_out(action)
            self.state = applied(self.state, action, now_seconds=self.now)

    def carry_out(self, action):
        if isinstance(action, SetMaxReplicas | RestoreMaxReplicas):
            self.write_bound(action)
        elif isinstance(action, SetClock):
            assert 0.5 * CURVE.base_hertz <= action.hertz <= CURVE.base_hertz
            self.plants[action.target].hertz = action.hertz
        elif isinstance(action, ReleaseClock):
            self.plants[action.target].hertz = None
        elif isinstance(action, SetPowerLimit):
            between = self.policy.targets[0].limit_range
            assert between.lowest_watts <= action.watts <= between.highest_watts
            self.plants[action.target].limit_watts = action.watts
        elif isinstance(action, ReleasePowerLimit):
            self.plants[action.target].limit_watts = None
        elif isinstance(action, SetShed | Brake):
            refusing = isinstance(action, Brake) or action.level == ShedLevel.ALL
            for plant in self.plants.values():
                plant.refusing = refusing

    def write_bound(self, action):
        plant = self.plants[action.target]
        if isinstance(action, SetMaxReplicas):
            assert action.replicas >= max(1, plant.replicas - 1)
        if action.replicas > plant.bound:
            self.rises[action.target].append(self.now)
        plant.bound = action.replicas

    @invariant()
    def bounds_rise_slowly(self):
        for times in self.rises.values():
            for before, after in itertools.pairwise(times):
                assert after - before >= 120.0 * 0.8 - 1e-6

    @invariant()
    def directions_change_no_more_often_than_the_guard_allows(self):
        for memory in self.state.targets.values():
            assert len(memory.turned_seconds) <= self.policy.pacing.max_direction_changes


TestLoop = Loop.TestCase
TestLoop.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
