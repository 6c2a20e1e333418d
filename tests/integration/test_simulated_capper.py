"""The capper's own decisions in the simulator: what its loops do to watts, clocks and replicas."""

import dataclasses

import pytest

from fleet.priors import prior_profile
from fleet.topology import Objective
from loadtest.arrivals import azure_like
from loadtest.simulator.actuators import ActuatorModel
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.caps import Caps, CapSteps
from loadtest.simulator.carbon import CarbonSeries
from loadtest.simulator.controllers import CONTROLLERS, WHAT
from loadtest.simulator.simulation import Arm, Simulation, World
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths
from router.decide.settings import DecideSettings

MODEL = "llama-3.1-8b"
PLANS = (
    BackendPlan(accelerator="A100", replicas=1, models=(MODEL,)),
    BackendPlan(accelerator="H100", replicas=3, models=(MODEL,)),
)
CUT_SECONDS = 14.0
# Averaged over 1 s, collected and scraped each second, decided each second, the worst of three
# samples, and 0.2 s for the clock itself.
REACTION_SECONDS = 6.0
# Limits follow the cap itself: one decision a second, 0.2 s to set them, a step in flight.
LIMIT_REACTION_SECONDS = 2.0


class Watched:
    """Watts of every second and the capper's plans beside them."""

    def __init__(self):
        self.watts, self.states, self.last_joules = {}, {}, 0.0

    def __call__(self, now_seconds, simulation):
        joules = sum(one.engine.energy(now_seconds).joules for one in simulation.replicas.values())
        self.watts[now_seconds] = joules - self.last_joules
        self.last_joules = joules
        self.states[now_seconds] = [one.state for one in simulation.replicas.values()]


def play(control, *, cap=((0.0, 2200.0), (CUT_SECONDS, 1540.0)), rate=24.0, **changes):
    world = World(
        fleet=build_fleet(PLANS, model=MODEL, objective=Objective(), racks=2, prior_ratio=1.0),
        truths=truths(PLANS, MODEL),
        window_seconds=34.0,
        actuators=ActuatorModel(clock_seconds=(0.2, 0.2), wake_seconds=(5.0, 5.0)),
        caps=Caps(fleet=CapSteps(cap)) if cap else Caps(),
    )
    world = dataclasses.replace(world, **changes)
    arm = Arm(
        name=control,
        settings=DecideSettings(policy="least-request"),
        controller=CONTROLLERS.get(control),
    )
    arrivals = azure_like(
        int(rate * world.window_seconds), requests_per_second=rate, seed=1, models={MODEL: 1.0}
    )
    simulation, watched = Simulation(world, arm, iter(arrivals), seed=3), Watched()
    return simulation, simulation.run(watched), watched


def over(watched, *, after):
    return [
        watts
        for at, watts in watched.watts.items()
        if CUT_SECONDS + after < at <= 34.0 and watts > 1540.0
    ]


@pytest.fixture(scope="module")
def step():
    names = ("none", "eighty-ninety-five", "capper", "capper-clocks", "capper-limits")
    return {name: play(name) for name in names}


def test_a_cap_step_of_30_percent_is_kept_after_the_reaction_time_and_no_request_is_lost(step):
    for name in ("capper", "capper-clocks", "capper-limits"):
        _, result, watched = step[name]
        assert over(watched, after=REACTION_SECONDS) == [], name
        assert (result.completed, result.shed) == (result.requests, 0)
        assert result.accounts.clock_changes > 0
        assert result.accounts.brakes == 0


def test_dealt_limits_keep_the_cap_without_waiting_for_a_measurement(step):
    for name in ("capper", "capper-limits"):
        simulation, _, watched = step[name]
        assert over(watched, after=LIMIT_REACTION_SECONDS) == [], name
        limits = [watts for _, watts in simulation.actuation.ordered.values()]
        assert sum(limits) <= 1540.0, name


def test_the_router_is_told_what_a_limit_leaves_of_a_board(step):
    simulation, _, _ = step["capper-limits"]
    [unit] = [one for one in simulation.picker.units() if one.backend.name == "a100"]
    _, limit_watts = simulation.actuation.ordered[unit.address]
    told = unit.backend.profile
    assert told.power.prefill_watts <= limit_watts
    prior = prior_profile("A100", parameters=8.03e9)
    assert told.step.per_prompt_token_seconds > prior.step.per_prompt_token_seconds


def test_the_original_rule_alone_stops_growth_and_violates_the_lower_cap(step):
    plain, ruled = step["none"][2], step["eighty-ninety-five"][2]
    assert len(over(ruled, after=REACTION_SECONDS)) >= 10
    # Nothing grows in a fleet that is complete: the rule changes nothing at all.
    assert ruled.watts == plain.watts


def test_the_same_seed_gives_the_same_run(step):
    _, result, watched = play("capper")
    assert result == step["capper"][1]
    assert watched.watts == step["capper"][2].watts


def test_the_router_has_the_profile_of_the_new_clock(step):
    simulation, _, _ = step["capper-clocks"]
    [unit] = [one for one in simulation.picker.units() if one.backend.name == "a100"]
    told = unit.backend.profile
    prior = prior_profile("A100", parameters=8.03e9)
    assert told.step.per_prompt_token_seconds > 1.1 * prior.step.per_prompt_token_seconds
    assert told.power.prefill_watts < prior.power.prefill_watts


def test_replica_bounds_put_engines_to_sleep_and_never_the_last_one():
    _, result, watched = play("capper-replicas", cap=((0.0, 600.0),), rate=8.0)
    assert result.accounts.stops >= 1
    assert all(ReplicaState.READY in states for states in watched.states.values())
    assert result.completed == result.requests


def test_the_brake_refuses_where_clocks_come_too_late_and_not_where_they_come_at_once():
    slow = ActuatorModel(clock_seconds=(60.0, 60.0))
    _, late, _ = play("polca", cap=((0.0, 1850.0),), actuators=slow)
    _, quick, _ = play("polca-in-band", cap=((0.0, 1850.0),))
    assert late.accounts.brakes > 0
    assert late.shed > 0
    # It may refuse sheddable requests for a moment, of which there are none here.
    assert (quick.shed, quick.completed) == (0, quick.requests)
    assert late.completed == late.requests - late.shed


def test_the_clock_loop_saves_energy_at_the_same_answers():
    _, full, _ = play("none", cap=None, rate=8.0)
    _, slowed, _ = play("clock-loop", cap=None, rate=8.0)
    _, both, _ = play("clock-loop+replicas", cap=None, rate=8.0, window_seconds=50.0)
    assert slowed.completed == full.completed
    assert slowed.joules_per_token < 0.92 * full.joules_per_token
    assert slowed.attained >= 0.99 * full.attained
    assert both.completed == both.requests


def test_the_carbon_cap_is_lower_in_dirty_hours_and_touches_no_replica():
    clean_then_dirty = CarbonSeries(
        grams_per_kilowatt_hour=(100.0,) * 2 + (400.0,) * 22,
        interval_seconds=20.0,
    )
    simulation, result, watched = play(
        "carbon", cap=None, carbon=clean_then_dirty, window_seconds=60.0
    )
    mean = [
        sum(watts for at, watts in watched.watts.items() if low < at <= high) / (high - low)
        for low, high in ((25.0, 39.0), (46.0, 60.0))
    ]
    assert mean[1] < mean[0]
    assert (result.completed, result.accounts.stops) == (result.requests, 0)
    assert simulation.actuation.changes > 0


def test_every_loop_says_what_it_is():
    assert CONTROLLERS.keys() == WHAT.keys()
    assert {"capper-60s", "eighty-ninety-five-60s", "clock-loop+replicas"} <= CONTROLLERS.keys()
