"""`headrace bench scrape`: what it costs a router to know its fleet.

Replicas and exporters are a process of their own that serves pages as vLLM and dcgm-exporter write
them, with values that move. What is measured is another process that does nothing but poll, as the
router does, and its CPU is what the operating system counts for it.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace.bench.extproc_figures import median
from headrace.bench.outputs import (
    machine,
    require_folders,
    require_linux,
    write,
    write_report,
)
from headrace.bench.scrape_arms import Arm, Figures, Skipped, measured
from headrace.bench.scrape_page import COLUMNS, WORDS, page, row
from headrace.child_process import ChildStartError

SCHEMA = 1
_FULL = (
    Arm(replicas=100),
    Arm(replicas=1000),
    Arm(replicas=1000, prometheus_interval_seconds=15.0),
    Arm(replicas=1000, prometheus_interval_seconds=1.0),
)
_SHORT = (
    Arm(replicas=30, windows=1, window_seconds=3.0),
    Arm(replicas=30, windows=1, window_seconds=3.0, prometheus_interval_seconds=1.0),
)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON and the page that were asked for."""
    require_linux(args)
    require_folders(args)
    console = Console()
    try:
        report = asyncio.run(measure(_SHORT if args.quick else _FULL, console))
    except ChildStartError as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    _print(console, report)
    write_report(console, args.report, report)
    write(console, args.out, page(report))
    return 0


async def measure(arms: Sequence[Arm], console: Console) -> dict[str, Any]:
    """The report as plain values.

    Raises:
        ChildStartError: When a process does not come up.
    """
    figures: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    for arm in arms:
        console.print(f"{arm.name} ...", markup=False)
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            found = await measured(arm, Path(folder))
        if isinstance(found, Skipped):
            skipped.append({"arm": arm.name, "reason": found.reason})
        else:
            figures.append(_summary(arm, found))
    return {
        "schema": SCHEMA,
        "machine": machine(),
        "arms": figures,
        "skipped": skipped,
    }


def _summary(arm: Arm, found: Sequence[Figures]) -> dict[str, Any]:
    """Medians over windows; of what is to be known, the worst."""
    last = found[-1]
    return {
        "arm": arm.name,
        "replicas": arm.replicas,
        "interval_seconds": arm.interval_seconds,
        "prometheus_interval_seconds": arm.prometheus_interval_seconds,
        "windows": len(found),
        "window_seconds": arm.window_seconds,
        "poller_cores": statistics.median(one.poller_cores for one in found),
        "prometheus_cores": median(one.prometheus_cores for one in found),
        "snapshots_per_second": statistics.median(one.snapshots_per_second for one in found),
        "pages_per_second": statistics.median(one.pages_per_second for one in found),
        "page_bytes_per_second": statistics.median(one.page_bytes_per_second for one in found),
        "read_bytes_ratio": last.read_bytes_ratio,
        "connections": last.connections,
        "known_ratio": min(one.known_ratio for one in found),
        "resident_bytes": max(one.resident_bytes for one in found),
    }


def _print(console: Console, report: dict[str, Any]) -> None:
    table = Table(title="the poller's process")
    names, *figures = zip(COLUMNS, *map(row, report["arms"]), strict=True)
    for name in names:
        table.add_column(name, justify="left" if name in COLUMNS else "right")
    for line in figures:
        table.add_row(*line)
    console.print(table)
    console.print(WORDS)
    for one in report["skipped"]:
        console.print(f"skipped: {one['arm']}: {one['reason']}", markup=False, soft_wrap=True)
