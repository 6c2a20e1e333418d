"""What happened when, in a fixed number of bins."""

from itertools import pairwise

import pytest

from fleet.topology import Objective
from loadtest.arrivals import azure_like
from loadtest.simulator.arms import ARMS
from loadtest.simulator.simulation import Simulation, World
from loadtest.simulator.timeline import TimelineRecorder
from loadtest.simulator.worlds import BackendPlan, build_fleet, truths

MODEL = "llama-3.1-8b"
PLANS = [BackendPlan(accelerator="H100", replicas=2, models=(MODEL,))]


class Looker:
    """Adds up what the recorder is shown, by itself."""

    def __init__(self, recorder):
        self.recorder = recorder
        self.joules = []
        self.running = []

    def __call__(self, now_seconds, simulation):
        self.recorder(now_seconds, simulation)
        replicas = simulation.replicas.values()
        self.joules.append(sum(r.engine.energy(now_seconds).joules for r in replicas))
        self.running.append([r.engine.running + r.engine.waiting for r in replicas])


def record(*, window_seconds, power_cap_watts=None, rate=2.0):
    fleet = build_fleet(PLANS, model=MODEL, objective=Objective(), racks=1, prior_ratio=1.0)
    world = World(fleet=fleet, truths=truths(PLANS, MODEL), window_seconds=window_seconds)
    arrivals = azure_like(
        int(rate * window_seconds), requests_per_second=rate, seed=1, models={MODEL: 1.0}
    )
    looker = Looker(TimelineRecorder(power_cap_watts=power_cap_watts))
    simulation = Simulation(world, ARMS["least-request"].simulation_arm(), iter(arrivals))
    simulation.run(looker)
    return looker, looker.recorder.timeline()


@pytest.mark.parametrize("window_seconds", [20.0, 239.0, 500.0, 1500.0])
def test_any_length_fits_into_the_same_number_of_bins_and_no_joule_is_lost(window_seconds):
    looker, timeline = record(window_seconds=window_seconds, rate=0.5)
    assert len(timeline.watts) <= 240
    assert len(timeline.watts) > min(100, 0.8 * window_seconds)
    # All bins are full but the last, which is as long as what is left.
    seconds = len(looker.joules) - 1
    full = len(timeline.watts) - 1
    lengths = [timeline.bin_seconds] * full + [seconds - full * timeline.bin_seconds]
    joules = sum(watts * length for watts, length in zip(timeline.watts, lengths, strict=True))
    assert joules == pytest.approx(looker.joules[-1] - looker.joules[0])


def test_every_replica_has_a_series_of_its_own_batches():
    looker, timeline = record(window_seconds=30.0)
    assert timeline.backends == ("h100", "h100")
    assert len(timeline.replicas) == len(timeline.running) == 2
    assert [list(second) for second in zip(*timeline.running, strict=True)] == looker.running[1:]
    assert max(map(max, timeline.running)) > 0


def test_seconds_and_joules_over_the_cap_are_counted_second_by_second():
    looker, timeline = record(window_seconds=30.0, power_cap_watts=600.0)
    watts = [b - a for a, b in pairwise(looker.joules)]
    over = [one - 600.0 for one in watts if one > 600.0]
    assert 0 < timeline.seconds_over_cap == len(over) < len(watts)
    assert timeline.joules_over_cap == pytest.approx(sum(over))
    assert timeline.peak_watts == pytest.approx(max(watts))


def test_without_a_cap_nothing_is_over_it():
    _, timeline = record(window_seconds=10.0)
    assert (timeline.power_cap_watts, timeline.seconds_over_cap) == (None, 0.0)
