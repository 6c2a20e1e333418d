"""`headrace bench extproc`: what the router costs beside the least that a server can cost.

A real Envoy per arm; arms take turns in every cell, so that a change of the machine's speed hits
all alike. Everything runs on this machine, on loopback.
"""

import argparse
import asyncio
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from headrace.bench.extproc_grid import FULL, QUICK
from headrace.bench.extproc_page import REACH_COLUMNS, page, reach_row, row
from headrace.bench.extproc_run import measure
from headrace.bench.outputs import require_folders, require_linux, write, write_report

_TABLE_COLUMNS = 185
"""Characters that the table of all cells needs, also where output is no terminal."""
_COLUMNS = (
    *("cell", "arm", "requests/s", "CPU us", "of floor", "of tuned", "busiest", "parent us"),
    *("added p50 ms", "p99 ms", "Envoy p50 ms", "p99 ms", "messages", "load cores", "failed"),
)
_WORDS = (
    "CPU us: of the ext_proc server, per request; of floor, of tuned: over that of those arms; "
    "busiest: the most that one worker used of what all used; parent us: CPU of the process above "
    "them, per request. Added: over the latency of Envoy without ext_proc. Envoy: how long it "
    "waited for the server, by its own account. Messages: to the server and back, per request. "
    "Load cores: CPU cores that the load generator used. Half: requests come at half of the rate "
    "that the router reached."
)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write the JSON and the page that were asked for."""
    require_linux(args)
    require_folders(args)
    console = Console(width=max(Console().width, _TABLE_COLUMNS))
    report = asyncio.run(measure(QUICK if args.quick else FULL, console))
    _print(console, report)
    write_report(console, args.report, report)
    write(console, args.out, page(report))
    failed = sum(one["failed_requests"] for cell in report["cells"] for one in cell["figures"])
    if failed:
        console.print(f"{failed} requests failed")
    for failure in report["failures"]:
        console.print(failure, markup=False, soft_wrap=True)
    return 1 if failed or report["failures"] else 0


def _print(console: Console, report: dict[str, Any]) -> None:
    targets = Table(title="targets")
    for name in REACH_COLUMNS:
        targets.add_column(name)
    for line in report["reach"]:
        targets.add_row(*reach_row(line))
    console.print(targets)
    table = Table(title="ext_proc, medians of rounds", box=box.SIMPLE, collapse_padding=True)
    for name in _COLUMNS:
        is_text = name in {"cell", "arm"}
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for cell in report["cells"]:
        load = "half" if cell["connections"] is None else f"c{cell['connections']}"
        place = f"{cell['body_mode']} {cell['replicas']}r {cell['body_bytes']}B {load}"
        for one in cell["figures"]:
            table.add_row(place, *row(one))
            place = ""
    console.print(table)
    for one in report["usage"]:
        console.print(
            f"{one['arm']}, {one['body_mode']}, {one['replicas']} replicas: "
            f"{one['rest_bytes'] / 2**20:.0f} MiB at rest, {one['peak_bytes'] / 2**20:.0f} at most,"
            f" {one['idle_cpu_cores']:.3f} cores without load"
        )
    for name, what in report["arms"].items():
        console.print(f"{name}: {what}")
    console.print(_WORDS)
