"""`headrace bench extproc`: what the router costs beside the least that a server can cost.

A real Envoy per arm; arms take turns in every cell, so that a change of the machine's speed hits
all alike. Everything runs on this machine, on loopback.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from headrace.bench.extproc_arms import Arm
from headrace.bench.extproc_figures import (
    ARMS,
    Cell,
    Figures,
    Memory,
    Sample,
    document,
    figures,
)
from headrace.bench.extproc_page import page
from headrace.child_process import ChildStartError
from headrace.config_errors import BadInputError
from headrace.envoy_plan import EnvoyBodyMode

_SETTLE_SECONDS = 0.5
_SMALL_BYTES = 512


class BenchError(RuntimeError):
    """What was measured is not what was to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is measured.

    Attributes:
        rounds: How often every arm has its turn in a cell.
        window_seconds: How long a turn is.
    """

    fleets: tuple[int, ...] = (8, 100, 1000)
    modes: tuple[EnvoyBodyMode, ...] = tuple(EnvoyBodyMode)
    body_bytes: tuple[int, ...] = (_SMALL_BYTES, 8_000, 220_000, 1_000_000)
    concurrencies: tuple[int, ...] = (1, 16, 128)
    rounds: int = 5
    window_seconds: float = 3.0

    def lanes(self) -> Iterator[tuple[int, EnvoyBodyMode]]:
        """Fleets and modes: each has its own processes."""
        for replicas in self.fleets:
            for mode in self.modes:
                yield replicas, mode

    def cells(self, replicas: int, mode: EnvoyBodyMode) -> Iterator[Cell]:
        """What is measured with the same processes."""
        for body_bytes in self.body_bytes:
            for concurrency in self.concurrencies:
                yield Cell(
                    body_mode=mode.value,
                    replicas=replicas,
                    body_bytes=body_bytes,
                    concurrency=concurrency,
                )

    def turns(self) -> int:
        """How many windows there are."""
        cells = len(self.body_bytes) * len(self.concurrencies)
        return len(self.fleets) * len(self.modes) * cells * self.rounds * len(ARMS)


FULL = Grid()
QUICK = Grid(
    fleets=(8,),
    body_bytes=(_SMALL_BYTES, 220_000),
    concurrencies=(1, 16),
    rounds=1,
    window_seconds=1.0,
)


def run(args: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON and the page that were asked for."""
    if sys.platform != "linux":
        raise BadInputError("bench extproc: needs Linux, for CPU times from /proc.")
    for path in (args.report, args.out):
        if path is not None and not path.parent.is_dir():
            raise BadInputError(f"{path}: there is no such folder.")
    console = Console()
    try:
        report = asyncio.run(measure(QUICK if args.quick else FULL, console))
    except (BenchError, ChildStartError) as error:
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    _print(console, report)
    if args.report is not None:
        args.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {args.report}", markup=False, soft_wrap=True)
    if args.out is not None:
        args.out.write_text(page(report), encoding="utf-8")
        console.print(f"written: {args.out}", markup=False, soft_wrap=True)
    failed = sum(one["failed_requests"] for cell in report["cells"] for one in cell["figures"])
    if failed:
        console.print(f"{failed} requests failed")
    return 1 if failed else 0


async def measure(grid: Grid, console: Console) -> dict[str, Any]:
    """The report as plain values; see extproc_figures.document.

    Raises:
        ChildStartError: When a process does not come up.
        BenchError: When requests passed by a server.
    """
    found: list[tuple[Cell, tuple[Figures, ...]]] = []
    memory: list[Memory] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("starting", total=grid.turns())
        for replicas, mode in grid.lanes():
            async with _arms(replicas, mode) as arms:
                for cell in grid.cells(replicas, mode):
                    label = f"{mode.value}, {replicas} replicas, {cell.body_bytes} bytes"
                    progress.update(task, description=f"{label}, {cell.concurrency} connections")
                    rounds = []
                    for _ in range(grid.rounds):
                        rounds.append(await _round(arms, cell, grid.window_seconds))
                        progress.advance(task, len(arms))
                    found.append((cell, figures(rounds)))
                await _require_all_asked(arms)
                memory += [
                    Memory(arm=it.name, body_mode=mode.value, replicas=replicas, peak_bytes=peak)
                    for it in arms
                    if (peak := it.peak_bytes()) is not None
                ]
    return document(
        found,
        memory,
        rounds=grid.rounds,
        window_seconds=grid.window_seconds,
        machine={
            "cores": os.cpu_count() or 1,
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
    )


async def _round(arms: list[Arm], cell: Cell, window_seconds: float) -> dict[str, Sample]:
    return {
        arm.name: await arm.measure(
            body_bytes=cell.body_bytes, concurrency=cell.concurrency, seconds=window_seconds
        )
        for arm in arms
    }


async def _require_all_asked(arms: list[Arm]) -> None:
    """Requests that pass by a server would make it look cheap."""
    for arm in arms:
        passed = await arm.went_around()
        if passed:
            raise BenchError(f"{passed} requests passed by the server of the arm {arm.name!r}")


@contextlib.asynccontextmanager
async def _arms(replicas: int, mode: EnvoyBodyMode) -> AsyncIterator[list[Arm]]:
    """All arms before one upstream, warmed up."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
        addresses = await stack.enter_async_context(_upstream(replicas))
        arms = [
            await stack.enter_async_context(Arm(name, mode, addresses, folder)) for name in ARMS
        ]
        for arm in arms:
            await arm.measure(body_bytes=_SMALL_BYTES, concurrency=4, seconds=_SETTLE_SECONDS)
        yield arms


@contextlib.asynccontextmanager
async def _upstream(replicas: int) -> AsyncIterator[list[str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "headrace.bench.extproc_upstream", str(replicas)),
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _print(console: Console, report: dict[str, Any]) -> None:
    table = Table(title="ext_proc, medians of rounds")
    for name in ("cell", "arm", "requests/s", "CPU us", "of floor", "added p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if name in {"cell", "arm"} else "right")
    for cell in report["cells"]:
        place = "{body_mode} {replicas}r {body_bytes}B c{concurrency}".format_map(cell)
        for one in cell["figures"]:
            cpu_seconds, ratio = one["server_cpu_seconds"], one["server_cpu_ratio"]
            table.add_row(
                place,
                one["arm"],
                f"{one['requests_per_second']:.0f}",
                "-" if cpu_seconds is None else f"{cpu_seconds * 1e6:.0f}",
                "-" if ratio is None else f"{ratio:.2f}",
                f"{one['added_p50_seconds'] * 1e3:.2f}",
                f"{one['added_p99_seconds'] * 1e3:.2f}",
            )
            place = ""
    console.print(table)
    for one in report["memory"]:
        console.print(
            f"peak memory of {one['arm']}, {one['body_mode']}, {one['replicas']} replicas: "
            f"{one['peak_bytes'] / 2**20:.0f} MiB"
        )
