"""The ext_proc servers that are measured, and what the operating system says of them."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.bench.extproc_figures import FLOOR, TUNED, WORKERS
from headrace.bench.extproc_grid import SCRAPE_SECONDS, WAITING_BYTES
from headrace.bench.router_process import start_router
from headrace.child_process import spawn_ready
from headrace.envoy_plan import EnvoyBodyMode
from headrace.processes import cpu_seconds, peak_bytes, resident_bytes

_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """CPU seconds.

    Attributes:
        workers: Of each process that answers.
        parent: Of the process above them; None where one process is all.
    """

    workers: tuple[float, ...]
    parent: float | None

    def since(self, before: "Used") -> "Used":
        """What was used from `before` to now."""
        parent = None
        if self.parent is not None and before.parent is not None:
            parent = self.parent - before.parent
        pairs = zip(self.workers, before.workers, strict=True)
        return Used(workers=tuple(after - earlier for after, earlier in pairs), parent=parent)

    @property
    def workers_seconds(self) -> float:
        """Of all workers."""
        return sum(self.workers)

    @property
    def busiest_ratio(self) -> float | None:
        """Share of the one that used most; None when nothing was used."""
        return max(self.workers) / self.workers_seconds if self.workers_seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An ext_proc server: one process, or workers below a parent."""

    process: asyncio.subprocess.Process
    worker_pids: tuple[int, ...]
    targets: tuple[str, ...]

    @property
    def parent_pid(self) -> int | None:
        """The process above the workers; None where it is the only worker."""
        return None if self.process.pid in self.worker_pids else self.process.pid

    def used(self) -> Used:
        """CPU time so far."""
        parent = self.parent_pid
        return Used(
            workers=tuple(cpu_seconds(pid) for pid in self.worker_pids),
            parent=None if parent is None else cpu_seconds(parent),
        )

    def resident_bytes(self) -> tuple[int, ...]:
        """What each worker holds now."""
        return tuple(resident_bytes(pid) for pid in self.worker_pids)

    def peaks_bytes(self) -> tuple[int, ...]:
        """The most that each worker has held."""
        return tuple(peak_bytes(pid) for pid in self.worker_pids)

    def parent_peak_bytes(self) -> int | None:
        """The most that the parent has held."""
        parent = self.parent_pid
        return None if parent is None else peak_bytes(parent)


async def start_server(
    name: str, folder: Path, addresses: Sequence[str], mode: EnvoyBodyMode
) -> Server:
    """Start the server of an arm with its files in `folder`.

    Raises:
        ChildStartError: When it does not come up.
    """
    if name in {FLOOR, TUNED}:
        return await _start_floor(folder, addresses[0], mode, is_tuned=name == TUNED)
    router = await start_router(
        folder,
        addresses,
        scrape_seconds=SCRAPE_SECONDS,
        workers=WORKERS.get(name, 1),
        settings={"admission": {"max_waiting_bytes": WAITING_BYTES}},
    )
    return Server(process=router.process, worker_pids=router.worker_pids, targets=router.targets)


async def _start_floor(
    folder: Path, address: str, mode: EnvoyBodyMode, *, is_tuned: bool
) -> Server:
    socket = folder / "ext_proc.sock"

    async def is_ready() -> bool:
        return socket.exists()

    process = await spawn_ready(
        "the floor",
        Path(sys.executable),
        [
            *("-P", "-m", "headrace.bench.extproc_floor", str(socket), mode.value, address),
            *(("tuned",) if is_tuned else ()),
        ],
        log_path=folder / "floor.log",
        is_ready=is_ready,
        ready_seconds=_READY_SECONDS,
    )
    return Server(process=process, worker_pids=(process.pid,), targets=(f"unix:{socket}",))
