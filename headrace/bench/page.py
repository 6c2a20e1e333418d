"""The page and the JSON of `headrace bench policies`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headrace.bench.targets import Speed, Target, losses
from loadtest.reports.json_report import SCHEMA, study_document
from loadtest.reports.tables import (
    FOOTNOTE,
    UNKNOWN,
    bound_line,
    markdown_table,
    number,
    point_table,
    point_title,
)
from loadtest.simulator.arms import ARMS, LEAST_REQUEST, OURS, SCORER
from loadtest.simulator.worlds import truths
from loadtest.study.summary import ArmSummary, StudySummary

_SHOWN_DIGITS = 12
_MAIN_ARMS = (LEAST_REQUEST, SCORER, "greedy-marginal", "merit-packing", OURS)
_INTRODUCTION = (
    "Written by `{command}`; edit nothing here. Every figure is simulated: what the simulator is, "
    "what it rests on and how to read it is in [simulation](../simulation/benchmark.md)."
)


def report_document(
    studies: Mapping[str, StudySummary],
    found: Sequence[Target],
    speed: Speed | None,
    *,
    command: str,
) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "schema": SCHEMA,
        "simulated": True,
        "command": command,
        "targets": [asdict(target) for target in found],
        "losses": list(losses(studies)),
        "speed": None if speed is None else asdict(speed),
        "studies": {name: study_document(summary) for name, summary in studies.items()},
    }


def policies_page(
    studies: Mapping[str, StudySummary],
    found: Sequence[Target],
    speed: Speed | None,
    *,
    command: str,
) -> str:
    """Markdown."""
    parts = [
        "# Policies compared (simulated)",
        _INTRODUCTION.format(command=command),
        *_headline(studies),
        *_inputs(studies),
        *_reach(found),
        *_short(studies, found),
        *_arms(studies),
        *_tables(studies),
        *_assumptions(studies),
    ]
    if speed is not None:
        parts.append(
            f"The simulation itself took {speed.wall_seconds:.0f} s on one core for "
            f"{speed.simulated_seconds:.0f} s of traffic with {speed.requests} requests."
        )
    return "\n\n".join(parts) + "\n"


def _headline(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    """J/token of the main arms at every load of the first scenario."""
    summary = next(iter(studies.values()))
    yield "## In short"
    yield f"J per output token; {summary.scenario.description}."
    rows = [
        (
            point.point.label,
            *(_joules_and_attainment(point.arm(name)) for name in _MAIN_ARMS),
            number(point.bounds.colocated_always_on, digits=3),
        )
        for point in summary.points
    ]
    yield markdown_table(("load", *_MAIN_ARMS, "co-located bound"), rows)
    yield "In brackets: per cent of the requests within both objectives."


def _joules_and_attainment(arm: ArmSummary | None) -> str:
    if arm is None or arm.joules_per_token is None or arm.attainment_ratio is None:
        return UNKNOWN
    return f"{arm.joules_per_token.value:.3f} ({100.0 * arm.attainment_ratio.value:.1f})"


def _inputs(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    yield "## Inputs"
    rows = [
        (
            name,
            summary.source.name,
            f"`{summary.source.sha256[:_SHOWN_DIGITS]}`",
            f"`{summary.physics_sha256[:_SHOWN_DIGITS]}`",
            f"{summary.scenario.warmup_seconds:g} + {summary.scenario.window_seconds:g}",
            ", ".join(map(str, summary.seeds)),
        )
        for name, summary in studies.items()
    ]
    header = ("scenario", "trace", "trace sha256", "physics sha256", "warm-up + window s", "seeds")
    yield markdown_table(header, rows, texts=4)
    code = next(iter(studies.values())).code_sha256
    yield f"Code of policies and simulator, sha256: `{code}`."
    for summary in studies.values():
        if summary.source.warning is not None:
            yield f"**{summary.scenario.name}: {summary.source.warning}**"


def _reach(found: Sequence[Target]) -> Iterator[str]:
    yield "## Reach"
    met = sum(target.met for target in found)
    yield f"{met} of {len(found)} targets are met."
    yield markdown_table(
        ("target", "measured", "met"),
        [(target.claim, target.measured, "yes" if target.met else "**no**") for target in found],
        texts=3,
    )


def _short(studies: Mapping[str, StudySummary], found: Sequence[Target]) -> Iterator[str]:
    yield "## Where it falls short"
    missed = [f"- {target.claim}: {target.measured}." for target in found if not target.met]
    yield "\n".join(missed) if missed else "No target is missed."
    lost = [f"- {loss}." for loss in losses(studies)]
    if lost:
        yield "Where a rival that keeps the objectives takes fewer joules per token:"
        yield "\n".join(lost)


def _arms(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    yield "## Arms"
    played = {arm for summary in studies.values() for arm in summary.scenario.arms}
    yield markdown_table(
        ("arm", "policy", "what sets it apart"),
        [(name, plan.policy, plan.what) for name, plan in ARMS.items() if name in played],
        texts=3,
    )


def _tables(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    yield "## Figures"
    yield FOOTNOTE
    for summary in studies.values():
        scenario = summary.scenario
        yield f"### {scenario.name}"
        yield (
            f"{scenario.description}. Objectives: TTFT {scenario.ttft_objective_seconds:g} s, "
            f"TPOT {1000.0 * scenario.tpot_objective_seconds:g} ms."
        )
        for point in summary.points:
            yield f"{point_title(scenario, point)}:"
            yield markdown_table(*point_table(point))
            yield bound_line(point)


def _assumptions(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    """What in the simulated hardware nobody measured."""
    yield "## Assumed, not measured"
    found: dict[str, None] = {}
    for summary in studies.values():
        scenario = summary.scenario
        for name, truth in truths(scenario.plans(), scenario.model).items():
            for assumption in truth.assumptions:
                found[f"- {name}, {truth.model}: {assumption}"] = None
    yield "\n".join(found)
