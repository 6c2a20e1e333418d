"""Scenario files: what they may say, and one sentence for everything that is wrong."""

import pytest
import yaml

from loadtest.simulator.arms import arm_plan
from loadtest.simulator.controllers import CONTROLLERS
from loadtest.simulator.scenario import Scenario, ScenarioError, parse_scenario
from loadtest.simulator.scenario_world import world_of
from loadtest.simulator.worlds import FLEETS, build_fleet
from loadtest.study.jobs import Job, play
from loadtest.study.scenario_files import load_scenario, shipped
from loadtest.study.slices import source_of

SMALL = {
    "name": "small",
    "description": "two boards",
    "backends": [{"accelerator": "H100", "replicas": 1}, {"accelerator": "A100", "replicas": 1}],
    "trace": "synthetic-conv",
    "loads_requests_per_second": [2],
    "warmup_seconds": 5,
    "window_seconds": 10,
}
AIR = {"names": ["left", "right"], "approach_celsius": [5, 5]}
SHARES = AIR | {"exhaust_shares": [[0.1, 0.1], [0.1, 0.1]]}


def parse(**changes) -> Scenario:
    fields = {key: value for key, value in (SMALL | changes).items() if value is not None}
    return parse_scenario(yaml.safe_dump(fields, sort_keys=False), source="small.yaml")


def problems(**changes):
    with pytest.raises(ScenarioError) as caught:
        parse(**changes)
    for problem in caught.value.problems:
        assert problem.startswith("small.yaml: ")
        assert problem.endswith(".")
        assert "\n" not in problem
    return [problem.removeprefix("small.yaml: ") for problem in caught.value.problems]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_is_possible_and_named_as_its_file(name):
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.points()


def test_the_standard_fleets_are_those_of_the_benchmark_design():
    boards = {
        name: [(plan.accelerator, plan.replicas, plan.gpus_per_replica) for plan in plans]
        for name, plans in FLEETS.items()
    }
    assert boards["F1"] == [("H100", 8, 1)]
    assert boards["F2"] == [("A100", 3, 1), ("H100", 3, 1), ("B200", 2, 1)]
    assert boards["F3"] == [*boards["F2"], ("L40S", 4, 1)]
    assert boards["F4"] == [("H100", 2, 4), ("B200", 1, 2), ("A100", 2, 8)]


def test_a_point_is_a_load_in_a_fault_case():
    lost = {"kind": "telemetry-lost", "start_seconds": 1, "duration_seconds": 2}
    scenario = parse(loads_requests_per_second=[2, 4], fault_cases={"none": [], "lost": [lost]})
    assert [point.label for point in scenario.points()] == [
        "2 requests/s",
        "4 requests/s",
        "2 requests/s, lost",
        "4 requests/s, lost",
    ]


def test_faults_count_from_the_measured_window_and_name_replicas():
    wedge = {
        "kind": "replica-wedged",
        "start_seconds": 1,
        "duration_seconds": 2,
        "replica": "a100/0",
    }
    [fault] = parse(fault_cases={"wedge": [wedge]}).faults("wedge")
    assert fault.start_seconds == 6.0
    scenario = parse()
    fleet = build_fleet(
        scenario.plans(), model=scenario.model, objective=None, racks=2, prior_ratio=1.0
    )
    [replica] = [r for r in fleet.replicas() if r.backend == "a100"]
    assert fault.address == replica.address
    assert {r.domain for r in fleet.replicas()} == {"rack-0", "rack-1"}


def test_a_wrong_prior_scales_what_the_router_believes_and_nothing_else():
    plans = parse().plans()

    def fleet(ratio):
        return build_fleet(
            plans, model="llama-3.1-8b", objective=None, racks=1, prior_ratio=ratio
        ).backends[0]

    right, high = fleet(1.0), fleet(1.3)
    assert high.profile.step.base_seconds == pytest.approx(1.3 * right.profile.step.base_seconds)
    assert high.profile.power.idle_watts == right.profile.power.idle_watts
    assert high.replicas == right.replicas


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fleet": "F9", "backends": None}, "fleet: must be one of F1, F2, F3, F4, got 'F9'."),
        ({"fleet": "F1"}, "fleet: exactly one of fleet and backends must be given."),
        ({"backends": None}, "fleet: exactly one of fleet and backends must be given."),
        ({"trace": None}, "trace: exactly one of trace, trace_file and curve_file must be given."),
        ({"model": "gpt-7"}, "model: must be one of llama-3.1-8b, llama-3.1-70b, got 'gpt-7'."),
        ({"colour": "red"}, "colour: is not a known field."),
        ({"name": None}, "name: is required."),
        ({"slices": 0}, "slices: input should be greater than or equal to 1, got 0."),
        (
            {"step": {"start_seconds": 5, "duration_seconds": 6, "factor": 3}},
            "step: must end within the window of 10 s, ends at 11 s.",
        ),
        (
            {"power_cap_watts": 100},
            "power_cap_watts: must be at least the 205 W that the fleet draws when idle, got 100.",
        ),
        (
            {"caps": {"fleet": [{"at_seconds": 0, "watts": 900}, {"at_seconds": 5, "watts": 150}]}},
            (
                "caps.fleet.1.watts: must be at least the 205 W that the fleet draws when idle, "
                "got 150."
            ),
        ),
        (
            {"racks": 2, "caps": {"racks": {"rack-1": [{"at_seconds": 0, "watts": 50}]}}},
            (
                "caps.racks.rack-1.0.watts: must be at least the 83 W that the rack draws "
                "when idle, got 50."
            ),
        ),
        (
            {"caps": {"racks": {"attic": [{"at_seconds": 0, "watts": 500}]}}},
            "caps.racks: must be among rack-0, got 'attic'.",
        ),
        (
            {"caps": {"fleet": [{"at_seconds": 5, "watts": 900}, {"at_seconds": 5, "watts": 800}]}},
            "caps.fleet.1.at_seconds: must be after that of the step before.",
        ),
        (
            {"caps": {}, "power_cap_watts": 900},
            "caps: at most one of caps and power_cap_watts may be given.",
        ),
        ({"racks": 0}, "racks: input should be greater than or equal to 1, got 0."),
        (
            {"racks": AIR | {"exhaust_shares": [[0.1, 0.1]]}},
            "racks: row 1 of exhaust_shares has 2 values for 1 racks.",
        ),
        (
            {"racks": AIR | {"exhaust_shares": [[0.5, 0.5], [0.1, 0.1]]}},
            (
                "racks: row 1 of exhaust_shares sums to 1, it must be below 1 or the room gets "
                "hotter without end."
            ),
        ),
        (
            {"racks": AIR | {"recirculation_kelvin_per_kilowatt": [[1, 1]]}},
            "racks: recirculation_kelvin_per_watt has 1 rows for 2 racks.",
        ),
        (
            {"racks": AIR},
            (
                "racks: exactly one of recirculation_kelvin_per_kilowatt and exhaust_shares "
                "must be given."
            ),
        ),
        (
            {"racks": SHARES | {"replicas": {"left": ["h100/0"], "right": ["h100/0"]}}},
            "racks.replicas: a100/0 is in 0 racks, it must be in one.",
        ),
        (
            {"racks": SHARES | {"replicas": {"attic": ["h100/0", "a100/0"]}}},
            "racks.replicas: must be among left, right, got 'attic'.",
        ),
        (
            {"control": {"arms": ["luck"]}},
            f"control.arms: must be among none, {', '.join(CONTROLLERS)}, got 'luck'.",
        ),
        (
            {"actuators": {"wake_seconds": [9, 3]}},
            "actuators: wake_seconds is [9.0, 3.0], it must be two seconds, 0 <= low <= high.",
        ),
        ({"carbon": {"file": "x.csv"}}, "carbon.column: is required."),
        (
            {"sensors": {"loss_ratio": 2}},
            "sensors.loss_ratio: input should be less than or equal to 1, got 2.",
        ),
    ],
)
def test_what_cannot_be_simulated_is_one_sentence_with_its_field(changes, sentence):
    assert sentence in problems(**changes)


def test_a_model_on_no_replica_is_told_with_what_is_served():
    backends = [{"accelerator": "H100", "replicas": 1, "models": ["llama-3.1-70b"]}]
    assert problems(backends=backends) == [
        "model: 'llama-3.1-8b' is on no replica; the backends serve llama-3.1-70b."
    ]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"trace": "azure-2031"}, "trace: must be one of azure-conv"),
        ({"arms": ["luck"]}, "arms: must be among dispatch"),
        ({"backends": [{"accelerator": "TPU", "replicas": 1}]}, "backends: there are no simulated"),
        (
            {"backends": [{"accelerator": "H100", "replicas": 1, "gpus_per_replica": 7}]},
            "backends: there are no simulated physics",
        ),
        (
            {"backends": [{"accelerator": "H100", "replicas": 1}] * 2},
            "backends: give each accelerator and parallelism once",
        ),
        ({"loads_requests_per_second": [0]}, "loads_requests_per_second.0: "),
        ({"loads_requests_per_second": []}, "loads_requests_per_second: "),
        (
            {
                "fault_cases": {
                    "w": [{"kind": "replica-wedged", "start_seconds": 0, "duration_seconds": 1}]
                }
            },
            "fault_cases.w.replica: is required of replica-wedged.",
        ),
        (
            {
                "fault_cases": {
                    "w": [
                        {
                            "kind": "power-bias",
                            "start_seconds": 0,
                            "duration_seconds": 1,
                            "replica": "h100/7",
                        }
                    ]
                }
            },
            "fault_cases.w.replica: must be one of h100/0, a100/0, got 'h100/7'.",
        ),
        (
            {
                "fault_cases": {
                    "late": [{"kind": "router-away", "start_seconds": 10, "duration_seconds": 1}]
                }
            },
            "fault_cases.late.start_seconds: must be before the end of the window",
        ),
        (
            {"fault_cases": {"x": [{"kind": "fire", "start_seconds": 0, "duration_seconds": 1}]}},
            "fault_cases.x.0.kind: ",
        ),
    ],
)
def test_other_mistakes_name_their_field_too(changes, part):
    [problem] = problems(**changes)
    assert problem.startswith(part)


def test_every_problem_is_told_at_once():
    assert len(problems(model="gpt-7", trace="azure-2031", arms=["luck"])) >= 3


@pytest.mark.parametrize("text", ["", "[1, 2]", "name: [", "just words"])
def test_what_is_no_scenario_at_all_is_refused(text):
    with pytest.raises(ScenarioError, match=r"small\.yaml: "):
        parse_scenario(text, source="small.yaml")


def test_a_file_that_is_not_there_is_told_with_what_is_shipped(tmp_path):
    with pytest.raises(ScenarioError, match="azure-conv-f2"):
        load_scenario(str(tmp_path / "none.yaml"))
    (tmp_path / "s.yaml").write_text(
        yaml.safe_dump(SMALL | {"trace": None, "trace_file": "gone.csv"}), encoding="utf-8"
    )
    with pytest.raises(ScenarioError, match=r"trace_file: there is no file .*gone\.csv"):
        load_scenario(str(tmp_path / "s.yaml"))


def test_a_scenario_can_be_played():
    scenario = parse()
    outcome = play(
        Job(
            scenario=scenario,
            source=source_of(scenario),
            point=scenario.points()[0],
            arm="dispatch",
            seed=3,
        )
    )
    assert outcome.result.completed == outcome.result.requests > 10
    assert outcome.timeline is None


def test_every_arm_meets_every_control_loop_unless_it_names_its_own():
    scenario = parse(
        arms=["dispatch", "queue-kv+max-clock"], control={"arms": ["none", "knee-clock"]}
    )
    assert scenario.arms == ("dispatch", "dispatch+knee-clock", "queue-kv+max-clock")
    assert [arm_plan(name).control for name in scenario.arms] == ["none", "knee-clock", "max-clock"]


def test_a_scenario_says_racks_caps_sensors_and_actuators_of_its_world():
    scenario = parse(
        racks=SHARES
        | {"replicas": {"left": ["a100/0"], "right": ["h100/0"]}, "supply_celsius": 18},
        caps={
            "fleet": [{"at_seconds": 0, "watts": 1200}, {"at_seconds": 4, "watts": 840}],
            "racks": {"right": [{"at_seconds": 0, "watts": 600}]},
        },
        sensors={"interval_seconds": 2},
        telemetry={"interval_seconds": 5},
        actuators={"start_seconds": [100, 100], "stopped_boards_powered": False},
        control={"period_seconds": 0.5},
    )
    [point] = scenario.points()
    world = world_of(scenario, point, prior_ratio=1.0, carbon=None)
    interval = {
        name: arm_plan(name).simulation_arm(scenario.telemetry.model()).telemetry.interval_seconds
        for name in ("dispatch", "naive-0.2s")
    }
    assert interval == {"dispatch": 5.0, "naive-0.2s": 0.2}
    domains = {replica.backend: replica.domain for replica in world.fleet.replicas()}
    assert domains == {"h100": "right", "a100": "left"}
    assert world.caps.fleet.steps == ((5.0, 1200.0), (9.0, 840.0))
    assert world.caps.racks["right"].at(0.0) == 600.0
    assert world.room.thermal.racks == ("left", "right")
    assert (world.room.supply_celsius, world.sensors.interval_seconds) == (18.0, 2.0)
    assert world.actuators.start_seconds == (100.0, 100.0)
    assert (world.actuators.stopped_boards_powered, world.control_period_seconds) == (False, 0.5)
