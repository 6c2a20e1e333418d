"""One arm of `headrace bench extproc`: an Envoy, with an ext_proc server or without one."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from headrace.bench import lanes
from headrace.bench.extproc_figures import BARE, Cell, Sample, Usage
from headrace.bench.extproc_generator import Generator
from headrace.bench.extproc_latencies import FLUSH_SECONDS, LatencyLog, log_only_latencies
from headrace.bench.extproc_load import quantile
from headrace.bench.extproc_servers import Server, Used, start_server
from headrace.child_process import end
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyOptions, EnvoyProcess

_STOP_SECONDS = 5.0
_STREAM_STATS = r"ext_proc\..*(streams_started|stream_msgs_sent|stream_msgs_received)$"
_NOTHING_USED = Used(workers=(), parent=None)


class Arm:
    """One arm, as an async context manager."""

    def __init__(
        self, name: str, mode: EnvoyBodyMode, addresses: Sequence[str], folder: Path
    ) -> None:
        """Prepare; nothing is started before the context is entered."""
        self.name = name
        self._mode, self._addresses = mode, addresses
        self._folder = folder / name
        self._server: Server | None = None
        self._rest_bytes: tuple[int, ...] = ()
        self._idle_cores, self._at_rest = 0.0, _NOTHING_USED
        self._envoy: EnvoyProcess
        self._latencies = LatencyLog(self._folder / "access.log", mode)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the server, then Envoy.

        Raises:
            ChildStartError: When either does not come up.
        """
        self._folder.mkdir(parents=True)
        async with contextlib.AsyncExitStack() as stack:
            targets: tuple[str, ...] = ()
            if self.name != BARE:
                server = await start_server(self.name, self._folder, self._addresses, self._mode)
                stack.push_async_callback(end, server.process, grace_seconds=_STOP_SECONDS)
                self._server, targets = server, server.targets
            bootstrap = lanes.bootstrap(
                self._addresses,
                targets,
                self._mode,
                access_log_path=self._folder / "access.log",
            )
            log_only_latencies(bootstrap)
            options = EnvoyOptions(
                log_path=self._folder / "envoy.log", file_flush_seconds=FLUSH_SECONDS
            )
            self._envoy = await stack.enter_async_context(EnvoyProcess(bootstrap, options))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop Envoy, then the server."""
        await self._stack.aclose()

    async def measure(
        self,
        generator: Generator,
        cell: Cell,
        *,
        seconds: float,
        requests_per_second: float | None = None,
    ) -> Sample:
        """Load it for `seconds`; the rate is for a cell without connections."""
        stats, used = await self._envoy.stats(_STREAM_STATS), self._used()
        found = await generator.load(
            self._envoy.listener_address(),
            body_bytes=cell.body_bytes,
            connections=cell.connections,
            requests_per_second=requests_per_second,
            seconds=seconds,
        )
        used = self._used().since(used)
        to_server, from_server = _messages(stats, await self._envoy.stats(_STREAM_STATS))
        requests, failed = int(found["requests"]), int(found["failed_requests"])
        waits = sorted(await self._latencies.take(requests + failed))
        return Sample(
            requests_per_second=requests / found["elapsed_seconds"],
            failed_requests=failed,
            server_cpu_seconds=_per(requests, used.workers_seconds if used.workers else None),
            parent_cpu_seconds=_per(requests, used.parent),
            busiest_worker_ratio=used.busiest_ratio,
            latency_p50_seconds=found["latency_p50_seconds"],
            latency_p99_seconds=found["latency_p99_seconds"],
            envoy_p50_seconds=quantile(waits, 0.5) if waits else None,
            envoy_p99_seconds=quantile(waits, 0.99) if waits else None,
            messages_to_server=to_server,
            messages_from_server=from_server,
            load_cpu_ratio=found["own_cpu_ratio"],
            late_p99_seconds=found.get("late_p99_seconds"),
        )

    async def went_around(self) -> int:
        """Streams that failed: Envoy let those requests pass without an answer of the server."""
        return await lanes.passed_by(self._envoy)

    def note_rest(self) -> None:
        """Begin to look at it without load."""
        self._at_rest = self._used()

    def end_rest(self, seconds: float) -> None:
        """End what `note_rest` began."""
        if self._server is not None:
            self._rest_bytes = self._server.resident_bytes()
            used = self._server.used().since(self._at_rest)
            self._idle_cores = (used.workers_seconds + (used.parent or 0.0)) / seconds

    def usage(self, replicas: int) -> Usage | None:
        """Memory so far, and CPU at rest; None without a server."""
        if self._server is None:
            return None
        # Linux adds pages up per processor, in passing: its peak may come out a bit low.
        found = zip(self._server.peaks_bytes(), self._rest_bytes, strict=True)
        peaks = [max(both) for both in found]
        return Usage(
            arm=self.name,
            body_mode=self._mode.value,
            replicas=replicas,
            rest_bytes=sum(self._rest_bytes),
            rest_worker_bytes=max(self._rest_bytes),
            peak_bytes=sum(peaks),
            peak_worker_bytes=max(peaks),
            parent_peak_bytes=self._server.parent_peak_bytes(),
            idle_cpu_cores=self._idle_cores,
        )

    def _used(self) -> Used:
        return _NOTHING_USED if self._server is None else self._server.used()


def _messages(
    before: Mapping[str, int], after: Mapping[str, int]
) -> tuple[float | None, float | None]:
    """Per ext_proc stream: to the server, and from it."""
    grown = {name.rpartition(".")[2]: value - before.get(name, 0) for name, value in after.items()}
    streams = grown.get("streams_started", 0)
    return (
        _per(streams, grown.get("stream_msgs_sent")),
        _per(streams, grown.get("stream_msgs_received")),
    )


def _per(count: int, total: float | None) -> float | None:
    return None if total is None or not count else total / count
