"""`headrace bench policies`: all policies on the standard scenarios, beside the bounds."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from headrace.bench.page import policies_page, report_document
from headrace.bench.targets import Speed, Target, targets
from headrace.config_errors import BadInputError
from headrace.simulate import parse_seeds, print_summary, progress_bar
from loadtest.reports.json_report import dumps
from loadtest.simulator.arms import OURS
from loadtest.simulator.scenario import DEFAULT_ARMS, Point, Scenario, ScenarioError
from loadtest.study.jobs import Job, play
from loadtest.study.scenario_files import load_scenario
from loadtest.study.slices import source_of
from loadtest.study.study import run_study, steps
from loadtest.study.summary import StudySummary
from loadtest.study.workers import workers

STANDARD = (
    "azure-conv-f2",
    "azure-code-f2",
    "azure-conv-f1",
    "azure-conv-f3",
    "azure-conv-f4-70b",
    "overload",
    "step",
    "faults",
    "mismatch",
    "knowledge",
)
"""The scenarios of the benchmark, in the order of the page."""

_QUICK_SECONDS = 30.0
_SPEED_LOAD = 20.0
_SPEED_SECONDS = 3600.0


def run(args: argparse.Namespace) -> int:
    """Play the standard set, print and write what it came to; 0 whatever the figures are."""
    _check(args)
    console = Console()
    seeds = (0,) if args.quick else parse_seeds(args.seeds, command="bench")
    try:
        scenarios = [_scenario(name, quick=args.quick) for name in STANDARD]
        studies = _studies(scenarios, seeds, args.jobs, console)
        speed = None if args.quick else _speed(console)
    except ScenarioError as error:
        raise BadInputError(*error.problems) from error
    found = list(targets(studies, speed))
    for summary in studies.values():
        print_summary(console, summary)
    for target in found:
        console.print(_line(target), markup=False, soft_wrap=True)
    command = _command(args)
    if args.report is not None:
        document = report_document(studies, found, speed, command=command)
        _write(console, args.report, dumps(document))
    if args.out is not None:
        _write(console, args.out, policies_page(studies, found, speed, command=command))
    return 0


def _check(args: argparse.Namespace) -> None:
    problems = [
        f"bench: --{name} {path}: there is no such folder."
        for name, path in (("report", args.report), ("out", args.out))
        if path is not None and not path.absolute().parent.is_dir()
    ]
    if args.jobs < 1:
        problems.append(f"bench: --jobs must be 1 or more, got {args.jobs}.")
    if problems:
        raise BadInputError(*problems)


def _scenario(name: str, *, quick: bool) -> Scenario:
    if not quick:
        return load_scenario(name)
    full = load_scenario(name)
    kept = [arm for arm in full.arms if arm in DEFAULT_ARMS]
    prior_arms = [arm for arm in full.arms if arm.startswith("dispatch-prior")]
    changes: dict[str, object] = {"arms": (*kept, *prior_arms), "step": None}
    if full.fault_cases.keys() == {"none"}:
        changes |= {"window_seconds": _QUICK_SECONDS, "warmup_seconds": _QUICK_SECONDS}
    return load_scenario(name, changes=changes)


def _studies(
    scenarios: list[Scenario], seeds: tuple[int, ...], processes: int, console: Console
) -> dict[str, StudySummary]:
    total = sum(steps(scenario, seeds) for scenario in scenarios)
    with (
        workers(processes) as crew,
        progress_bar(console, "the standard set", total) as progress,
    ):
        return {
            scenario.name: run_study(scenario, seeds=seeds, crew=crew, progress=progress).summary
            for scenario in scenarios
        }


def _speed(console: Console) -> Speed:
    """Time an hour of traffic on one core."""
    scenario = load_scenario(
        STANDARD[0],
        changes={
            "loads_requests_per_second": (_SPEED_LOAD,),
            "warmup_seconds": 0.0,
            "window_seconds": _SPEED_SECONDS,
        },
    )
    job = Job(
        scenario=scenario,
        source=source_of(scenario),
        point=Point(_SPEED_LOAD, "none"),
        arm=OURS,
        seed=0,
    )
    with progress_bar(console, "an hour on one core", _SPEED_SECONDS) as progress:
        start_seconds = time.perf_counter()
        outcome = play(job, lambda _: progress(1.0))
        wall_seconds = time.perf_counter() - start_seconds
    return Speed(
        wall_seconds=wall_seconds,
        simulated_seconds=_SPEED_SECONDS,
        requests=outcome.result.requests,
        replicas=sum(plan.replicas for plan in scenario.plans()),
    )


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
