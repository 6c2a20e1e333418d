"""`headrace simulate --workers`: the same arms as several router workers, against one."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from headrace.config_errors import BadInputError
from loadtest.reports.json_report import dumps, study_document
from loadtest.reports.worker_page import FOOTNOTE, HEADER, worker_page, worker_rows
from loadtest.simulator.arms import OURS, WORKERS
from loadtest.study.study import Study
from loadtest.study.summary import StudySummary
from loadtest.study.worker_pairs import arms_of, worker_pairs


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="also as N router workers, with a shared ledger and without, against one",
    )


def problems(args: argparse.Namespace) -> Iterator[str]:
    """What is wrong with the option."""
    if args.workers is None:
        return
    if args.workers not in WORKERS:
        yield f"simulate: --workers must be {WORKERS[0]} to {WORKERS[-1]}, got {args.workers}."
    split = [policy for policy in _policies(args) if "@" in policy or "+" in policy]
    if split:
        yield f"simulate: --workers: --policy must name plain arms, got {split[0]!r}."


def arms(args: argparse.Namespace) -> tuple[str, ...]:
    """The arms to play; none: the scenario's."""
    if args.workers is None:
        return tuple(dict.fromkeys(args.policy or ()))
    return arms_of(_policies(args), args.workers)


def print_workers(console: Console, summary: StudySummary, args: argparse.Namespace) -> None:
    """The comparison for the terminal."""
    for policy in _policies(args):
        table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
        for index, column in enumerate(HEADER):
            table.add_column(column, justify="left" if index < len(HEADER[:2]) else "right")
        for row in worker_rows(summary, policy, args.workers):
            table.add_row(*row)
        console.print(table)
    console.print(FOOTNOTE)


def write_worker_page(study: Study, args: argparse.Namespace) -> list[Path]:
    """The page, and `report.json` in the folder of its name.

    Raises:
        BadInputError: They cannot be written.
    """
    page: Path = args.page
    report = page.with_suffix("") / "report.json"
    policies = _policies(args)
    pairs = [
        asdict(pair)
        for policy in policies
        for shared in (True, False)
        for pair in worker_pairs(study.summary.points, policy, args.workers, shared=shared)
    ]
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        document = study_document(study.summary) | {"worker_pairs": pairs}
        report.write_text(dumps(document), encoding="utf-8")
        command = " ".join(_command(args))
        text = worker_page(study.summary, policies, args.workers, command=command)
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"simulate: --page {page}: {error.strerror or error}.") from error
    return [report, page]


def _policies(args: argparse.Namespace) -> list[str]:
    return list(dict.fromkeys(args.policy or [OURS]))


def _command(args: argparse.Namespace) -> Iterator[str]:
    yield f"headrace simulate {Path(args.scenario).name} --workers {args.workers}"
    if args.policy:
        yield f"--policy {' '.join(args.policy)}"
    yield f"--seeds {args.seeds}"
    if args.window_seconds is not None:
        yield f"--window-seconds {args.window_seconds:g}"
    # Where somebody's own folders are does not belong on the page.
    yield f"--page {args.page.name if args.page.is_absolute() else args.page}"
