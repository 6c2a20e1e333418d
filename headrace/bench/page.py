"""The page and the JSON of `headrace bench policies`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headrace.bench.losses import losses
from headrace.bench.targets import Speed, Target
from loadtest.reports.account_table import ACCOUNT_FOOTNOTE, account_table
from loadtest.reports.arm_order import arm_order
from loadtest.reports.cells import UNKNOWN, markdown_table, number
from loadtest.reports.json_report import SCHEMA, scenario_sha256, study_document
from loadtest.reports.tables import (
    DETAIL_FOOTNOTE,
    FOOTNOTE,
    bound_line,
    detail_table,
    point_table,
    point_title,
)
from loadtest.simulator.arms import LEAST_REQUEST, OURS, SCORER, arm_plan
from loadtest.simulator.worlds import truths
from loadtest.study.decision_time import DecisionTime
from loadtest.study.fluid import CARBON_FILE, DAYS, WEEKEND_RATIO, FluidFigures
from loadtest.study.summary import ArmSummary, StudySummary

FLUID_LOAD = 30.0
"""Mean requests per second of a weekday at fluid level."""

_SHOWN_DIGITS = 12
_MAIN_ARMS = (LEAST_REQUEST, SCORER, "greedy-marginal", "merit-packing", OURS)
_QUICK = "**Quick figures, of one seed and 30 s windows: to see that it works, not to be quoted.**"
_INTRODUCTION = (
    "Written by `{command}`; edit nothing here. Every figure is simulated: what the simulator is, "
    "what it rests on and how to read it is in [simulation](../simulation/benchmark.md)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a benchmark came to.

    Attributes:
        studies: By scenario, in the order of the page.
        targets: Those of the benchmark.
        gates: Those of the simulated hardware.
        speed: Of the simulation; None when it was not measured.
        decisions: How long the main arms' decisions took on this machine.
        fluid: Two weeks of the headline's fleet.
        command: That was run.
        quick: Whether the figures are those of short windows and one seed.
    """

    studies: Mapping[str, StudySummary]
    targets: tuple[Target, ...]
    gates: tuple[Target, ...]
    speed: Speed | None
    decisions: tuple[DecisionTime, ...]
    fluid: tuple[FluidFigures, ...]
    command: str
    quick: bool = False


def report_document(findings: Findings) -> dict[str, Any]:
    """Everything that is simulated as plain values; wall times are left out."""
    return {
        "schema": SCHEMA,
        "simulated": True,
        "command": findings.command,
        "targets": [asdict(target) for target in findings.targets if target.simulated],
        "gates": [asdict(gate) for gate in findings.gates],
        "fluid": [asdict(figures) for figures in findings.fluid],
        "losses": [asdict(loss) for loss in losses(findings.studies)],
        "studies": {name: study_document(one) for name, one in findings.studies.items()},
    }


def policies_page(findings: Findings, *, figures: Sequence[str] = ()) -> str:
    """Markdown.

    Args:
        findings: What to write.
        figures: Plots beside the page, relative to it.
    """
    studies = findings.studies
    parts = [
        "# Policies compared (simulated)",
        _INTRODUCTION.format(command=findings.command),
        *([_QUICK] if findings.quick else []),
        *_headline(studies),
        *_reach(findings),
        *_short(findings),
        *_lost(studies),
        *_gates(findings.gates),
        *_inputs(studies),
        *_arms(studies),
        *_tables(studies),
        *_fluid(findings.fluid),
        *_plots(figures),
        *_assumptions(studies),
        *_wall_times(findings),
    ]
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
            number(point.bounds.steady, digits=3),
            number(point.bounds.colocated_always_on, digits=3),
        )
        for point in summary.points
    ]
    yield markdown_table(("load", *_MAIN_ARMS, "best steady states", "co-located bound"), rows)
    yield (
        "In brackets: per cent of the requests within both objectives. The bound may let a board"
        " run at any batch for part of the time; a real engine's batch follows from its rate, and"
        " the best steady states respect that, knowing each 10 s of load beforehand"
        " ([how](../simulation/bounds.md))."
    )


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
            f"`{scenario_sha256(summary.scenario)[:_SHOWN_DIGITS]}`",
            f"{summary.scenario.warmup_seconds:g} + {summary.scenario.window_seconds:g}",
            ", ".join(map(str, summary.seeds)),
        )
        for name, summary in studies.items()
    ]
    header = (
        *("scenario", "trace", "trace sha256", "models sha256", "scenario sha256"),
        *("warm-up + window s", "seeds"),
    )
    yield markdown_table(header, rows, texts=5)
    code = next(iter(studies.values())).code_sha256
    yield f"Code of policies and simulator, sha256: `{code}`."
    yield (
        "One row by itself: `headrace simulate SCENARIO --seeds ... --window-seconds ...`, with "
        "these values."
    )
    for summary in studies.values():
        if summary.source.warning is not None:
            yield f"**{summary.scenario.name}: {summary.source.warning}**"


def _reach(findings: Findings) -> Iterator[str]:
    yield "## Reach"
    met = sum(target.met for target in findings.targets)
    yield f"{met} of {len(findings.targets)} targets are met. In brackets: 95 % intervals."
    yield _verdicts("target", findings.targets)


def _verdicts(what: str, found: Sequence[Target]) -> str:
    rows = [(one.claim, one.measured, "yes" if one.met else "**no**") for one in found]
    return markdown_table((what, "measured", "met"), rows, texts=3)


def _short(findings: Findings) -> Iterator[str]:
    yield "## Where it falls short"
    missed = [
        f"- {one.claim}: {one.measured}.{f' Why: {one.why}.' if one.why else ''}"
        for one in findings.targets
        if not one.met
    ]
    yield "\n".join(missed) if missed else "No target is missed."


def _lost(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    yield "## Where a rival does better"
    yield (
        "Every case in which a rival keeps the objectives for 99 % with fewer joules per token "
        "than `dispatch`, or attains more where `dispatch` does not keep them; the rival's value "
        "comes first."
    )
    rows = [(one.where, one.rival, one.what, one.why) for one in losses(studies)]
    header = ("where", "rival", "better in", "what else differs")
    yield markdown_table(header, rows, texts=4) if rows else "There is none."


def _gates(found: Sequence[Target]) -> Iterator[str]:
    yield "## The simulated hardware against its data"
    yield (
        "Errors on data that the fit did not see. The H100's gates must hold, and tests hold them; "
        "the B200's are told as they are."
    )
    yield _verdicts("gate", found)
    reasons = dict.fromkeys(f"- {one.claim}: {one.why}." for one in found if one.why)
    if reasons:
        yield "\n".join(reasons)


def _fluid(found: Sequence[FluidFigures]) -> Iterator[str]:
    if not found:
        return
    yield "## Two weeks at fluid level"
    yield (
        f"Fleet F2 over {DAYS} days of a declared curve with a mean of {FLUID_LOAD:g} requests/s "
        f"on weekdays and {WEEKEND_RATIO:.0%} of it at weekends: a rate an hour, no bursts. CO2 "
        f"with the hourly intensity of `{CARBON_FILE}`, July."
    )
    if any(one.kilograms_co2e is None for one in found):
        yield f"**CO2 is NOT computed: there is no {CARBON_FILE} in the data folder.**"
    rows = [
        (
            one.name,
            number(one.kilowatt_hours, digits=0),
            number(one.joules_per_token, digits=3),
            number(one.kilograms_co2e, digits=1),
        )
        for one in found
    ]
    yield markdown_table(("carried", "kWh", "J/token", "kg CO2e"), rows)


def _plots(figures: Sequence[str]) -> Iterator[str]:
    if figures:
        yield "## Plots"
        yield "\n\n".join(f"![{Path(name).stem} (simulated)]({name})" for name in figures)


def _wall_times(findings: Findings) -> Iterator[str]:
    yield "## On the machine that wrote this page"
    if findings.speed is not None:
        yield (
            f"The simulation took {findings.speed.wall_seconds:.0f} s on one core for "
            f"{findings.speed.simulated_seconds:.0f} s of traffic with "
            f"{findings.speed.requests} requests."
        )
    yield "Decisions at 22 requests/s on fleet F2, in wall time, the ledger included:"
    rows = [
        (
            one.arm,
            str(one.picks),
            number(one.p50_seconds, scale=1e6, digits=0),
            number(one.p99_seconds, scale=1e6, digits=0),
        )
        for one in findings.decisions
    ]
    yield markdown_table(("arm", "decisions", "p50 us", "p99 us"), rows)


def _arms(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    yield "## Arms"
    played = {arm: None for summary in studies.values() for arm in summary.scenario.arms}
    plans = [arm_plan(arm) for arm in sorted(played, key=arm_order)]
    yield markdown_table(
        ("arm", "policy", "what sets it apart"),
        [(plan.name, plan.policy, plan.what) for plan in plans],
        texts=3,
    )


def _tables(studies: Mapping[str, StudySummary]) -> Iterator[str]:
    yield "## Figures"
    yield FOOTNOTE
    yield DETAIL_FOOTNOTE
    yield ACCOUNT_FOOTNOTE
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
            yield markdown_table(*detail_table(point))
            accounts = account_table(point)
            if accounts is not None:
                yield markdown_table(*accounts)
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
