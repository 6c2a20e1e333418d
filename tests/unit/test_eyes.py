"""Rules, alerts and dashboards: generated as committed, valid, and of metrics that exist."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from docs_tables import described, rows
from prometheus_client import CollectorRegistry
from telemetry_harness import ManualClock

from capper.metrics import CapperMetrics
from capper.observe.generate import DASHBOARDS, generated
from capper.observe.rules.alerts import ALERTS
from capper.observe.rules.recordings import RECORDINGS
from capper.observe.selectors import selectors
from capper.racks.metrics import RackMetrics

ROOT = Path(__file__).resolve().parents[2]
PREFIXES = ("headrace_", "capper_", "clock_agent_")
SUFFIXES = ("_bucket", "_sum", "_count")
USERS_OWN = {"capper:pdu_watts", "capper:pdu_seen_seconds"}


def names_in(promql):
    text = promql.replace("$__rate_interval", "1m").replace("$config", "c")
    return {re.split(r"[{ ]", one)[0] for one in selectors(text)} - {""}


def exposed():
    """The tables that other tests keep equal to the code, and the capper's own registry."""
    registry = CollectorRegistry()
    CapperMetrics(registry, ManualClock())
    RackMetrics(registry)
    told = {row.name for row in rows("metrics.md") if row.name.startswith(PREFIXES)}
    assert {name for name in told if name.startswith("capper_")} == set(described(registry))
    histograms = {row.name for row in rows("metrics.md") if row.cells[:1] == ("histogram",)}
    return told | {name + suffix for name in histograms for suffix in SUFFIXES}


def expressions():
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard.document()["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}", target["expr"]
    for alert in ALERTS:
        yield alert.name, alert.expr


@pytest.mark.parametrize("path", generated())
def test_committed_files_are_those_that_the_source_makes(path):
    assert (ROOT / path).read_text(encoding="utf-8") == generated()[path]


def test_every_metric_of_dashboards_and_alerts_exists():
    known = exposed() | {rule.record for rule in RECORDINGS}
    used = dict(expressions())
    assert len(used) > 30
    for place, promql in used.items():
        assert names_in(promql), place
        assert names_in(promql) <= known, place


def test_every_series_of_ours_that_a_rule_reads_is_recorded_before_it_or_by_itself():
    recorded = set(USERS_OWN)
    for rule in RECORDINGS:
        recorded.add(rule.record)
        ours = {name for name in names_in(rule.expr) if name.startswith("capper:")}
        assert ours <= recorded, rule.record


def test_names_of_series_carry_their_unit():
    unitless = {"pod_workload", "board_pod", "pod_ready", "pod_rack", "node_rack", "meter_rack"}
    counts = {"board_expected", "meter_expected", "node_boards_expected", "rack_pdus"}
    units = ("_watts", "_seconds", "_ratio", "_celsius", "_second", "_joule", "_pods", "_replicas")
    for name in {rule.record.removeprefix("capper:") for rule in RECORDINGS}:
        plain = name.removesuffix("_p95").removesuffix("_now")
        assert name in unitless | counts or plain.endswith(units), name


@pytest.mark.parametrize("name", ["prometheus-rules", "alerts"])
def test_the_objects_follow_the_prometheus_operators_schema(name, crds):
    path = crds / "prometheus-operator/monitoring.coreos.com_prometheusrules.yaml"
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    [version] = definition["spec"]["versions"]
    rule_schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["groups"]
    rule_fields = rule_schema["items"]["properties"]["rules"]["items"]["properties"]
    document = yaml.safe_load(
        (ROOT / f"k8s/components/{name}/prometheusrule.yaml").read_text(encoding="utf-8")
    )
    assert document["kind"] == definition["spec"]["names"]["kind"]
    for group in document["spec"]["groups"]:
        assert group.keys() <= rule_schema["items"]["properties"].keys()
        for rule in group["rules"]:
            assert rule.keys() <= rule_fields.keys()
            assert ("record" in rule) != ("alert" in rule)


@pytest.fixture
def crds():
    data = os.environ.get("HEADRACE_DATA")
    folder = (Path(data).parent if data else ROOT.parent / "shared") / "crds"
    if not folder.is_dir():
        pytest.skip(f"the schema of PrometheusRule is NOT COMPARED: no {folder} (HEADRACE_DATA)")
    return folder


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_do_not_overlap_and_have_numbers_of_their_own(dashboard):
    panels = dashboard.document()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_kustomize_makes_config_maps_that_grafana_finds():
    if shutil.which("kubectl") is None:
        pytest.skip("NO kubectl ON PATH: the dashboards' kustomization is NOT BUILT")
    built = subprocess.run(
        ["kubectl", "kustomize", ROOT / "k8s/dashboards"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    maps = list(yaml.safe_load_all(built.stdout))
    assert [one["kind"] for one in maps] == ["ConfigMap"] * len(DASHBOARDS)
    for one in maps:
        assert one["metadata"]["labels"] == {"grafana_dashboard": "1"}
        [text] = one["data"].values()
        assert json.loads(text)["uid"].startswith("headrace-")
