"""`headrace bench soak`: memory and accounts of a router under an hour of load.

A real router with telemetry behind two real Envoys, one per body mode; answers are streamed for
some seconds, bodies are of mixed sizes, some clients hang up. Everything is on this machine.
"""

import argparse
import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace.bench.open_load import Counts
from headrace.bench.outputs import require_folders, require_linux, write, write_report
from headrace.bench.soak_figures import Reading
from headrace.bench.soak_page import CHECK_COLUMNS, page, shown
from headrace.bench.soak_run import Plan, soak
from headrace.child_process import ChildStartError
from headrace.config_errors import BadInputError

_QUICK = Plan(
    duration_seconds=60.0,
    replicas=8,
    reading_seconds=2.0,
    held_streams=200,
    settle_seconds=2.0,
)


def run(args: argparse.Namespace) -> int:
    """Soak, print the verdicts, write the JSON and the page that were asked for."""
    require_linux(args)
    require_folders(args)
    plan = _plan(args)
    console = Console()

    def tell(reading: Reading, counts: Counts) -> None:
        console.print(
            f"{reading.after_seconds:6.0f} s  {reading.resident_bytes / 2**20:6.1f} MiB  "
            f"{reading.streams_open:5d} streams open  {counts.sent:8d} requests  "
            f"{counts.failed} failed"
        )

    try:
        with tempfile.TemporaryDirectory(prefix="headrace-soak-") as folder:
            report = asyncio.run(soak(plan, Path(folder), tell))
    except TimeoutError:
        console.print("soak: the streams that were to be held did not open")
        return 1
    except (ChildStartError, ConnectionError) as error:
        console.print(f"soak: {error}", markup=False, soft_wrap=True)
        return 1
    _print(console, report)
    write_report(console, args.report, report)
    write(console, args.out, page(report))
    return 0 if all(check["is_met"] for check in report["checks"]) else 1


def _plan(args: argparse.Namespace) -> Plan:
    base = _QUICK if args.quick else Plan()
    plan = replace(
        base,
        duration_seconds=args.duration_seconds or base.duration_seconds,
        replicas=args.replicas or base.replicas,
        workers=args.workers,
        requests_per_second=args.rate or base.requests_per_second,
    )
    if plan.duration_seconds < 3 * plan.reading_seconds:
        raise BadInputError(
            f"--duration-seconds: {plan.duration_seconds:g} is less than three readings, "
            f"{3 * plan.reading_seconds:g} s."
        )
    return plan


def _print(console: Console, report: dict[str, Any]) -> None:
    table = Table(title="soak")
    for name in CHECK_COLUMNS:
        table.add_column(name)
    for check in report["checks"]:
        table.add_row(*shown(check))
    console.print(table)
    figures = report["figures"]
    console.print(
        f"{figures['answered_requests']} requests answered, "
        f"{figures['growth_bytes_per_hour'] / 2**20:+.2f} MiB per hour, "
        f"{figures['growth_bytes_per_million_requests'] / 2**20:+.2f} MiB per million requests, "
        f"{figures['cpu_cores']:.2f} cores, {figures['affinity_blocks']} prompt blocks remembered "
        f"({figures['affinity_blocks_growth']:+d} over the judged part)"
    )
