"""`headrace simulate` and `headrace bench policies`, on a scenario small enough for a unit test."""

import json
import subprocess
import sys

import pytest
import yaml

from headrace.bench.page import policies_page, report_document
from headrace.bench.targets import Speed, losses, targets
from headrace.main import main
from loadtest.reports.json_report import dumps, study_document
from loadtest.simulator.scenario import parse_scenario
from loadtest.study.study import run_study, steps
from loadtest.study.workers import workers

ARMS = ["dispatch", "merit-packing", "queue-kv", "least-request"]
SMALL = {
    "name": "small",
    "description": "two boards",
    "backends": [{"accelerator": "H100", "replicas": 1}, {"accelerator": "B200", "replicas": 1}],
    "trace": "synthetic-conv",
    "loads_requests_per_second": [3],
    "warmup_seconds": 5,
    "window_seconds": 15,
    "power_cap_watts": 900,
    "arms": ARMS,
}


@pytest.fixture
def scenario_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return path


def study(seeds=(0, 1), **changes):
    scenario = parse_scenario(yaml.safe_dump(SMALL | changes), source="small.yaml")
    told = []
    with workers(1) as crew:
        played = run_study(scenario, seeds=seeds, crew=crew, progress=told.append)
    assert sum(told) == pytest.approx(steps(scenario, seeds))
    return played.summary


def simulate(scenario_file, *flags):
    return main(["simulate", str(scenario_file), "--seeds", "0-1", *map(str, flags)])


def test_the_same_seeds_give_the_same_json_in_one_process_or_two(scenario_file, tmp_path):
    reports = []
    for jobs, name in ((1, "a"), (1, "b"), (2, "c")):
        assert simulate(scenario_file, "--jobs", jobs, "--out", tmp_path / name) == 0
        reports.append((tmp_path / name / "report.json").read_text(encoding="utf-8"))
    assert reports[0] == reports[1] == reports[2]


def test_a_report_says_that_it_is_simulated_and_what_it_rests_on(scenario_file, tmp_path):
    assert (
        simulate(scenario_file, "--out", tmp_path / "out", "--policy", "dispatch", "queue-kv") == 0
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert (report["schema"], report["simulated"], report["seeds"]) == (1, True, [0, 1])
    hashes = [report["inputs"][f"{name}_sha256"] for name in ("trace", "physics", "code")]
    assert [len(one) for one in hashes] == [64, 64, 64]
    [point] = report["points"]
    assert {arm["arm"] for arm in point["arms"]} == {"dispatch", "queue-kv"}
    bound = point["bounds"]["always_on_joules_per_token"]
    for arm in point["arms"]:
        assert arm["joules_per_token"]["value"] >= bound
        assert [run["seed"] for run in arm["results"]] == [0, 1]
    assert str(tmp_path) not in json.dumps(report)


def test_plots_and_a_table_are_written_beside_it(scenario_file, tmp_path):
    assert simulate(scenario_file, "--out", tmp_path / "out") == 0
    for name in ("attainment.png", "power.png", "batches-1.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert all(f"| {arm} " in table for arm in ARMS)
    assert "over cap s" in table


def test_the_tables_say_simulated_and_show_every_arm_and_the_bounds(scenario_file, capsys):
    assert simulate(scenario_file) == 0
    shown = capsys.readouterr().out
    assert "Simulated" in shown
    assert "Bounds, J/token: co-located" in shown
    assert all(arm in shown for arm in ARMS)


def test_all_arms_meet_the_same_requests():
    for point in study().points:
        offered = {arm.arm: [run.requests for run in arm.results] for arm in point.arms}
        assert len({tuple(counts) for counts in offered.values()}) == 1
        assert all(run.completed == run.requests for arm in point.arms for run in arm.results)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--policy", "luck"], "simulate: --policy must be among "),
        (["--seeds", "4-0"], "simulate: --seeds must be such as "),
        (["--seeds", "x"], "simulate: --seeds must be such as "),
        (["--window-seconds", "0"], "simulate: --window-seconds must be above 0, got 0.0."),
        (["--window-seconds", "nan"], "simulate: --window-seconds must be above 0, got nan."),
        (["--jobs", "0"], "simulate: --jobs must be 1 or more, got 0."),
    ],
)
def test_bad_flags_are_one_sentence_and_end_with_two(scenario_file, capsys, flags, sentence):
    assert main(["simulate", str(scenario_file), *flags]) == 2
    told = capsys.readouterr().err
    assert told.startswith(sentence)
    assert told.count("\n") == 1


def test_an_impossible_scenario_ends_with_two_and_names_file_and_field(tmp_path, capsys):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"power_cap_watts": 10}), encoding="utf-8")
    assert main(["simulate", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"{path}: power_cap_watts: must be at least the ")


def test_a_file_where_the_folder_should_be_is_refused_before_anything_is_played(
    scenario_file, capsys
):
    assert simulate(scenario_file, "--out", scenario_file) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_the_benchmark_refuses_a_page_in_no_folder(tmp_path, capsys):
    assert main(["bench", "policies", "--out", str(tmp_path / "none" / "page.md")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["numpy", "scipy", "matplotlib"])
def test_without_the_extra_the_command_says_what_to_install(module):
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from headrace.main import main; sys.exit(main(['simulate', 'step']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert f"headrace simulate needs {module}: pip install 'headrace[sim]'." in ended.stderr


def test_serving_and_the_demo_do_without_the_extra():
    script = (
        "import sys\nfor name in ('numpy', 'scipy', 'matplotlib'): sys.modules[name] = None\n"
        "import headrace.serve, headrace.demo.command"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# The page of the benchmark


def test_targets_compare_the_measured_figures():
    summary = study(name="azure-conv-f1")
    [shape, packers] = targets({"azure-conv-f1": summary}, None)
    [point] = summary.points
    ours, scorer = point.arm("dispatch"), point.arm("queue-kv")
    saving = 1.0 - ours.joules_per_token.value / scorer.joules_per_token.value
    assert f"{saving:.1%} below" in shape.measured
    assert shape.met == (saving > 0 and ours.attains)
    best = point.arm("merit-packing").joules_per_token.value
    assert packers.met == (ours.joules_per_token.value <= 1.005 * best and ours.attains)


def test_a_fault_case_is_judged_against_least_request():
    fault = {
        "kind": "replica-wedged",
        "start_seconds": 2,
        "duration_seconds": 9,
        "replica": "h100/0",
    }
    summary = study(name="faults", fault_cases={"wedged": [fault]})
    [target] = targets({"faults": summary}, None)
    [point] = summary.points
    ours, other = point.arm("dispatch"), point.arm("least-request")
    loss = ours.attainment_ratio.value - other.attainment_ratio.value
    assert f"{100 * loss:+.2f} points" in target.measured
    assert target.met == (loss >= -0.01)


@pytest.mark.parametrize(("wall_seconds", "met"), [(29.0, True), (31.0, False)])
def test_the_speed_of_the_simulation_is_a_target(wall_seconds, met):
    speed = Speed(wall_seconds=wall_seconds, simulated_seconds=3600.0, requests=72_000, replicas=8)
    [target] = targets({}, speed)
    assert target.met is met


def test_every_point_that_a_rival_wins_is_listed():
    summary = study(arms=["dispatch", "least-request"])
    [point] = summary.points
    ours, rival = point.arm("dispatch"), point.arm("least-request")
    wins = rival.attains and (
        not ours.attains or rival.joules_per_token.value < ours.joules_per_token.value
    )
    assert len(list(losses({"small": summary}))) == int(wins)


def test_the_page_names_the_command_the_inputs_and_every_arm_and_says_simulated():
    studies = {"azure-conv-f1": study(name="azure-conv-f1")}
    found = list(targets(studies, None))
    page = policies_page(studies, found, None, command="headrace bench policies")
    [summary] = studies.values()
    assert page.startswith("# Policies compared (simulated)")
    assert "`headrace bench policies`" in page
    assert summary.source.sha256[:12] in page
    assert summary.physics_sha256[:12] in page
    assert all(page.count(f"| {arm} ") >= 2 for arm in ARMS)
    assert all(target.claim in page for target in found)
    document = report_document(studies, found, None, command="headrace bench policies")
    assert json.loads(dumps(document))["studies"]["azure-conv-f1"] == json.loads(
        dumps(study_document(summary))
    )
