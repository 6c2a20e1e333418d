"""Control loops in the simulator: what they see, what their orders do, what they are worth."""

import dataclasses
from itertools import pairwise

import pytest

from fleet.signals import SignalKind
from fleet.topology import Objective
from loadtest.arrivals import azure_like
from loadtest.simulator.actuators import ActuatorModel
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.caps import Caps, CapSteps
from loadtest.simulator.carbon import CarbonSeries
from loadtest.simulator.climate import Room
from loadtest.simulator.control import SetClock, SetPowerLimit, Sleep, Start, Stop, Wake
from loadtest.simulator.controllers import NvmlCap
from loadtest.simulator.racks import synthetic_room
from loadtest.simulator.sensors import SensorModel
from loadtest.simulator.simulation import Arm, Fault, Simulation, World
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths
from router.decide.settings import DecideSettings

MODEL = "llama-3.1-8b"
PLANS = (
    BackendPlan(accelerator="A100", replicas=1, models=(MODEL,)),
    BackendPlan(accelerator="H100", replicas=3, models=(MODEL,)),
)
EXACT = ActuatorModel(
    clock_seconds=(0.1, 0.1), start_seconds=(60.0, 60.0), wake_seconds=(5.0, 5.0), drain_seconds=3.0
)


class Script:
    """Orders what it was told at given times, and keeps all views."""

    def __init__(self, orders=()):
        self._orders = list(orders)
        self.views = []

    def decide(self, view):
        self.views.append(view)
        while self._orders and self._orders[0][0] <= view.now_seconds:
            yield self._orders.pop(0)[1]


def simulate(controller=None, *, rate=4.0, window_seconds=30.0, policy="dispatch", **changes):
    fleet = build_fleet(PLANS, model=MODEL, objective=Objective(), racks=2, prior_ratio=1.0)
    world = World(
        fleet=fleet,
        truths=truths(PLANS, MODEL),
        window_seconds=window_seconds,
        actuators=EXACT,
        control_period_seconds=0.5,
    )
    world = dataclasses.replace(world, **changes)
    arm = Arm(
        name="x",
        settings=DecideSettings(policy=policy),
        controller=None if controller is None else lambda: controller,
    )
    arrivals = azure_like(
        int(rate * window_seconds), requests_per_second=rate, seed=1, models={MODEL: 1.0}
    )
    simulation = Simulation(world, arm, iter(arrivals), seed=3)
    return simulation, simulation.run()


def test_the_view_is_made_of_measurements_and_says_what_it_does_not_know():
    script = Script()
    world_changes = {
        "caps": Caps(fleet=CapSteps(((0.0, 3000.0), (10.0, 2000.0)))),
        "carbon": CarbonSeries(grams_per_kilowatt_hour=(100.0, 300.0), interval_seconds=20.0),
    }
    simulate(script, **world_changes)
    first, late = script.views[0], script.views[-1]
    assert (first.power_watts, first.coverage_ratio) == (None, 0.0)
    assert all(one.power_watts is None for one in first.replicas)
    assert late.coverage_ratio == 1.0
    assert late.power_watts == sum(one.power_watts for one in late.replicas)
    assert sum(rack.power_watts for rack in late.racks) == pytest.approx(late.power_watts)
    assert [view.cap_watts for view in (first, late)] == [3000.0, 2000.0]
    assert [view.carbon_grams_per_kilowatt_hour for view in (first, late)] == [100.0, 300.0]
    assert late.carbon_forecast[:2] == (300.0, 100.0)
    assert 1.0 < late.requests_per_second[MODEL] < 8.0
    ready = {one.address for one in late.replicas}
    assert late.unneeded == ready - late.commitments[MODEL].addresses
    for view in script.views[6:]:
        for one in view.replicas:
            # Averaged over a second, collected once a second, scraped once a second, 0.2 s late.
            assert 0.2 <= view.now_seconds - one.power_seconds <= 3.0


def test_boards_measure_with_gains_of_their_own_and_a_bias_is_measured_too():
    bias = Fault(kind="power-bias", start_seconds=12.0, duration_seconds=99.0, ratio=1.5)
    script = Script()
    simulation, _ = simulate(script, rate=0.04, faults=(bias,))
    before = [view for view in script.views if 5.0 < view.now_seconds < 11.0][-1]
    after = script.views[-1]
    ratios = [one.power_watts / one.idle_watts for one in before.replicas]
    assert len(set(ratios)) == 4
    assert all(0.95 <= ratio <= 1.05 for ratio in ratios)
    for one, other in zip(before.replicas, after.replicas, strict=True):
        assert other.power_watts == pytest.approx(1.5 * one.power_watts, rel=0.02)
    assert simulation.replicas.keys() == {one.address for one in after.replicas}


def test_a_lost_sensor_is_unknown_power_and_not_none_at_all():
    lost = Fault(kind="sensor-lost", start_seconds=10.0, duration_seconds=99.0)
    script = Script()
    simulate(script, faults=(lost,))
    at_nine = [view for view in script.views if view.now_seconds < 10.0][-1]
    assert (at_nine.coverage_ratio, script.views[-1].coverage_ratio) == (1.0, 0.0)
    assert script.views[-1].power_watts is None
    # Everything else goes on.
    assert all(one.running is not None for one in script.views[-1].replicas)


def test_all_collections_lost_is_a_fleet_without_watts():
    script = Script()
    simulate(script, sensors=SensorModel(loss_ratio=1.0))
    signals = [view.snapshot.signals for view in script.views if view.snapshot]
    assert signals
    assert not any(SignalKind.POWER_WATTS in one for per in signals for one in per.values())


def test_a_clock_is_locked_after_its_delay_and_rounded_to_a_step():
    address = "10.0.0.2:8000"
    script = Script([(5.0, SetClock(address, 1.2037e9)), (10.0, SetClock(address, None))])
    _, result = simulate(script)
    seen = {
        view.now_seconds: one
        for view in script.views
        for one in view.replicas
        if one.address == address
    }
    assert seen[5.0].clock_hertz == seen[5.0].max_clock_hertz
    assert (seen[5.5].clock_hertz, seen[5.5].clock_lock_hertz) == (1.2e9, 1.2e9)
    assert seen[10.5].clock_hertz == seen[10.5].max_clock_hertz
    assert result.accounts.clock_changes == 2


def test_a_limit_below_what_a_board_can_keep_becomes_the_lowest_it_can():
    address = "10.0.0.1:8000"
    script = Script([(2.0, SetPowerLimit(address, 1.0))])
    simulate(script)
    [one] = [one for one in script.views[-1].replicas if one.address == address]
    assert one.limit_watts == pytest.approx(one.lowest_limit_watts)
    assert one.limit_watts > one.asleep_watts


def test_a_replica_sleeps_wakes_stops_and_starts_with_its_times_and_watts():
    address = "10.0.0.4:8000"
    script = Script(
        [
            (2.0, Sleep(address)),
            (10.0, Wake(address)),
            (20.0, Stop(address)),
            (30.0, Start(address)),
        ]
    )
    _, result = simulate(script, rate=1.0, window_seconds=100.0, policy="merit-packing")
    states = [
        (view.now_seconds, one.state)
        for view in script.views
        for one in view.replicas
        if one.address == address
    ]
    changes = [
        (now, state) for (_, before), (now, state) in pairwise(states) if state is not before
    ]
    assert [state for _, state in changes] == [
        ReplicaState.DRAINING,
        ReplicaState.ASLEEP,
        ReplicaState.WAKING,
        ReplicaState.READY,
        ReplicaState.DRAINING,
        ReplicaState.STOPPED,
        ReplicaState.STARTING,
        ReplicaState.READY,
    ]
    seconds = result.accounts.seconds_by_state
    assert seconds["waking"] == pytest.approx(5.0)
    assert seconds["starting"] == pytest.approx(60.0)
    joules, truth = result.accounts.joules_by_state, truths(PLANS, MODEL)["h100"]
    for state in ("asleep", "stopped"):
        assert joules[state] == pytest.approx(seconds[state] * truth.asleep_watts)
    for state in ("waking", "starting"):
        assert joules[state] == pytest.approx(seconds[state] * truth.idle_watts)
    counts = result.accounts
    assert (counts.sleeps, counts.wakes, counts.stops, counts.starts) == (1, 1, 1, 1)
    assert result.completed == result.requests


def test_the_last_ready_replica_of_a_model_stays():
    orders = [(2.0, Sleep(f"10.0.0.{number}:8000")) for number in range(1, 5)]
    _, result = simulate(Script(orders))
    assert (result.accounts.sleeps, result.accounts.refused_actions) == (3, 1)
    assert result.completed == result.requests


def test_static_limits_keep_the_cap_and_look_at_no_measurement():
    script = Script()
    simulate(script, caps=Caps(fleet=CapSteps(((0.0, 1900.0),))))
    view = script.views[0]
    limits = [order.limit_watts for order in NvmlCap().decide(view)]
    assert sum(limits) <= 1900.0 + 1e-6
    assert sum(limits) == pytest.approx(1900.0, rel=0.01)
    for limit, one in zip(limits, view.replicas, strict=True):
        assert one.lowest_limit_watts <= limit <= one.full_watts


@pytest.mark.parametrize(("control", "worth"), [("knee-clock", 0.97), ("sleep-unneeded", 0.97)])
def test_a_control_arm_saves_energy_and_the_maximum_clock_changes_nothing(control, worth):
    def joules(name):
        make = arm_plan(name).simulation_arm().controller
        return simulate(make and make(), window_seconds=90.0)[1].joules_per_token

    plain = joules("dispatch")
    assert joules("dispatch+max-clock") == pytest.approx(plain)
    assert joules(f"dispatch+{control}") < worth * plain


def test_warm_racks_cost_cooling_and_their_inlets_move_slowly():
    room = Room(
        thermal=dataclasses.replace(
            synthetic_room(rows=1, racks_per_row=2), racks=("rack-0", "rack-1")
        )
    )
    script = Script()
    _, result = simulate(
        script, room=room, carbon=CarbonSeries(grams_per_kilowatt_hour=(360.0,)), rate=20.0
    )
    accounts = result.accounts
    inlets = [view.racks[0].inlet_celsius for view in script.views]
    assert max(abs(b - a) for a, b in pairwise(inlets)) < 0.2
    board_joules = result.dynamic_joules + result.idle_joules
    assert 0.1 * board_joules < accounts.cooling_joules < 0.5 * board_joules
    spent = board_joules + accounts.cooling_joules
    assert accounts.grams_co2e == pytest.approx(spent / 3.6e6 * 360.0)
    assert accounts.max_inlet_celsius == pytest.approx(max(inlets), abs=0.1)
