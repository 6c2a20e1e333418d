"""`headrace simulate` and `headrace bench policies`, on a scenario small enough for a unit test."""

import json
import subprocess
import sys

import pytest
import yaml
from study_builders import ARMS, SMALL, study

from headrace.main import main


@pytest.fixture
def scenario_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return path


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


def test_a_file_where_the_folder_should_be_is_refused_before_anything_is_played(
    scenario_file, capsys
):
    assert simulate(scenario_file, "--out", scenario_file) == 2
    assert "is not a folder" in capsys.readouterr().err


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
