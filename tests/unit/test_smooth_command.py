"""`headrace smooth` on CSV files and on declared weeks of its own."""

import csv
import json

import pytest
import yaml
from docs_tables import DOCS

from headrace.main import main
from headrace.smooth_cases import SHIPPED, load_cases
from headrace.smooth_week import week
from loadtest.study.slices import data_folder

HOUR = 3600
HEADER = ["time", "instance", "service", "leaf", "watts"]
needs_data = pytest.mark.skipif(
    not data_folder().is_dir(), reason="NO PUBLIC DATA: set HEADRACE_DATA"
)


def rows(hours=168, *, leaf=True):
    """Two services that draw by turns, in a rack each."""
    for hour in range(hours):
        for number in range(4):
            service = ("chat", "code")[number % 2]
            by_day = 6 <= hour % 24 < 18
            high = 700 if by_day == (service == "chat") else 100
            row = [hour * HOUR, f"{service}-{number}", service, "ab"[number % 2], high + hour % 3]
            yield row if leaf else [*row[:3], "", row[4]]


def write(path, listed, header=HEADER):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(listed)
    return path


def smooth(path, *more):
    return main(["smooth", "--history", str(path), "--step-seconds", "3600", *more])


def test_a_file_gives_plan_tables_json_rows_and_plot(tmp_path, capsys):
    path, out = write(tmp_path / "history.csv", rows()), tmp_path / "out"
    assert smooth(path, "--out", str(out)) == 0
    told = capsys.readouterr().out
    assert "4 instances over 2 leaves: their peaks add up to 2.8 kW now and to 1.6 kW" in told
    assert "chat    b +" in told
    report = json.loads((out / "report.json").read_text())
    assert (report["schema"], report["simulated"]) == (1, False)
    assert len(report["inputs"]["history_sha256"]) == 64
    assert report["lower_leaf_peaks_ratio"] == pytest.approx(1 - 802 / 1402, abs=1e-3)
    assert report["moved_instances"] == 2
    with (out / "plan.csv").open(newline="") as file:
        planned = list(csv.DictReader(file))
    assert {row["trace"] for row in planned} == {"own"}
    assert [row["leaf_now"] for row in planned] == ["a", "a", "b", "b"]
    services = {(row["leaf_planned"], row["service"]) for row in planned}
    assert services == {(leaf, name) for leaf in "ab" for name in ("chat", "code")}
    assert (out / "peaks.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_file_gives_the_same_report(tmp_path):
    path = write(tmp_path / "history.csv", rows())
    for name in ("one", "two"):
        assert smooth(path, "--out", str(tmp_path / name)) == 0
    texts = {(tmp_path / name / "report.json").read_bytes() for name in ("one", "two")}
    plots = {(tmp_path / name / "peaks.png").read_bytes() for name in ("one", "two")}
    assert len(texts) == len(plots) == 1


def test_a_configuration_gives_the_tree_and_its_caps(tmp_path, capsys):
    path = write(tmp_path / "history.csv", rows())
    config = tmp_path / "cap.yaml"
    racks = [{"rackId": name, "maxPower": 2000} for name in "ab"]
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "powercapping.climatik-project.ai/v1",
                "kind": "PowerCappingConfig",
                "metadata": {"name": "cap"},
                "spec": {
                    "powerCapLimit": 3000,
                    "deploymentName": "chat",
                    "rackConstraints": racks,
                    "domains": [{"name": "row", "capWatts": 2900, "racks": ["a", "b"]}],
                },
            }
        )
    )
    assert smooth(path, "--config", str(config), "--out", str(tmp_path)) == 0
    nodes = {
        one["name"]: one for one in json.loads((tmp_path / "report.json").read_text())["nodes_now"]
    }
    assert list(nodes) == ["fleet", "row", "a", "b"]
    assert nodes["a"]["headroom_watts"] == pytest.approx(2000 - 1404)
    assert nodes["row"]["cap_watts"] == 2900
    assert "row" in capsys.readouterr().out


def test_a_fleet_file_gives_a_flat_tree(tmp_path, capsys):
    path = write(tmp_path / "history.csv", rows())
    fleet = tmp_path / "fleet.yaml"
    replicas = [{"address": f"10.0.0.{n}:8000", "domain": name} for n, name in enumerate("ab", 1)]
    backend = {"name": "m", "accelerator": "H100", "parameters": 8e9, "models": ["m"]}
    fleet.write_text(yaml.safe_dump({"backends": [{**backend, "replicas": replicas}]}))
    assert smooth(path, "--fleet", str(fleet)) == 0
    assert "2 leaves" in capsys.readouterr().out


def test_without_leaves_it_is_planned_into_those_of_the_tree(tmp_path, capsys):
    path = write(tmp_path / "history.csv", rows(leaf=False))
    fleet = tmp_path / "fleet.yaml"
    replicas = [{"address": f"10.0.0.{n}:8000", "domain": name} for n, name in enumerate("xy", 1)]
    backend = {"name": "m", "accelerator": "H100", "parameters": 8e9, "models": ["m"]}
    fleet.write_text(yaml.safe_dump({"backends": [{**backend, "replicas": replicas}]}))
    assert smooth(path, "--fleet", str(fleet), "--out", str(tmp_path)) == 0
    assert "where the instances hang now is not known" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["lower_leaf_peaks_ratio"] is None
    assert sorted(report["leaves"].values()) == ["x", "x", "y", "y"]


BAD = {
    "short": (HEADER, lambda: rows(100), "the history is of 4.2 days, at least 7 days are needed"),
    "columns": (["time", "pod", "watts"], rows, "line 1: the columns must be time, instance"),
    "fields": (HEADER, lambda: [[0, "i", "s", "a", 1], [0, "i"]], "line 3: has 2 fields"),
    "local time": (
        HEADER,
        lambda: [["2026-01-31T12:00:00", "i", "s", "a", 1]],
        "line 2: time must carry its offset from UTC",
    ),
    "no time": (HEADER, lambda: [["noon", "i", "s", "a", 1]], "line 2: time must be epoch"),
    "far time": (HEADER, lambda: [["1e18", "i", "s", "a", 1]], "line 2: time must lie between"),
    "no number": (HEADER, lambda: [[0, "i", "s", "a", "x"]], "line 2: watts must be a number"),
    "nameless": (HEADER, lambda: [[0, "", "s", "a", 1]], "line 2: instance and service must not"),
    "two services": (
        HEADER,
        lambda: [[0, "i", "s", "a", 1], [0, "i", "t", "a", 1]],
        "line 3: i is of service s and of service t",
    ),
    "empty": (HEADER, list, "the history has no readings that can be believed"),
    "one leaf": (
        HEADER,
        lambda: [[*row[:3], "a", row[4]] for row in rows()],
        "names 1 leaf of the power tree",
    ),
    "gone": (
        HEADER,
        lambda: [row for row in rows() if not 24 * HOUR <= row[0] < 72 * HOUR],
        "there are readings for 71% of the time, at least 80%",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_sentence_with_file_and_line(tmp_path, capsys, what):
    header, listed, sentence = BAD[what]
    path = write(tmp_path / "history.csv", listed(), header)
    assert smooth(path) == 2
    told = capsys.readouterr().err
    assert told.startswith(str(path))
    assert sentence in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--step-seconds", "1000"], "--step-seconds: the step must divide a week"),
        (["--clusters", "0"], "--clusters must be 1 or more, got 0"),
        (["--days", "3"], "--days must be 7 to 60, got 3"),
        (["--page", "x.md"], "--page belongs to --example"),
    ],
)
def test_a_bad_flag_is_one_sentence(tmp_path, capsys, arguments, sentence):
    path = write(tmp_path / "history.csv", rows())
    assert main(["smooth", "--history", str(path), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_a_leaf_that_the_tree_lacks_and_a_missing_file_are_told(tmp_path, capsys):
    path = write(tmp_path / "history.csv", rows())
    fleet = tmp_path / "fleet.yaml"
    replicas = [{"address": f"10.0.0.{n}:8000", "domain": name} for n, name in enumerate("xy", 1)]
    backend = {"name": "m", "accelerator": "H100", "parameters": 8e9, "models": ["m"]}
    fleet.write_text(yaml.safe_dump({"backends": [{**backend, "replicas": replicas}]}))
    assert smooth(path, "--fleet", str(fleet)) == 2
    assert "hangs on a, which is no leaf of the power tree: x, y" in capsys.readouterr().err
    assert smooth(tmp_path / "none.csv") == 2
    assert "none.csv: cannot be read" in capsys.readouterr().err


# Declared weeks


def own_cases(path, **changes):
    service = {"replicas": 2, "day": "two-humps", "trace": "azure-conv"}
    case = {
        "name": "small",
        "description": "two continents",
        "rows": 1,
        "racks_per_row": 2,
        "services": [
            {**service, "name": "east", "utc_offset_hours": 8},
            {**service, "name": "west", "utc_offset_hours": -6, **changes},
        ],
    }
    path.write_text(yaml.safe_dump({"cases": [case]}))
    return path


@needs_data
def test_declared_weeks_are_dealt_and_the_page_is_written(tmp_path, capsys):
    cases, page = own_cases(tmp_path / "cases.yaml"), tmp_path / "page.md"
    out = ["--out", str(tmp_path / "out"), "--page", str(page)]
    assert main(["smooth", "--example", "--cases", str(cases), *out]) == 0
    assert "Simulated: declared weeks." in capsys.readouterr().out
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["simulated"] is True
    assert {"cases_sha256", "azure-conv_sha256", "two-humps_sha256"} <= report["inputs"].keys()
    arms = report["cases"][0]["arms"]
    assert set(arms) == {"now", "random", "renewed", "dealt", "planned"}
    assert arms["now"]["leaf_ratio"] == 0.0
    assert arms["planned"]["leaf_ratio"] <= arms["planned"]["bound_ratio"] + 1e-9
    text = page.read_text()
    assert text.startswith("# Smoothing (simulated)")
    assert "page/small.png" in text
    # What it drew is a history that the command itself reads.
    history = tmp_path / "out/small.csv"
    assert main(["smooth", "--history", str(history), "--step-seconds", "900"]) == 0


@needs_data
def test_the_shipped_weeks_keep_their_words():
    cases = {case.name: case for case in load_cases(SHIPPED)}
    names = ["three-continents", "one-country", "already-mixed", "one-hour", "never-resting"]
    assert list(cases) == names
    drawn = week(cases["one-country"], seed=3)
    assert drawn == week(cases["one-country"], seed=3)
    assert drawn != week(cases["one-country"], seed=4)
    for one in drawn.instances:
        assert 60.0 < min(one.watts) <= max(one.watts) < 720.0, "between idle and an H100's limit"
    page = (DOCS / "simulation/smoothing.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in page for name in names)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"accelerator": "V1"}, "accelerator must be one of"),
        ({"name": "east"}, "names of services must be unique"),
        ({"peak_ratio": 2.0}, "peak_ratio"),
        ({"day": "never"}, "day"),
    ],
)
def test_a_bad_file_of_weeks_is_told(tmp_path, capsys, changes, sentence):
    cases = own_cases(tmp_path / "cases.yaml", **changes)
    assert main(["smooth", "--example", "--cases", str(cases)]) == 2
    assert sentence in capsys.readouterr().err


def test_a_missing_data_folder_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path))
    cases = own_cases(tmp_path / "cases.yaml")
    assert main(["smooth", "--example", "--cases", str(cases)]) == 2
    assert "cannot be read" in capsys.readouterr().err
