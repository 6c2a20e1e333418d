"""`headrace bench policies`: all policies on the standard scenarios, beside the bounds."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from headrace.bench.figures import write_figures
from headrace.bench.gates import gates
from headrace.bench.page import FLUID_LOAD, Findings, policies_page, report_document
from headrace.bench.standard import HEADLINE, STANDARD, scenario_of
from headrace.bench.targets import Speed, Target, targets
from headrace.config_errors import BadInputError
from headrace.simulate import parse_seeds, print_summary, progress_bar
from loadtest.reports.json_report import dumps
from loadtest.simulator.arms import OURS
from loadtest.simulator.scenario import DEFAULT_ARMS, Point, ScenarioError
from loadtest.study.decision_time import DecisionTime, time_decisions
from loadtest.study.fluid import fluid_weeks
from loadtest.study.jobs import Job, play
from loadtest.study.scenario_files import load_scenario
from loadtest.study.slices import source_of
from loadtest.study.study import Study, cost, plan_study, run_studies
from loadtest.study.workers import workers

DEFAULT_PAGE = Path("docs/benchmarks/policies.md")
"""Where the page goes in a checkout, unless told otherwise; quick figures go nowhere by default."""

_SPEED_LOAD = 20.0
_SPEED_SECONDS = 3600.0
_DECISION_LOAD = 22.0


def run(args: argparse.Namespace) -> int:
    """Play the standard set, print and write what it came to; 0 whatever the figures are."""
    page = args.out or (None if args.quick else DEFAULT_PAGE)
    _check(args, page)
    console = Console()
    seeds = (0,) if args.quick else parse_seeds(args.seeds, command="bench")
    try:
        studies = _studies(seeds, args, console)
        speed = None if args.quick else _speed(console)
        decisions = _decisions(console)
    except ScenarioError as error:
        raise BadInputError(*error.problems) from error
    summaries = {one.summary.scenario.name: one.summary for one in studies}
    findings = Findings(
        studies=summaries,
        targets=tuple(targets(summaries, speed)),
        gates=tuple(gates()),
        speed=speed,
        decisions=decisions,
        fluid=fluid_weeks(load_scenario(HEADLINE), weekday_requests_per_second=FLUID_LOAD),
        command=_command(args),
        quick=args.quick,
    )
    for summary in summaries.values():
        print_summary(console, summary)
    for target in (*findings.targets, *findings.gates):
        console.print(_line(target), markup=False, soft_wrap=True)
    if args.report is not None:
        _write(console, args.report, dumps(report_document(findings)))
    if page is not None:
        folder = page.with_suffix("")
        figures = _drawn(console, studies, folder)
        names = [f"{folder.name}/{path.name}" for path in figures]
        _write(console, page, policies_page(findings, figures=names))
    return 0


def _check(args: argparse.Namespace, page: Path | None) -> None:
    problems = []
    if args.report is not None and not args.report.absolute().parent.is_dir():
        problems.append(f"bench: --report {args.report}: there is no such folder.")
    if page is DEFAULT_PAGE:
        if not page.parent.parent.is_dir():
            problems.append(
                f"bench: --out FILE is needed here: there is no folder {page.parent.parent} for "
                f"{page}."
            )
    elif page is not None and not page.absolute().parent.is_dir():
        problems.append(f"bench: --out {page}: there is no such folder.")
    if args.jobs < 1:
        problems.append(f"bench: --jobs must be 1 or more, got {args.jobs}.")
    if problems:
        raise BadInputError(*problems)


def _studies(seeds: tuple[int, ...], args: argparse.Namespace, console: Console) -> list[Study]:
    """All rows in one pool, the longest runs first, runs that rows share only once."""
    plans = [
        plan_study(
            scenario_of(row, quick=args.quick),
            seeds=row.seeds(seeds),
            # Plots show them; with a timeline in only one of them they would not share its runs.
            recorded=row.scenario in {HEADLINE, "rivals", "knowledge"},
        )
        for row in STANDARD
    ]
    with (
        workers(args.jobs) as crew,
        progress_bar(console, "the standard set", cost(plans)) as progress,
    ):
        return run_studies(plans, crew=crew, progress=progress)


def _job(load: float, arm: str, **changes: object) -> Job:
    scenario = load_scenario(HEADLINE, changes={"loads_requests_per_second": (load,), **changes})
    return Job(
        scenario=scenario,
        source=source_of(scenario),
        point=Point(load, "none"),
        arm=arm,
        seed=0,
    )


def _speed(console: Console) -> Speed:
    """Time an hour of traffic on one core."""
    job = _job(_SPEED_LOAD, OURS, warmup_seconds=0.0, window_seconds=_SPEED_SECONDS)
    with progress_bar(console, "an hour on one core", _SPEED_SECONDS) as progress:
        start_seconds = time.perf_counter()
        outcome = play(job, lambda _: progress(1.0))
        wall_seconds = time.perf_counter() - start_seconds
    return Speed(
        wall_seconds=wall_seconds,
        simulated_seconds=_SPEED_SECONDS,
        requests=outcome.result.requests,
        replicas=sum(plan.replicas for plan in job.scenario.plans()),
    )


def _decisions(console: Console) -> tuple[DecisionTime, ...]:
    """Time the decisions of the main arms, one after the other."""
    with progress_bar(console, "decisions", len(DEFAULT_ARMS)) as progress:
        timed = []
        for arm in DEFAULT_ARMS:
            job = _job(_DECISION_LOAD, arm, warmup_seconds=0.0, window_seconds=60.0)
            timed.append(time_decisions(job))
            progress(1.0)
    return tuple(timed)


def _drawn(console: Console, studies: list[Study], folder: Path) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = list(write_figures(studies, folder))
    except OSError as error:
        raise BadInputError(f"bench: {folder}: {error.strerror or error}.") from error
    for path in paths:
        console.print(f"written: {path}", markup=False, soft_wrap=True)
    return paths


def _command(args: argparse.Namespace) -> str:
    return " ".join(("headrace bench policies", *_flags(args)))


def _flags(args: argparse.Namespace) -> Iterator[str]:
    if args.quick:
        yield "--quick"
    elif args.seeds != "0-4":
        yield f"--seeds {args.seeds}"
    if args.out is not None:
        # Where somebody's own folders are does not belong on the page.
        yield f"--out {args.out.name if args.out.is_absolute() else args.out}"


def _line(target: Target) -> str:
    return f"{'met' if target.met else 'NOT'}  {target.claim}: {target.measured}"


def _write(console: Console, path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"bench: {path}: {error.strerror or error}.") from error
    console.print(f"written: {path}", markup=False, soft_wrap=True)
