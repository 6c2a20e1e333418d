"""One way of polling, measured from outside."""

import asyncio
import contextlib
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from headrace.bench.children import child, upstream
from headrace.bench.scrape_pages import board_uuids
from headrace.bench.scrape_poller import Plan, Told
from headrace.child_process import ChildStartError
from headrace.processes import cpu_seconds, resident_bytes
from headrace.prometheus_process import PrometheusProcess, prometheus_binary
from telemetry.exposition import FamilyReader
from telemetry.families import FAMILIES

_WARM_ROUNDS = 3
_MIN_KNOWN_RATIO = 0.99
_KNOWN_WITHIN_SECONDS = 120.0
_LINE_SECONDS = 60.0
_SPARE_SECONDS = 10.0  # of a reading's age on the way through Prometheus


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is polled, and how.

    Attributes:
        prometheus_interval_seconds: How often a real Prometheus scrapes the pages; None: the
            poller asks the replicas itself.
        interval_seconds: How often the poller asks.
    """

    replicas: int
    prometheus_interval_seconds: float | None = None
    interval_seconds: float = 1.0
    windows: int = 3
    window_seconds: float = 15.0

    @property
    def name(self) -> str:
        """For people."""
        way = "direct"
        if self.prometheus_interval_seconds is not None:
            way = f"by a Prometheus that scrapes every {self.prometheus_interval_seconds:g} s"
        return f"{self.replicas} replicas, {way}, every {self.interval_seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One window.

    Attributes:
        poller_cores: CPU seconds per second of the poller's process.
        prometheus_cores: Of Prometheus; None without.
        pages_per_second: Answered by the targets, whoever asked.
        connections: That the targets have accepted so far.
        read_bytes_ratio: Part of a replica's page that is in wanted lines.
        known_ratio: Part of the replicas whose load and watts are fresh.
    """

    poller_cores: float
    prometheus_cores: float | None
    snapshots_per_second: float
    pages_per_second: float
    page_bytes_per_second: float
    connections: int
    read_bytes_ratio: float
    known_ratio: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why an arm was not measured."""

    reason: str


class _Served(msgspec.Struct, frozen=True):
    connections: int
    pages: int
    page_bytes: int


async def measured(arm: Arm, folder: Path) -> list[Figures] | Skipped:
    """Run the processes of `arm`, with their files in `folder`, and measure its windows.

    Raises:
        ChildStartError: One does not come up, or the fleet does not become known.
    """
    if arm.prometheus_interval_seconds is not None and prometheus_binary() is None:
        return Skipped("no prometheus on PATH")
    async with contextlib.AsyncExitStack() as stack:
        addresses = await stack.enter_async_context(upstream("scrape_pages", arm.replicas))
        replicas, exporters = addresses[: arm.replicas], addresses[arm.replicas :]
        jobs = {"vllm": replicas, "dcgm": exporters}
        prometheus = await _prometheus(arm, jobs, folder, stack)
        plan = Plan(
            replicas=tuple(replicas),
            boards=board_uuids(arm.replicas),
            exporters=() if prometheus else tuple(exporters),
            prometheus_url=prometheus.url if prometheus else None,
            interval_seconds=arm.interval_seconds,
            fresh_seconds=_SPARE_SECONDS + (arm.prometheus_interval_seconds or 0.0),
        )
        poller = await stack.enter_async_context(child("scrape_poller"))
        assert poller.stdin is not None
        poller.stdin.write(msgspec.json.encode(plan) + b"\n")
        await poller.stdin.drain()
        await _until_known(poller)
        prometheus_pid = prometheus.pid if prometheus else None
        return [await _window(arm, poller, replicas[0], prometheus_pid) for _ in range(arm.windows)]


async def _prometheus(
    arm: Arm, jobs: Mapping[str, Sequence[str]], folder: Path, stack: contextlib.AsyncExitStack
) -> PrometheusProcess | None:
    if arm.prometheus_interval_seconds is None:
        return None
    # Series that nobody asks for are dropped: its storage is not what is measured.
    prometheus = PrometheusProcess(
        jobs,
        folder=folder / "prometheus",
        interval_seconds=arm.prometheus_interval_seconds,
        kept_names="|".join(family.selector for family in FAMILIES),
    )
    return await stack.enter_async_context(prometheus)


async def _until_known(poller: asyncio.subprocess.Process) -> None:
    """Wait until the poller has seen the whole fleet, and then a little."""
    rounds = 0
    async with asyncio.timeout(_KNOWN_WITHIN_SECONDS):
        while rounds < _WARM_ROUNDS:
            told = msgspec.json.decode(await _line(poller), type=Told)
            rounds += told.known_ratio >= _MIN_KNOWN_RATIO


async def _window(
    arm: Arm, poller: asyncio.subprocess.Process, address: str, prometheus_pid: int | None
) -> Figures:
    loop = asyncio.get_running_loop()

    def look() -> tuple[float, float, float | None]:
        cpu_of_prometheus = None if prometheus_pid is None else cpu_seconds(prometheus_pid)
        return loop.time(), cpu_seconds(poller.pid), cpu_of_prometheus

    begin = msgspec.json.decode(await _line(poller), type=Told)
    served = await asyncio.to_thread(_served, address)
    start_seconds, start_cpu, start_prometheus = look()
    told, known_ratio = begin, 1.0
    while loop.time() - start_seconds < arm.window_seconds:
        told = msgspec.json.decode(await _line(poller), type=Told)
        known_ratio = min(known_ratio, told.known_ratio)
    end_seconds, end_cpu, end_prometheus = look()
    served_then = await asyncio.to_thread(_served, address)
    page = await asyncio.to_thread(_get, f"http://{address}/metrics")
    reader = FamilyReader([family.selector.encode() for family in FAMILIES])
    seconds = end_seconds - start_seconds
    of_prometheus = None
    if end_prometheus is not None and start_prometheus is not None:
        of_prometheus = (end_prometheus - start_prometheus) / seconds
    return Figures(
        poller_cores=(end_cpu - start_cpu) / seconds,
        prometheus_cores=of_prometheus,
        snapshots_per_second=(told.version - begin.version) / seconds,
        pages_per_second=(served_then.pages - served.pages) / seconds,
        page_bytes_per_second=(served_then.page_bytes - served.page_bytes) / seconds,
        connections=served_then.connections,
        read_bytes_ratio=reader.wanted_bytes(page) / len(page),
        known_ratio=known_ratio,
        resident_bytes=resident_bytes(poller.pid),
    )


async def _line(process: asyncio.subprocess.Process) -> bytes:
    """The next line that a child says.

    Raises:
        ChildStartError: It says nothing, or has ended.
    """
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _LINE_SECONDS)
    except TimeoutError as error:
        raise ChildStartError("a process of the benchmark says nothing") from error
    if not line:
        raise ChildStartError("a process of the benchmark has ended")
    return line


def _served(address: str) -> _Served:
    return msgspec.json.decode(_get(f"http://{address}/served"), type=_Served)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10.0) as answer:  # noqa: S310 - our own process, http
        body: bytes = answer.read()
        return body
