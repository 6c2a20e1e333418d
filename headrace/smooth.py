"""`headrace smooth`: deals instances over the power tree so that their peaks do not meet."""

import argparse
import csv
import hashlib
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from capper.decide.domains import DomainTree
from capper.decide.smoothing import Dealing, SmoothingPlan, deal
from capper.decide.smoothing_hints import Hint, peak_board, placement_hints
from capper.decide.smoothing_traces import HistoryError, TraceRules
from headrace.config_errors import BadInputError
from headrace.simulate import progress_bar
from headrace.smooth_cases import SHIPPED
from headrace.smooth_example import run_example
from headrace.smooth_history import History, read_csv, read_prometheus
from headrace.smooth_plots import peaks_plot
from headrace.smooth_report import (
    Table as Rows,
)
from headrace.smooth_report import (
    headroom_table,
    hint_table,
    leaf_table,
    plan_document,
    plan_rows,
    summary_line,
)
from headrace.smooth_tree import tree_of
from loadtest.reports.json_report import dumps

_LEAST_DAYS, _MOST_DAYS = 7, 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--history", metavar="FILE|URL", help="a CSV file, or a Prometheus")
    source.add_argument("--example", action="store_true", help="declared weeks, simulated")
    parser.add_argument(
        "--cases", type=Path, default=SHIPPED, metavar="FILE", help="declared weeks of your own"
    )
    tree = parser.add_mutually_exclusive_group()
    tree.add_argument("--config", type=Path, metavar="FILE", help="PowerCappingConfig")
    tree.add_argument("--fleet", type=Path, metavar="FILE", help="fleet file")
    parser.add_argument("--query", metavar="PROMQL", help="in place of Headrace's rules")
    parser.add_argument("--days", type=int, default=_LEAST_DAYS, metavar="N", help="of Prometheus")
    parser.add_argument("--step-seconds", type=float, default=300.0, metavar="S", help="of traces")
    parser.add_argument("--clusters", type=int, default=4, metavar="N", help="groups of traces")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of groups and weeks")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write JSON, tables and plots there"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the example's page")


def run(args: argparse.Namespace) -> int:
    """Plan, show, write."""
    _check(args)
    console = Console(soft_wrap=True)
    try:
        if args.example:
            return run_example(args, console)
        return _run_plan(args, console)
    except OSError as error:
        place = error.filename or args.out or args.page
        raise BadInputError(
            f"smooth: {place}: cannot be written: {error.strerror or error}."
        ) from error


def _check(args: argparse.Namespace) -> None:
    problems = []
    if not _LEAST_DAYS <= args.days <= _MOST_DAYS:
        problems.append(f"smooth: --days must be {_LEAST_DAYS} to {_MOST_DAYS}, got {args.days}.")
    if args.clusters < 1:
        problems.append(f"smooth: --clusters must be 1 or more, got {args.clusters}.")
    if args.page is not None and not args.example:
        problems.append("smooth: --page belongs to --example.")
    try:
        _ = TraceRules(step_seconds=args.step_seconds).steps
    except HistoryError as error:
        problems.append(f"smooth: --step-seconds: {error}")
    if problems:
        raise BadInputError(*problems)


def _run_plan(args: argparse.Namespace, console: Console) -> int:
    history = _history(args, console)
    tree = tree_of(history.traces, source=history.source, config=args.config, fleet=args.fleet)
    try:
        plan = deal(history.traces, tree, Dealing(clusters=args.clusters, seed=args.seed))
    except HistoryError as error:
        raise BadInputError(f"{history.source}: {error}") from error
    board = peak_board(history.traces, tree)
    hints = {service: placement_hints(board, service) for service in history.traces.services}
    _print(console, history, tree, plan, hints)
    if args.out is not None:
        for path in _write(args, history, tree, plan, hints):
            console.print(f"written: {path}", markup=False)
    return 0


def _history(args: argparse.Namespace, console: Console) -> History:
    rules = TraceRules(step_seconds=args.step_seconds)
    if not args.history.startswith(("http://", "https://")):
        return read_csv(Path(args.history), rules)
    with progress_bar(console, f"reading {args.days} days", args.days) as advance:

        def read(_read: int, days: int) -> None:
            advance(args.days / days)

        return read_prometheus(args.history, rules, query=args.query, days=args.days, progress=read)


def _print(
    console: Console,
    history: History,
    tree: DomainTree,
    plan: SmoothingPlan,
    hints: dict[str, tuple[Hint, ...]],
) -> None:
    traces = history.traces
    console.print(
        f"{history.source}: {traces.weeks:.1f} weeks, steps of {traces.step_seconds:g} s;"
        f" {len(traces.services)} services.",
        markup=False,
    )
    for note in traces.notes:
        console.print(note, style="yellow", markup=False)
    console.print(summary_line(traces, plan, tree), style="bold", markup=False)
    print_table(console, headroom_table(plan))
    console.print("Instances of each service as planned (now):")
    print_table(console, leaf_table(traces, plan, tree))
    console.print("Where one more replica raises the peaks least, as the instances hang now:")
    print_table(console, hint_table(hints), texts=4)


def print_table(console: Console, rows: Rows, *, texts: int = 1) -> None:
    """A table whose first `texts` columns are text."""
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    for number, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if number < texts else "right", no_wrap=True)
    for row in rows[1]:
        table.add_row(*row)
    console.print(table)


def _write(
    args: argparse.Namespace,
    history: History,
    tree: DomainTree,
    plan: SmoothingPlan,
    hints: dict[str, tuple[Hint, ...]],
) -> list[Path]:
    folder: Path = args.out
    folder.mkdir(parents=True, exist_ok=True)
    inputs: dict[str, Any] = {
        "history": history.source,
        "history_sha256": history.sha256,
        "query": args.query,
        "clusters": args.clusters,
        "seed": args.seed,
    }
    for name in ("config", "fleet"):
        path: Path | None = getattr(args, name)
        if path is not None:
            inputs |= {name: str(path), f"{name}_sha256": _sha256(path)}
    report, rows, plot = folder / "report.json", folder / "plan.csv", folder / "peaks.png"
    document = plan_document(history.traces, plan, tree, hints, inputs=inputs)
    report.write_text(dumps(document), encoding="utf-8")
    with rows.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("instance", "service", "leaf_now", "leaf_planned", "peak_watts", "trace"))
        writer.writerows(plan_rows(history.traces, plan))
    placements = {"planned": plan.leaves}
    if plan.before:
        now = {one.name: one.leaf for one in history.traces.instances if one.leaf is not None}
        placements = {"now": now, **placements}
    peaks_plot(
        history.traces, tree, placements, title=summary_line(history.traces, plan, tree), path=plot
    )
    return [report, rows, plot]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
