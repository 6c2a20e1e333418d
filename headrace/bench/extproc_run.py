"""Measures a grid of `headrace bench extproc`."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from headrace.bench import lanes
from headrace.bench.children import upstream
from headrace.bench.extproc_arms import Arm
from headrace.bench.extproc_figures import Cell, Sample, Usage, document, figures
from headrace.bench.extproc_generator import Generator, LoadError
from headrace.bench.extproc_grid import (
    SCRAPE_SECONDS,
    WAITING_BYTES,
    Grid,
    Lane,
    saturated_requests_per_second,
)
from headrace.bench.extproc_reach import reach
from headrace.bench.outputs import machine
from headrace.child_process import ChildStartError

_SETTLE_SECONDS = 0.5
_WARM_UP = Cell(body_mode="", replicas=0, body_bytes=512, connections=4)

_Found = list[tuple[Cell, list[dict[str, Any]]]]


async def measure(grid: Grid, console: Console) -> dict[str, Any]:
    """The report as plain values: extproc_figures.document, `reach`, and `failures` as sentences.

    A lane that fails is left out from there on, so that it does not cost what others have taken.
    """
    lanes.raise_descriptor_limit()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("starting", total=grid.turns())

        def advance(cell: Cell, turns: int) -> None:
            progress.update(task, description=_label(cell), advance=turns)

        async with Generator.running() as generator:
            run = _Run(grid, generator, advance)
            for lane in grid.lanes():
                await run.measure(lane)
    report = document(run.found, run.usage, inputs=_inputs(grid), machine=machine())
    return {**report, "reach": reach(report), "failures": run.failures}


class _Run:
    """What has been measured so far."""

    def __init__(
        self, grid: Grid, generator: Generator, advance: Callable[[Cell, int], None]
    ) -> None:
        self._grid, self._generator, self._advance = grid, generator, advance
        self.found: _Found = []
        self.usage: list[Usage] = []
        self.failures: list[str] = []

    async def measure(self, lane: Lane) -> None:
        """All cells of a lane."""
        place = f"{lane.mode.value}, {lane.replicas} replicas, {', '.join(lane.arms)}"
        try:
            async with _arms(lane, self._generator, self._grid.rest_seconds) as arms:
                for cell in lane.cells:
                    rounds = await self._rounds(arms, lane, cell)
                    self.found.append((cell, figures(rounds)))
                for arm in arms:
                    # Requests that pass by a server would make it look cheap.
                    if passed := await arm.went_around():
                        self.failures.append(f"{place}: {passed} requests passed by {arm.name}")
                self.usage += [it for arm in arms if (it := arm.usage(lane.replicas)) is not None]
        except (ChildStartError, LoadError) as error:
            self.failures.append(f"{place}: {error}")

    async def _rounds(self, arms: Sequence[Arm], lane: Lane, cell: Cell) -> list[dict[str, Sample]]:
        """All rounds of one cell; every other one in the reverse order."""
        names = lane.arms_of(cell)
        taking_turns = [arm for arm in arms if arm.name in names]
        rate = None if cell.connections else saturated_requests_per_second(self.found, cell) / 2
        rounds = []
        for number in range(self._grid.rounds):
            samples = {}
            for arm in taking_turns if number % 2 == 0 else reversed(taking_turns):
                self._advance(cell, 0)
                samples[arm.name] = await arm.measure(
                    self._generator,
                    cell,
                    seconds=self._grid.seconds_of(cell),
                    requests_per_second=rate,
                )
                self._advance(cell, 1)
            rounds.append({name: samples[name] for name in names})
        return rounds


@contextlib.asynccontextmanager
async def _arms(lane: Lane, generator: Generator, rest_seconds: float) -> AsyncIterator[list[Arm]]:
    """All arms of a lane before one upstream: warmed up, then watched without load."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
        addresses = await stack.enter_async_context(upstream("extproc_upstream", lane.replicas))
        arms = [
            await stack.enter_async_context(Arm(name, lane.mode, addresses, folder))
            for name in lane.arms
        ]
        for arm in arms:
            await arm.measure(generator, _WARM_UP, seconds=_SETTLE_SECONDS)
        for arm in arms:
            arm.note_rest()
        await asyncio.sleep(rest_seconds)
        for arm in arms:
            arm.end_rest(rest_seconds)
        yield arms


def _label(cell: Cell) -> str:
    load = "half of saturation" if cell.connections is None else f"{cell.connections} connections"
    return f"{cell.body_mode}, {cell.replicas} replicas, {cell.body_bytes} bytes, {load}"


def _inputs(grid: Grid) -> dict[str, Any]:
    return {
        **asdict(grid),
        "scrape_seconds": SCRAPE_SECONDS,
        "waiting_bytes": WAITING_BYTES,
        "generator": "bundled",
    }
