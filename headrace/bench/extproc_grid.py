"""Which arms are measured in which cells. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.bench.extproc_figures import BARE, FLOOR, ROUTER, TUNED, WORKERS, Cell
from headrace.envoy_plan import EnvoyBodyMode

SCRAPE_SECONDS = 4.0
"""What telemetry costs is another question; this often keeps it fresh."""
WAITING_BYTES = 2**30
"""Bodies that may wait for room in a KV cache; by default so few that 128 of 1 MB are refused."""
SMALL_BYTES = 512
LONG_BYTES = 220_000
LONG_CONNECTIONS = 20
"""Of the published figure that long prompts are compared with."""

_WITH_TUNED = (BARE, FLOOR, TUNED, ROUTER)
_WORKER_CONNECTIONS = 16
"""Fewest with which several workers are worth a measurement."""
_HALF_WINDOWS = 4
"""A 99th percentile wants more requests than half of saturation brings in one window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What is measured with the same processes."""

    replicas: int
    mode: EnvoyBodyMode
    arms: tuple[str, ...]
    cells: tuple[Cell, ...]

    def arms_of(self, cell: Cell) -> tuple[str, ...]:
        """Those that take turns in a cell."""
        without: set[str] = set()
        if cell.connections is None or cell.connections < _WORKER_CONNECTIONS:
            without |= WORKERS.keys()
        if cell.body_bytes != SMALL_BYTES:
            without.add(TUNED)
        return tuple(arm for arm in self.arms if arm not in without)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is measured.

    At the smallest fleet everything, with workers beside the one router; at the largest, workers
    in lanes of their own, since each router scrapes the whole fleet; between them only what shows
    whether cost grows with the fleet.

    Attributes:
        rounds: How often every arm has its turn in a cell.
        window_seconds: How long a turn is.
        rest_seconds: How long servers are watched without load; one scrape is in it.
        workers: Arms with several workers.
    """

    fleets: tuple[int, ...] = (8, 100, 1000)
    modes: tuple[EnvoyBodyMode, ...] = tuple(EnvoyBodyMode)
    body_bytes: tuple[int, ...] = (SMALL_BYTES, 8_000, LONG_BYTES, 1_000_000)
    connections: tuple[int, ...] = (1, 16, 128)
    rounds: int = 3
    window_seconds: float = 1.0
    rest_seconds: float = SCRAPE_SECONDS
    workers: tuple[str, ...] = tuple(WORKERS)

    def lanes(self) -> Iterator[Lane]:
        """All, in the order in which they are measured."""
        for mode in self.modes:
            for replicas in self.fleets:
                is_first = replicas == self.fleets[0]
                yield Lane(
                    replicas=replicas,
                    mode=mode,
                    arms=(*_WITH_TUNED, *self.workers) if is_first else _WITH_TUNED,
                    cells=tuple(self._cells(replicas, mode)),
                )
            for arm in self.workers if len(self.fleets) > 1 else ():
                yield Lane(
                    replicas=self.fleets[-1],
                    mode=mode,
                    arms=(BARE, FLOOR, arm),
                    cells=tuple(self._worker_cells(mode)),
                )

    def seconds_of(self, cell: Cell) -> float:
        """How long one turn is."""
        return self.window_seconds * (_HALF_WINDOWS if cell.connections is None else 1)

    def turns(self) -> int:
        """How many there are."""
        turns = sum(len(lane.arms_of(cell)) for lane in self.lanes() for cell in lane.cells)
        return turns * self.rounds

    def _cells(self, replicas: int, mode: EnvoyBodyMode) -> Iterator[Cell]:
        is_between = replicas not in {self.fleets[0], self.fleets[-1]}
        for body_bytes in self.body_bytes:
            if is_between and body_bytes not in {SMALL_BYTES, LONG_BYTES}:
                continue
            for connections in self.connections:
                yield _cell(replicas, mode, body_bytes, connections)
        if replicas == self.fleets[0]:
            yield _cell(replicas, mode, LONG_BYTES, LONG_CONNECTIONS)
            yield _cell(replicas, mode, SMALL_BYTES, None)

    def _worker_cells(self, mode: EnvoyBodyMode) -> Iterator[Cell]:
        for connections in self.connections:
            if connections >= _WORKER_CONNECTIONS:
                yield _cell(self.fleets[-1], mode, SMALL_BYTES, connections)


FULL = Grid()
QUICK = Grid(
    fleets=(8,),
    body_bytes=(SMALL_BYTES, LONG_BYTES),
    connections=(1, 16),
    rounds=1,
    window_seconds=0.7,
)


def _cell(replicas: int, mode: EnvoyBodyMode, body_bytes: int, connections: int | None) -> Cell:
    return Cell(
        body_mode=mode.value, replicas=replicas, body_bytes=body_bytes, connections=connections
    )


def saturated_requests_per_second(
    found: Sequence[tuple[Cell, Sequence[Mapping[str, Any]]]], cell: Cell
) -> float:
    """What one router reached in the closed loop with most connections, body and fleet alike."""
    alike = [
        (other.connections, figures)
        for other, figures in found
        if other.connections is not None
        and (other.body_mode, other.replicas, other.body_bytes)
        == (cell.body_mode, cell.replicas, cell.body_bytes)
    ]
    _, figures = max(alike, key=lambda it: it[0])
    [router] = [one for one in figures if one["arm"] == ROUTER]
    reached: float = router["requests_per_second"]
    return reached
