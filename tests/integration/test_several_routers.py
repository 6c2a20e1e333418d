"""Three routers on one simulated fleet at 1 s telemetry: no herd, and about the same joules."""

import pytest
from builders import chat, make_fleet, make_snapshot
from several_routers import SeveralPickers

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from fleet.topology import Objective
from loadtest.arrivals import azure_like
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.simulation import Simulation, World
from loadtest.simulator.worlds import FLEETS, build_fleet, truths
from router.decide.picker import Picker
from router.decide.settings import DecideSettings

MODEL = "llama-3.1-8b"
WARMUP_SECONDS, WINDOW_SECONDS = 25.0, 35.0


class Loads:
    """Requests in each engine, second by second."""

    def __init__(self):
        self.sums, self.highest, self.seconds = {}, 0, 0

    def __call__(self, now_seconds, simulation):
        if now_seconds < WARMUP_SECONDS:
            return
        self.seconds += 1
        for address, replica in simulation.replicas.items():
            load = replica.engine.unfinished
            self.sums[address] = self.sums.get(address, 0) + load
            self.highest = max(self.highest, load)

    @property
    def imbalance(self):
        """Mean load of the fullest replica over that of all replicas."""
        return max(self.sums.values()) * len(self.sums) / sum(self.sums.values())


def play(fleet_name, *, routers, requests_per_second):
    plans = tuple(plan.serving(MODEL) for plan in FLEETS[fleet_name])
    fleet = build_fleet(plans, model=MODEL, objective=Objective(), racks=1, prior_ratio=1.0)
    arrivals = azure_like(
        int(requests_per_second * (WARMUP_SECONDS + WINDOW_SECONDS)),
        requests_per_second=requests_per_second,
        seed=1,
        models={MODEL: 1.0},
    )
    world = World(
        fleet=fleet,
        truths=truths(plans, MODEL),
        warmup_seconds=WARMUP_SECONDS,
        window_seconds=WINDOW_SECONDS,
    )
    arm = arm_plan("dispatch").simulation_arm()
    assert arm.telemetry.interval_seconds == 1.0
    simulation = Simulation(world, arm, iter(arrivals), seed=1)
    simulation.picker = SeveralPickers(fleet, arm.settings, routers=routers)
    loads = Loads()
    result = simulation.run(loads)
    assert all(not picker.ledger.running() for picker in simulation.picker.pickers)
    return result, loads


@pytest.mark.parametrize("fleet_name", ["F1", "F2"])
def test_three_routers_do_not_herd(fleet_name):
    one, loads_of_one = play(fleet_name, routers=1, requests_per_second=60)
    three, loads_of_three = play(fleet_name, routers=3, requests_per_second=60)
    assert three.completed == three.requests == one.requests
    # Packing is meant, herding is not: as uneven as one router's, and no engine fuller.
    assert loads_of_three.imbalance < 1.25 * loads_of_one.imbalance
    assert loads_of_three.highest < 1.1 * loads_of_one.highest
    attained = [run.attained / run.requests for run in (one, three)]
    assert attained[1] > attained[0] - 0.005
    joules = [run.dynamic_joules / run.output_tokens for run in (one, three)]
    assert joules[1] < 1.15 * joules[0]


def observed(picker, fleet, running, *, seconds):
    snapshot = make_snapshot(
        fleet,
        {address: {SignalKind.RUNNING_REQUESTS: load} for address, load in running.items()},
        at_seconds=seconds,
    )
    picker.observe(snapshot, PriceBoard(), now_seconds=seconds)


def test_a_router_counts_what_the_others_have_probably_done_since_the_scrape():
    fleet = make_fleet({"H100": 1})
    [address] = (replica.address for replica in fleet.replicas())
    picker = Picker(fleet, DecideSettings())
    for _ in range(10):
        picker.pick(chat(), now_seconds=0.5, draw=0.0)
    for second in range(1, 11):
        observed(picker, fleet, {address: 30.0}, seconds=float(second))
    [unit] = picker.units()
    assert unit.fleet_ratio == pytest.approx(3.0)
    assert unit.running == 30.0
    pick = picker.pick(chat(), now_seconds=10.5, draw=0.0)
    assert unit.running == pytest.approx(33.0)
    picker.settle(pick.ticket, now_seconds=10.6)
    assert unit.running == pytest.approx(30.0)


def test_a_router_that_is_alone_infers_nothing():
    fleet = make_fleet({"H100": 1})
    [address] = (replica.address for replica in fleet.replicas())
    picker = Picker(fleet, DecideSettings())
    for _ in range(10):
        picker.pick(chat(), now_seconds=0.5, draw=0.0)
    for second in range(1, 11):
        observed(picker, fleet, {address: 10.0}, seconds=float(second))
    assert picker.units()[0].fleet_ratio == 1.0


def test_a_router_with_hardly_a_request_of_its_own_infers_nothing():
    fleet = make_fleet({"H100": 1})
    [address] = (replica.address for replica in fleet.replicas())
    picker = Picker(fleet, DecideSettings())
    picker.pick(chat(), now_seconds=0.5, draw=0.0)
    for second in range(1, 11):
        observed(picker, fleet, {address: 200.0}, seconds=float(second))
    assert picker.units()[0].fleet_ratio == 1.0
