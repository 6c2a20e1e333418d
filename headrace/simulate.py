"""`headrace simulate`: plays a scenario, prints what it came to, writes JSON, tables and plots."""

import argparse
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from headrace import simulate_workers
from headrace.config_errors import BadInputError
from headrace.simulate_page import write_page
from loadtest.reports.account_table import ACCOUNT_FOOTNOTE, account_table
from loadtest.reports.cells import markdown_table
from loadtest.reports.json_report import dumps, study_document
from loadtest.reports.plots import write_plots
from loadtest.reports.tables import (
    DETAIL_FOOTNOTE,
    FOOTNOTE,
    bound_line,
    detail_table,
    point_table,
    point_title,
)
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.scenario import Scenario, ScenarioError
from loadtest.study.reach import plan_reach, reached
from loadtest.study.scenario_files import load_scenario
from loadtest.study.study import Study, cost, plan_study, run_studies
from loadtest.study.summary import StudySummary
from loadtest.study.workers import Progress as OnProgress
from loadtest.study.workers import workers

_RANGE = re.compile(r"(?P<low>\d{1,4})(?:-(?P<high>\d{1,4}))?", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("scenario", metavar="SCENARIO", help="a shipped scenario or a YAML file")
    parser.add_argument(
        "--policy", nargs="+", action="extend", metavar="P", help="arms in place of the scenario's"
    )
    parser.add_argument("--seeds", default="0-4", metavar="LIST", help='such as "0-4" or "0,3"')
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write JSON, tables and plots there"
    )
    parser.add_argument(
        "--window-seconds", type=float, metavar="S", help="in place of the scenario's window"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write a page with plots and the targets there"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    simulate_workers.add_workers_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Play the scenario and show the figures."""
    console = Console()
    try:
        scenario = scenario_of(args)
        seeds = parse_seeds(args.seeds, command="simulate")
        shown = args.out is not None or args.page is not None
        plans = [plan_study(scenario, seeds=seeds, recorded=shown)]
        if args.page is not None and args.workers is None:
            plans += plan_reach(scenario, seeds=seeds)
        with (
            workers(args.jobs) as crew,
            progress_bar(console, scenario.name, cost(plans)) as progress,
        ):
            study, *further = run_studies(plans, crew=crew, progress=progress)
    except ScenarioError as error:
        raise BadInputError(*error.problems) from error
    print_summary(console, study.summary)
    if args.workers is not None:
        simulate_workers.print_workers(console, study.summary, args)
    written: list[Path] = []
    if args.out is not None:
        written += _write(study, args.out)
    if args.page is not None and args.workers is not None:
        written += simulate_workers.write_worker_page(study, args)
    elif args.page is not None:
        targets = reached(scenario, [one.summary for one in further])
        written += write_page(study, targets, args)
    for path in written:
        console.print(f"written: {path}", markup=False, soft_wrap=True)
    return 0


def scenario_of(args: argparse.Namespace) -> Scenario:
    """The scenario with what the command line changes.

    Raises:
        BadInputError: A flag is outside its range.
        ScenarioError: The scenario cannot be used.
    """
    problems = [*_unknown_arms(args.policy or ()), *simulate_workers.problems(args)]
    if args.window_seconds is not None and not 0 < args.window_seconds < float("inf"):
        problems.append(f"simulate: --window-seconds must be above 0, got {args.window_seconds}.")
    if args.jobs < 1:
        problems.append(f"simulate: --jobs must be 1 or more, got {args.jobs}.")
    if args.out is not None and args.out.exists() and not args.out.is_dir():
        problems.append(f"simulate: --out {args.out}: is not a folder.")
    if args.page is not None and not args.page.absolute().parent.is_dir():
        problems.append(f"simulate: --page {args.page}: there is no such folder.")
    if problems:
        raise BadInputError(*problems)
    changes: dict[str, object] = {}
    arms = simulate_workers.arms(args)
    if arms:
        changes["arms"] = arms
    if args.window_seconds is not None:
        changes["window_seconds"] = args.window_seconds
    return load_scenario(args.scenario, changes=changes)


def _unknown_arms(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        try:
            arm_plan(name)
        except KeyError as error:
            yield f"simulate: --policy {error.args[0]}."


def parse_seeds(text: str, *, command: str) -> tuple[int, ...]:
    """Seeds from "0-4", "0,3" or both, each once and sorted.

    Raises:
        BadInputError: It is something else.
    """
    ranges = [_RANGE.fullmatch(part) for part in text.split(",")]
    seeds = {
        seed
        for match in ranges
        if match is not None
        for seed in range(int(match["low"]), int(match["high"] or match["low"]) + 1)
    }
    if None in ranges or not seeds:
        raise BadInputError(
            f'{command}: --seeds must be such as "0-4" or "0,3", from 0 to 9999, got {text!r}.'
        )
    return tuple(sorted(seeds))


@contextmanager
def progress_bar(console: Console, title: str, total: float) -> Iterator[OnProgress]:
    """A bar that fills while the block runs; nothing is left of it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(f"simulating {title}", total=total)
        yield lambda done: bar.advance(task, done)


def print_summary(console: Console, summary: StudySummary) -> None:
    """Tables for the terminal."""
    scenario = summary.scenario
    console.print(
        f"{scenario.description}. Simulated; objectives: TTFT "
        f"{scenario.ttft_objective_seconds:g} s, TPOT "
        f"{1000 * scenario.tpot_objective_seconds:g} ms; seeds "
        f"{', '.join(map(str, summary.seeds))}."
    )
    if summary.source.warning is not None:
        console.print(summary.source.warning, style="yellow", markup=False)
    for point in summary.points:
        header, rows = point_table(point)
        console.print(point_title(scenario, point), style="bold", markup=False)
        table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
        for index, column in enumerate(header):
            table.add_column(
                column,
                justify="right" if index else "left",
                no_wrap=True,
            )
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print(bound_line(point) + "\n")
    console.print(FOOTNOTE)


def _write(study: Study, folder: Path) -> Iterator[Path]:
    """Everything into the folder.

    Raises:
        BadInputError: It cannot be written to.
    """
    summary = study.summary
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report, table = folder / "report.json", folder / "table.md"
        report.write_text(dumps(study_document(summary)), encoding="utf-8")
        yield report
        table.write_text(_page(summary), encoding="utf-8")
        yield table
        yield from write_plots(summary, study.recorded, folder)
    except OSError as error:
        raise BadInputError(f"simulate: --out {folder}: {error.strerror or error}.") from error


def _page(summary: StudySummary) -> str:
    parts: list[str] = [f"# {summary.scenario.name} (simulated)", summary.scenario.description]
    for point in summary.points:
        parts += [
            f"## {point_title(summary.scenario, point)}",
            markdown_table(*point_table(point)),
            markdown_table(*detail_table(point)),
        ]
        accounts = account_table(point)
        if accounts is not None:
            parts.append(markdown_table(*accounts))
        parts.append(bound_line(point))
    parts += [FOOTNOTE, DETAIL_FOOTNOTE, ACCOUNT_FOOTNOTE]
    return "\n\n".join(parts) + "\n"
