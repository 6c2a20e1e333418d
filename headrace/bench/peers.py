"""`headrace bench peers`: other routers before the same upstreams, under the same load.

Arms take turns in every cell, so that a change of the machine's speed hits all alike. Everything
runs on this machine, on loopback. Rivals that are not there, or fail, are reported; the others go
on.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from headrace.bench.peers_arms import ArmError
from headrace.bench.peers_catalogue import PEERS
from headrace.bench.peers_figures import OWN
from headrace.bench.peers_install import FOLDER, install_missing
from headrace.bench.peers_page import page
from headrace.bench.peers_run import FULL, QUICK, measure
from headrace.bench.peers_table import tables
from headrace.child_process import ChildStartError
from headrace.config_errors import BadInputError


def run(args: argparse.Namespace) -> int:
    """Install what was asked for, measure, print the table, write the JSON and the page."""
    if sys.platform != "linux":
        raise BadInputError("bench peers: needs Linux, for CPU times from /proc.")
    for path in (args.report, args.out):
        if path is not None and not path.parent.is_dir():
            raise BadInputError(f"{path}: there is no such folder.")
    console = Console()
    failed = install_missing(PEERS, FOLDER, console) if args.install else {}
    try:
        grid = QUICK if args.quick else FULL
        report = asyncio.run(measure(grid, PEERS, FOLDER, console, absent=failed))
    except (ArmError, ChildStartError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    _print(console, report)
    _write(console, args.report, json.dumps(report, indent=2) + "\n")
    _write(console, args.out, page(report))
    return _status(console, report)


def _print(console: Console, report: Mapping[str, Any]) -> None:
    for table in tables(report):
        console.print(table)
    for it in report["arms"]:
        if it["absent"] is not None:
            console.print(f"{it['name']}: {it['absent']}", markup=False, soft_wrap=True)


def _write(console: Console, path: Path | None, text: str) -> None:
    if path is not None:
        path.write_text(text, encoding="utf-8")
        console.print(f"written: {path}", markup=False, soft_wrap=True)


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
