"""`headrace bench peers`: other routers before the same upstreams, under the same load.

Arms take turns in every cell, so that a change of the machine's speed hits all alike. Everything
runs on this machine, on loopback. Rivals that are not there, or fail, are reported; the others go
on.
"""

import argparse
import asyncio
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from headrace.bench.outputs import require_folders, require_linux, write, write_report
from headrace.bench.peers_arms import ArmError
from headrace.bench.peers_catalogue import PEERS
from headrace.bench.peers_figures import OWN
from headrace.bench.peers_install import FOLDER, install_missing
from headrace.bench.peers_page import page
from headrace.bench.peers_run import FULL, QUICK, measure
from headrace.bench.peers_table import WORDS, tables
from headrace.child_process import ChildStartError


def run(args: argparse.Namespace) -> int:
    """Install what was asked for, measure, print the table, write the JSON and the page."""
    require_linux(args)
    require_folders(args)
    console = Console()
    failed = install_missing(PEERS, FOLDER, console) if args.install else {}
    try:
        grid = QUICK if args.quick else FULL
        report = asyncio.run(measure(grid, PEERS, FOLDER, console, absent=failed))
    except (ArmError, ChildStartError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    _print(console, report)
    write_report(console, args.report, report)
    write(console, args.out, page(report))
    return _status(console, report)


def _print(console: Console, report: Mapping[str, Any]) -> None:
    for table in tables(report):
        console.print(table)
    console.print(WORDS)
    for it in report["arms"]:
        if it["absent"] is not None:
            console.print(f"{it['name']}: {it['absent']}", markup=False, soft_wrap=True)


def _status(console: Console, report: Mapping[str, Any]) -> int:
    """1 when requests of our own arms failed: those of rivals are a finding."""
    failed = sum(
        one["failed_requests"]
        for cell in report["cells"]
        for one in cell["figures"]
        if one["arm"] in OWN
    )
    if failed:
        console.print(f"{failed} requests failed at arms of our own")
    return 1 if failed else 0
