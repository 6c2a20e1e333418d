"""`promtool test rules` on our generated rules, with scenarios written in Python."""

import shutil
import subprocess

import pytest
import yaml

from capper.observe.rules.recordings import GROUP, RECORDINGS
from capper.observe.rules.rule import groups

STEP_SECONDS = 15


def counter(watts, *, scale=1000.0, start=1000, steps=40):
    """An energy counter that grows by so many watts, in promtool's notation."""
    return f"{start}+{watts * STEP_SECONDS * scale:.0f}x{steps}"


def energy(board, watts, *, node="a", steps=40, **labels):
    """dcgm-exporter's counter of one board."""
    named = {"UUID": board, "Hostname": node, "job": "dcgm", "instance": node} | labels
    return {series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", **named): counter(watts, steps=steps)}


def gauge(metric, value, *, steps=40, **labels):
    """A series that stays at one value."""
    values = " ".join(["NaN"] * steps) if value == "NaN" else f"{value}x{steps}"
    return {series(metric, **labels): values}


def series(metric, **labels):
    return metric + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def pod(name, *, deployment="chat", node="a", namespace="llm", ready=1):
    """What kube-state-metrics tells of a pod of a Deployment."""
    replica_set = f"{deployment}-5d"
    owner = {"owner_kind": "ReplicaSet", "owner_name": replica_set}
    return (
        gauge("kube_pod_owner", 1, namespace=namespace, pod=name, **owner)
        | gauge(
            "kube_replicaset_owner",
            1,
            namespace=namespace,
            replicaset=replica_set,
            owner_kind="Deployment",
            owner_name=deployment,
        )
        | gauge("kube_pod_info", 1, namespace=namespace, pod=name, node=node)
        | gauge("kube_pod_status_ready", ready, namespace=namespace, pod=name, condition="true")
    )


def node(name, *, gpus=0, rack=None):
    """What kube-state-metrics tells of a node."""
    told = gauge("kube_node_info", 1, node=name)
    if gpus:
        told |= gauge("kube_node_status_allocatable", gpus, node=name, resource="nvidia_com_gpu")
    if rack:
        told |= gauge("kube_node_labels", 1, node=name, label_topology_headrace_dev_rack=rack)
    return told


def check_rules(folder, rules=RECORDINGS):
    """`promtool check rules`; skips by name where there is no promtool."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(groups(GROUP, rules), sort_keys=False, width=10**6))
    _promtool("check", "rules", path)


def expect(folder, told, expected, *, at="90s", rules=RECORDINGS):
    """Evaluate the rules over scripted series and compare.

    Args:
        folder: For the files.
        told: Series -> values in promtool's notation, one each 15 s.
        expected: PromQL -> {labels as text: value}; an empty dict: no result. Values are rounded
            to a thousandth.
        at: When.
        rules: Which.
    """
    questions = [
        {
            "expr": f"round({expr}, 0.001)",
            "eval_time": at,
            "exp_samples": [{"labels": labels, "value": value} for labels, value in want.items()],
        }
        for expr, want in expected.items()
    ]
    _test(folder, rules, told, {"promql_expr_test": questions})


def expect_alert(folder, told, alert, fires, *, at, rules):
    """Whether an alert, of which the texts are left out, fires with exactly these labels."""
    bare = {"summary": "", "description": ""}
    want = [{"exp_labels": labels, "exp_annotations": bare} for labels in fires]
    check = [{"alertname": alert, "eval_time": at, "exp_alerts": want}]
    _test(folder, rules, told, {"alert_rule_test": check})


def _test(folder, rules, told, checks):
    (folder / "rules.yaml").write_text(
        yaml.safe_dump(groups(GROUP, rules), sort_keys=False, width=10**6)
    )
    scripted = [{"series": name, "values": values} for name, values in told.items()]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": f"{STEP_SECONDS}s",
        "tests": [{"interval": f"{STEP_SECONDS}s", "input_series": scripted, **checks}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=10**6))
    _promtool("test", "rules", folder / "test.yaml")


def _promtool(*arguments):
    binary = shutil.which("promtool")
    if binary is None:
        pytest.skip("NO promtool ON PATH: the rules are NOT TESTED (apt install prometheus)")
    ended = subprocess.run(
        [binary, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
