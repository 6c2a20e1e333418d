"""The meter in the simulator: all requests of a run against all busy joules, and the boards' own.

The first must agree to 0.1 % (they agree to floating error); the second is what a reading a second,
delivered late, can know of the boards.
"""

import math

import pytest

from fleet.topology import Objective
from loadtest.arrivals import azure_like
from loadtest.simulator.arms import ARMS
from loadtest.simulator.simulation import Simulation
from loadtest.simulator.world import World
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths
from router.decide.picker import Picker
from router.metering.energy import Method
from router.metering.meter import Meter, MeterSettings

MODEL = "llama-3.1-8b"
PLANS = (
    BackendPlan(accelerator="A100", replicas=2, models=(MODEL,)),
    BackendPlan(accelerator="H100", replicas=2, models=(MODEL,)),
)


class MeteredPicker(Picker):
    """The picker and its meter, told of the same snapshots as in headrace.service."""

    def __init__(self, fleet, settings, *, meter):
        super().__init__(fleet, settings)
        self.meter = meter
        self.ledger.listener = meter

    def observe(self, snapshot, prices, *, now_seconds):
        super().observe(snapshot, prices, now_seconds=now_seconds)
        self.meter.observe(snapshot, self.units(), now_seconds=now_seconds)


class Run:
    def __init__(self, arm, *, rate, window_seconds=60.0, **settings):
        self.ends = []
        self.meter = Meter(
            MeterSettings(**settings), on_end=lambda _, energy: self.ends.append(energy)
        )
        fleet = build_fleet(PLANS, model=MODEL, objective=Objective(), racks=1, prior_ratio=1.0)
        world = World(fleet=fleet, truths=truths(PLANS, MODEL), window_seconds=window_seconds)
        arrivals = azure_like(
            int(rate * window_seconds), requests_per_second=rate, seed=1, models={MODEL: 1.0}
        )
        plan = ARMS[arm].simulation_arm()
        simulation = Simulation(world, plan, iter(arrivals), seed=2)
        simulation.picker = MeteredPicker(fleet, plan.settings, meter=self.meter)
        self.result = simulation.run()
        self.meter.advance(now_seconds=simulation.now_seconds)
        energies = [r.engine.energy(simulation.now_seconds) for r in simulation.replicas.values()]
        self.true_joules = math.fsum(energy.joules for energy in energies)
        totals = self.meter.totals.values()
        self.own_joules = math.fsum(t.own_joules for t in totals)
        self.all_joules = math.fsum(t.busy_joules + t.idle_joules for t in totals)
        self.request_joules = math.fsum(energy.joules or 0.0 for energy in self.ends)


@pytest.mark.parametrize("arm", ["dispatch", "least-request"])
@pytest.mark.parametrize("rate", [1.0, 12.0])
def test_request_joules_are_the_busy_joules_and_the_total_is_near_the_boards(arm, rate):
    run = Run(arm, rate=rate)
    assert len(run.ends) == run.result.requests > 50
    assert run.meter.open == 0
    assert run.request_joules == pytest.approx(run.own_joules, rel=1e-3)
    assert run.request_joules == pytest.approx(run.own_joules, rel=1e-9)
    # Sensors are off by up to 5 % each (arXiv 2312.02741) and readings come late.
    assert run.all_joules == pytest.approx(run.true_joules, rel=0.08)


def test_watts_of_the_profile_stand_in_where_none_are_measured():
    run = Run("least-request", rate=6.0, fresh_seconds=1e-9)
    assert {energy.method for energy in run.ends} == {Method.MODELLED}
    assert run.request_joules == pytest.approx(run.own_joules, rel=1e-9)


def test_without_a_stand_in_all_is_unknown_and_nothing_is_zero():
    run = Run("least-request", rate=6.0, fresh_seconds=1e-9, model_watts=False)
    assert {energy.joules for energy in run.ends} == {None}
    assert {energy.coverage_ratio for energy in run.ends} == {0.0}
    assert sum(t.unknown_seconds for t in run.meter.totals.values()) == pytest.approx(
        sum(t.busy_seconds for t in run.meter.totals.values())
    )
