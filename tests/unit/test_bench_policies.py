"""What `headrace bench policies` says, on scenarios small enough for a unit test."""

import json
from dataclasses import replace

import pytest
import yaml
from study_builders import ARMS, SMALL, study

from headrace.bench.gates import gates
from headrace.bench.losses import losses
from headrace.bench.page import Findings, policies_page, report_document
from headrace.bench.standard import HEADLINE, HOST_WATTS_PER_GPU, STANDARD, scenario_of
from headrace.bench.targets import Speed, targets
from headrace.main import main
from loadtest.reports.json_report import dumps, scenario_sha256, study_document
from loadtest.simulator.arms import ARMS as ALL_ARMS
from loadtest.simulator.scenario import parse_scenario
from loadtest.study.decision_time import time_decisions
from loadtest.study.study import plan_study


def findings(studies, **changes):
    fields = {
        "studies": studies,
        "targets": tuple(targets(studies, None)),
        "gates": tuple(gates()),
        "speed": None,
        "decisions": (),
        "fluid": (),
        "command": "headrace bench policies",
    }
    return Findings(**(fields | changes))


def test_the_benchmark_refuses_a_page_in_no_folder(tmp_path, capsys):
    assert main(["bench", "policies", "--out", str(tmp_path / "none" / "page.md")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_targets_compare_the_measured_figures():
    summary = study(name="azure-conv-f1")
    [shape, packers, _] = targets({"azure-conv-f1": summary}, None)
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
    target, _ = targets({"faults": summary}, None)
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


def test_every_point_that_a_rival_wins_is_listed_with_both_values():
    summary = study(arms=["dispatch", "least-request"])
    [point] = summary.points
    ours, rival = point.arm("dispatch"), point.arm("least-request")
    dear = replace(ours.joules_per_token, value=2.0 * rival.joules_per_token.value)
    worse = replace(ours, joules_per_token=dear)
    lost = replace(summary, points=(replace(point, arms=(worse, rival)),))
    [loss] = losses({"small": lost, "again": lost})
    assert (loss.where, loss.rival) == ("small, 3 requests/s", "least-request")
    assert loss.what == f"{rival.joules_per_token.value:.3f} against {dear.value:.3f} J/token"
    assert f"dynamic {rival.dynamic_joules_per_token:.3f} against" in loss.why


def test_beyond_capacity_a_rival_that_attains_more_is_listed():
    summary = study(arms=["dispatch", "least-request"])
    [point] = summary.points
    arms = [
        replace(
            point.arm(name),
            attains=False,
            attainment_ratio=replace(point.arm(name).attainment_ratio, value=value),
        )
        for name, value in (("dispatch", 0.5), ("least-request", 0.6))
    ]
    lost = replace(summary, points=(replace(point, arms=tuple(arms)),))
    [loss] = losses({"small": lost})
    assert loss.what == "60.00% against 50.00% within both objectives"
    [target] = [one for one in targets({"overload": lost}, None) if "least-request" in one.claim]
    assert not target.met
    assert "the best rival attains 60.00% (least-request)" in target.why


def test_arms_that_are_told_more_are_no_rivals():
    summary = study(arms=["dispatch", "dispatch-oracle"])
    [point] = summary.points
    arms = tuple(
        replace(arm, joules_per_token=replace(arm.joules_per_token, value=float(cost)))
        for cost, arm in ((2, point.arm("dispatch")), (1, point.arm("dispatch-oracle")))
    )
    assert not list(losses({"small": replace(summary, points=(replace(point, arms=arms),))}))


def test_the_page_names_the_command_the_inputs_and_every_arm_and_says_simulated():
    studies = {"azure-conv-f1": study(name="azure-conv-f1")}
    found = findings(studies)
    page = policies_page(found, figures=["policies/small.png"])
    [summary] = studies.values()
    assert page.startswith("# Policies compared (simulated)")
    assert "`headrace bench policies`" in page
    for sha256 in (
        summary.source.sha256,
        summary.physics_sha256,
        scenario_sha256(summary.scenario),
        summary.code_sha256,
    ):
        assert sha256[:12] in page
    assert all(page.count(f"| {arm} ") >= 2 for arm in ARMS)
    assert all(one.claim in page for one in (*found.targets, *found.gates))
    assert "](policies/small.png)" in page
    assert "Quick figures" not in page
    assert "Quick figures" in policies_page(findings(studies, quick=True))


def test_the_report_holds_what_is_simulated_and_no_wall_time():
    studies = {"azure-conv-f1": study(name="azure-conv-f1")}
    speed = Speed(wall_seconds=29.0, simulated_seconds=3600.0, requests=72_000, replicas=8)
    found = findings(studies, targets=tuple(targets(studies, speed)), speed=speed)
    document = report_document(found)
    assert len(document["targets"]) == len(found.targets) - 1
    assert "wall" not in json.dumps(document)
    assert json.loads(dumps(document))["studies"]["azure-conv-f1"] == json.loads(
        dumps(study_document(found.studies["azure-conv-f1"]))
    )


def test_the_gates_of_the_h100_are_met_and_the_failures_of_the_b200_are_told():
    found = {gate.claim: gate for gate in gates()}
    assert len(found) == 8
    assert all(gate.met for claim, gate in found.items() if claim.startswith("H100"))
    failed = [gate for gate in found.values() if not gate.met]
    assert len(failed) == 3
    assert all(gate.why for gate in failed)


def test_the_standard_set_has_every_policy_and_every_load_of_the_targets():
    scenarios = {row.scenario: scenario_of(row, quick=False) for row in STANDARD}
    played = {arm for scenario in scenarios.values() for arm in scenario.arms}
    assert played >= {*ALL_ARMS}
    assert scenarios[HEADLINE].loads_requests_per_second == (6, 11, 22, 56, 78)
    assert scenarios["overload"].loads_requests_per_second == (102, 130)
    fleets = {scenario.fleet for scenario in scenarios.values()}
    assert fleets == {"F1", "F2", "F3", "F4"}
    assert all(one.overhead_watts_per_gpu == HOST_WATTS_PER_GPU for one in scenarios.values())
    quick = [scenario_of(row, quick=True) for row in STANDARD]
    assert sum(one.total_seconds * len(one.points()) for one in quick) < sum(
        one.total_seconds * len(one.points()) for one in scenarios.values()
    )


def test_quick_figures_do_not_overwrite_the_page_and_no_docs_folder_is_told(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "policies"]) == 2
    told = capsys.readouterr().err
    assert told == (
        "bench: --out FILE is needed here: there is no folder docs for "
        "docs/benchmarks/policies.md.\n"
    )


def test_every_decision_of_a_run_is_timed():
    scenario = parse_scenario(yaml.safe_dump(SMALL | {"warmup_seconds": 0}), source="small.yaml")
    plan = plan_study(scenario, seeds=(0,))
    timed = time_decisions(plan.jobs[0])
    assert timed.picks > 10
    assert 0 < timed.p50_seconds <= timed.p99_seconds
