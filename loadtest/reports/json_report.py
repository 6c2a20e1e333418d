"""A study as JSON: units in the keys, inputs by hash, everything marked as simulated."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.simulator.arms import arm_plan
from loadtest.simulator.scenario import Scenario
from loadtest.study.carbon_files import carbon_sha256
from loadtest.study.summary import ArmSummary, PointSummary, StudySummary

SCHEMA = 1

# Digits that are kept: beyond them differ no policies but platforms.
_DIGITS = 9


def study_document(summary: StudySummary) -> dict[str, Any]:
    """One scenario."""
    return {
        "schema": SCHEMA,
        "simulated": True,
        "scenario": _scenario(summary.scenario),
        "inputs": inputs(summary),
        "seeds": list(summary.seeds),
        "points": [_point(point) for point in summary.points],
    }


def inputs(summary: StudySummary) -> dict[str, Any]:
    """What the figures rest on, by hash."""
    return {
        "trace": summary.source.name,
        "trace_sha256": summary.source.sha256,
        "physics_sha256": summary.physics_sha256,
        "scenario_sha256": scenario_sha256(summary.scenario),
        "code_sha256": summary.code_sha256,
        "carbon_sha256": carbon_sha256(summary.scenario),
        "warning": summary.source.warning,
    }


def scenario_sha256(scenario: Scenario) -> str:
    """Of all its fields, defaults included, but where its files lie."""
    return hashlib.sha256(json.dumps(_scenario(scenario), sort_keys=True).encode()).hexdigest()


def _scenario(scenario: Scenario) -> dict[str, Any]:
    found = scenario.model_dump(mode="json", exclude={"trace_file", "curve_file"})
    if scenario.carbon is not None:
        found["carbon"]["file"] = "/".join(Path(scenario.carbon.file).parts[-2:])
    return found


def dumps(document: dict[str, Any]) -> str:
    """As text; the same figures give the same text."""
    return json.dumps(_rounded(document), indent=2, allow_nan=False) + "\n"


def _point(point: PointSummary) -> dict[str, Any]:
    return {
        "load_requests_per_second": point.point.load_requests_per_second,
        "fault_case": point.point.case,
        "offered_requests_per_second": point.offered_requests_per_second,
        "speed_up_ratio": point.speed_up_ratio,
        "bounds": point.bounds.to_dict(),
        "arms": [_arm(arm) for arm in point.arms],
    }


def _arm(arm: ArmSummary) -> dict[str, Any]:
    plan = arm_plan(arm.arm)
    fields = asdict(arm) | {"arm": arm.arm, "policy": plan.policy, "what": plan.what}
    return fields | {"results": [run.to_dict() for run in arm.results]}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
