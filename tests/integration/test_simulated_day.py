"""All actuators on a short simulated day: racks, failing cooling, a cap that falls, a page."""

import dataclasses
import json

import pytest
import yaml

from capper.decide.placement import PlacementPolicy
from headrace.main import main
from loadtest.simulator.boards import ReplicaState
from loadtest.simulator.capper_placement import first_to_go, rack_order, wake_order
from loadtest.simulator.scenario import parse_scenario
from loadtest.simulator.simulation import Simulation
from loadtest.study.jobs import Job, simulation_of
from loadtest.study.slices import source_of

# Rack a breathes its own exhaust, rack b hardly; b loses its cooling, then the cap falls by 30 %.
DAY = {
    "name": "short-day",
    "description": "four boards in two racks for a short day",
    "backends": [{"accelerator": "H100", "replicas": 4}],
    "trace": "synthetic-conv",
    "loads_requests_per_second": [5],
    "compression_ratio": 60,
    "warmup_seconds": 1200,
    "window_seconds": 4800,
    "caps": {"fleet": [{"at_seconds": 0, "watts": 2000}, {"at_seconds": 3600, "watts": 1400}]},
    "racks": {
        "names": ["a", "b"],
        "approach_celsius": [5, 5],
        "recirculation_kelvin_per_kilowatt": [[3, 0.2], [0.2, 0.3]],
        "time_constant_seconds": 300,
        "supply_celsius": 17,
        "lowest_supply_celsius": 12,
        "recommended_celsius": 26,
        "redline_celsius": 30,
        "cooling_faults": [
            {"rack": "b", "start_seconds": 1800, "duration_seconds": 900, "kelvin": 6}
        ],
    },
    "arms": ["dispatch"],
}


CAP = {"fleet": [{"at_seconds": 0, "watts": 2000}]}
NO_FAULT = DAY["racks"] | {"cooling_faults": []}


def simulation(control, **changes):
    scenario = parse_scenario(yaml.safe_dump(DAY | changes), source="short-day.yaml")
    arm = "dispatch" if control == "none" else f"dispatch+{control}"
    job = Job(
        scenario=scenario, source=source_of(scenario), point=scenario.points()[0], arm=arm, seed=0
    )
    return simulation_of(job)


class Look:
    """The air and who is awake, every second."""

    def __init__(self):
        self.inlets, self.supply, self.awake, self.prices = [], [], [], []

    def __call__(self, now_seconds, found: Simulation):
        board = found.actuation.prices
        self.prices.append({rack: board.ratio(rack, now_seconds=now_seconds) for rack in "ab"})
        climate = found.watch.climate
        self.inlets.append(max(climate.inlets_celsius.values()))
        self.supply.append(climate.supply_celsius)
        self.awake.append(
            [one.rack for one in found.replicas.values() if one.state is ReplicaState.READY]
        )


def play(control, **changes):
    found, look = simulation(control, **changes), Look()
    return found, found.run(look), look


@pytest.fixture(scope="module")
def days():
    return {name: play(name) for name in ("none", "together", "cooling")}


def test_no_request_is_lost_and_every_actuator_acts(days):
    for _, result, _ in days.values():
        assert (result.completed, result.shed) == (result.requests, 0)
    _, together, look = days["together"]
    accounts = together.accounts
    assert together.attained >= 0.97 * together.requests
    assert accounts.clock_changes > 0
    assert accounts.sleeps > 0
    assert len(set(look.supply)) > 5
    assert accounts.replica_hours < days["none"][1].accounts.replica_hours
    assert accounts.fleet_cap.joules_over <= days["none"][1].accounts.fleet_cap.joules_over


def test_all_at_once_take_fewer_joules_than_none_in_boards_and_in_cooling(days):
    none, together = days["none"][1], days["together"][1]

    def joules(run):
        return run.dynamic_joules + run.idle_joules

    assert joules(together) < 0.9 * joules(none)
    assert together.accounts.cooling_joules < 0.9 * none.accounts.cooling_joules


def test_the_same_seed_gives_the_same_day(days):
    again, first = play("together"), days["together"]
    assert again[1] == first[1]
    assert again[2].supply == first[2].supply


def test_the_cooling_holds_inlets_at_what_is_recommended_and_is_colder_for_a_fault(days):
    _, _, fixed = days["none"]
    _, result, held = days["cooling"]
    assert result.accounts.redline_seconds == 0.0
    # The warm-up's 20 s, then 30 s until the fault; it lasts 15 s. Sensors err by half a kelvin.
    before, during = slice(35, 50), slice(58, 65)
    assert max(held.inlets[before]) <= 26.0 + 0.6
    assert min(held.supply[during]) < min(held.supply[before]) - 1.5
    assert max(held.inlets[during]) < max(fixed.inlets[during])
    assert set(fixed.supply) == {17.0}


def test_a_rack_that_gets_too_warm_costs_more_in_the_eyes_of_the_router():
    _, result, look = play("capper-prices")
    assert result.completed == result.requests
    before, during = look.prices[49], look.prices[62]
    assert before["b"] == 1.0
    assert during["b"] > 2.0
    assert during["b"] > during["a"]


def test_replicas_stay_in_the_rack_that_breathes_least_of_its_own_exhaust():
    awake = {}
    for name in ("stop-minhr", "stop-headroom"):
        _, result, look = play(
            name,
            backends=[{"accelerator": "H100", "replicas": 6}],
            loads_requests_per_second=[2],
            racks=NO_FAULT,
            window_seconds=12_000,
            overhead_watts_per_gpu=100,
            actuators={"stopped_boards_powered": False},
        )
        assert result.completed == result.requests
        assert result.accounts.stops > 0
        # Hosts of pods that ended are off.
        assert 100.0 * 200.0 <= result.accounts.host_joules < 0.9 * 6 * 100.0 * 200.0
        awake[name] = look.awake[-1]
    # One that the load needs and three to spare: all of rack b's and one more.
    assert sorted(awake["stop-minhr"]) == ["a", "b", "b", "b"]
    assert len(awake["stop-headroom"]) == 4


class Views:
    """Keeps what control was shown."""

    def __init__(self):
        self.views = []

    def decide(self, view):
        self.views.append(view)
        return []


@pytest.fixture(scope="module")
def view():
    found, kept = simulation("none", window_seconds=600, caps=CAP, racks=NO_FAULT), Views()
    Simulation(
        found.world, dataclasses.replace(found.arm, controller=lambda: kept), iter(()), seed=0
    ).run()
    return kept.views[-1]


def resting(view, *addresses):
    return dataclasses.replace(
        view,
        replicas=tuple(
            dataclasses.replace(one, state=ReplicaState.ASLEEP) if one.address in addresses else one
            for one in view.replicas
        ),
    )


def test_racks_are_ranked_by_the_production_policy(view):
    assert rack_order(view, PlacementPolicy.MIN_HR, replica_watts=600.0) == ["b", "a"]
    by_rack = {rack: [one for one in view.replicas if one.rack == rack] for rack in ("a", "b")}
    asleep = resting(view, by_rack["a"][0].address, by_rack["b"][0].address)
    assert wake_order(asleep, PlacementPolicy.MIN_HR)[0].rack == "b"
    left_over = dataclasses.replace(view, unneeded=frozenset({by_rack["b"][0].address}))
    # One of the worst rack goes, though it is another that the plan leaves over.
    assert first_to_go(left_over, PlacementPolicy.MIN_HR).rack == "a"
    assert first_to_go(dataclasses.replace(view, unneeded=frozenset()), PlacementPolicy.ZBD) is None


def test_a_rack_without_power_readings_takes_nothing_new(view):
    blind = dataclasses.replace(
        view,
        replicas=tuple(
            dataclasses.replace(one, power_watts=None) if one.rack == "b" else one
            for one in view.replicas
        ),
    )
    assert rack_order(blind, PlacementPolicy.MIN_HR, replica_watts=600.0) == ["a", "b"]


def test_the_page_tells_every_arm_and_every_target(tmp_path, capsys):
    row = {
        "scenario": "short-day",
        "arm": "dispatch+together",
        "against": "dispatch",
        "attainment_ratio": 0.5,
    }
    reach = [
        row | {"claim": "a little less", "saves_ratio": 0.05},
        row | {"claim": "nearly nothing", "saves_ratio": 0.99, "why": "Idle boards draw power"},
        row
        | {
            "claim": "colder",
            "saves_ratio": 0.01,
            "figure": "cooling_joules_per_token",
            "load_requests_per_second": 5,
        },
    ]
    path = tmp_path / "short-day.yaml"
    fields = DAY | {"window_seconds": 2400, "caps": CAP, "reach": reach}
    fields["arms"] = ["dispatch", "dispatch+together"]
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    page = tmp_path / "day.md"
    assert main(["simulate", str(path), "--seeds", "0", "--page", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Every figure is simulated" in text
    assert str(tmp_path) not in text
    for arm in fields["arms"]:
        assert text.count(f"| {arm} |") == 3
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    verdicts = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in lines}
    assert verdicts["a little less"] == "yes"
    assert verdicts["nearly nothing"] == "**no**"
    assert "Idle boards draw power" in text
    for name in ("day.png", "inlets.png"):
        assert (tmp_path / "day" / name).read_bytes().startswith(b"\x89PNG")
        assert f"(day/{name})" in text
    report = json.loads((tmp_path / "day" / "report.json").read_text(encoding="utf-8"))
    assert [one["met"] for one in report["reach"][:2]] == [True, False]
    assert report["reach"][0]["saved_ratio"] == pytest.approx(
        1.0 - report["reach"][0]["ours"] / report["reach"][0]["theirs"]
    )
    capsys.readouterr()


def test_a_page_where_no_folder_is_is_refused_before_anything_is_played(tmp_path, capsys):
    page = tmp_path / "nowhere" / "day.md"
    assert main(["simulate", "together", "--page", str(page)]) == 2
    assert "there is no such folder" in capsys.readouterr().err
