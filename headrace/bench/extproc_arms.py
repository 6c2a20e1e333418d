"""What is measured: an Envoy, with an ext_proc server of its own or without one, per arm."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from headrace.bench.extproc_figures import BARE, FLOOR, Sample
from headrace.bench.extproc_load import MODEL
from headrace.child_process import end, spawn_ready
from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, EnvoyTimeouts, render_bootstrap
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyOptions, EnvoyProcess

_EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
# What telemetry costs is another question; this often keeps it fresh.
_SCRAPE_SECONDS = 4.0
_ACCELERATOR = "H100"
_PARAMETERS = 8e9
# Health checks of a thousand endpoints, and timeouts, are not what is measured.
_TIMEOUTS = EnvoyTimeouts(health_interval_seconds=600.0, ext_proc_message_seconds=30.0)


class Arm:
    """One arm, as an async context manager."""

    def __init__(
        self, name: str, mode: EnvoyBodyMode, addresses: Sequence[str], folder: Path
    ) -> None:
        """Prepare; nothing is started before the context is entered."""
        self.name = name
        self._mode, self._addresses = mode, addresses
        self._folder = folder / f"{name}-{mode.value}-{len(addresses)}"
        self._server: asyncio.subprocess.Process | None = None
        self._stack = contextlib.AsyncExitStack()
        self._envoy: EnvoyProcess

    async def __aenter__(self) -> Self:
        """Start the server, then Envoy.

        Raises:
            ChildStartError: When either does not come up.
        """
        self._folder.mkdir(parents=True)
        try:
            if self.name != BARE:
                await self._start_server()
            self._envoy = await self._stack.enter_async_context(
                EnvoyProcess(self._bootstrap(), EnvoyOptions(log_path=self._folder / "envoy.log"))
            )
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop Envoy, then the server."""
        await self._stop()

    async def measure(self, *, body_bytes: int, concurrency: int, seconds: float) -> Sample:
        """Load it for `seconds`."""
        host, port = self._envoy.listener_address()
        before_seconds = self._cpu_seconds()
        found = await _run_load(host, port, body_bytes, concurrency, seconds)
        after_seconds = self._cpu_seconds()
        requests = int(found["requests"])
        used = None
        if before_seconds is not None and after_seconds is not None and requests:
            used = (after_seconds - before_seconds) / requests
        return Sample(
            requests_per_second=requests / found["elapsed_seconds"],
            failed_requests=int(found["failed_requests"]),
            server_cpu_seconds=used,
            latency_p50_seconds=found["latency_p50_seconds"],
            latency_p99_seconds=found["latency_p99_seconds"],
            load_cpu_ratio=found["own_cpu_ratio"],
        )

    async def went_around(self) -> int:
        """Streams that failed: Envoy let those requests pass without an answer of the server."""
        stats = await self._envoy.stats(r"ext_proc\..*failure_mode_allowed$")
        return sum(stats.values())

    def peak_bytes(self) -> int | None:
        """The most memory that the server has held so far; None without one."""
        if self._server is None:
            return None
        status = Path(f"/proc/{self._server.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def _cpu_seconds(self) -> float | None:
        """User and system time of the server so far."""
        if self._server is None:
            return None
        text = Path(f"/proc/{self._server.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / os.sysconf("SC_CLK_TCK")

    @property
    def _socket(self) -> Path:
        return self._folder / "ext_proc.sock"

    async def _start_server(self) -> None:
        ready_path = self._folder / "ready.json"
        arguments = ["-P", "-m"]
        if self.name == FLOOR:
            arguments += ["headrace.bench.extproc_floor", str(self._socket)]
            arguments += [self._mode.value, self._addresses[0]]
        else:
            config_path = self._folder / "serve.yaml"
            config_path.write_text(yaml.safe_dump(self._serve_file()), encoding="utf-8")
            arguments += ["headrace.main", "serve", "--config", str(config_path)]
            arguments += ["--ready-file", str(ready_path)]

        async def is_ready() -> bool:
            if self.name == FLOOR:
                return self._socket.exists()
            return ready_path.exists() and await _is_ready(ready_path)

        self._server = await spawn_ready(
            f"the arm {self.name!r}",
            Path(sys.executable),
            arguments,
            log_path=self._folder / "server.log",
            is_ready=is_ready,
            ready_seconds=_READY_SECONDS,
        )

    def _serve_file(self) -> dict[str, Any]:
        fleet_path = self._folder / "fleet.yaml"
        backend = {
            "name": "bench",
            "accelerator": _ACCELERATOR,
            "parameters": _PARAMETERS,
            "models": [MODEL],
            "replicas": [{"address": address} for address in self._addresses],
        }
        fleet_path.write_text(yaml.safe_dump({"backends": [backend]}), encoding="utf-8")
        return {
            "fleet": str(fleet_path),
            "ext_proc": {"unix_socket": str(self._socket), "drain_seconds": 1.0},
            "admin": {"port": 0},
            "telemetry": {"scrape": {"interval_seconds": _SCRAPE_SECONDS}},
        }

    def _bootstrap(self) -> dict[str, Any]:
        bootstrap = render_bootstrap(
            EnvoyPlan(
                endpoints=tuple(
                    EnvoyEndpoint(address=address, models=(MODEL,)) for address in self._addresses
                ),
                ext_proc_targets=(f"unix:{self._socket}",),
                body_mode=self._mode,
                access_log_path=os.devnull,
                timeouts=_TIMEOUTS,
            )
        )
        if self.name == BARE:
            _remove_filter(bootstrap, _EXT_PROC_FILTER)
        return bootstrap

    async def _stop(self) -> None:
        await self._stack.aclose()
        if self._server is not None:
            await end(self._server, grace_seconds=_STOP_SECONDS)


async def _is_ready(ready_path: Path) -> bool:
    port = json.loads(ready_path.read_text(encoding="utf-8"))["admin_port"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/readyz") as answer,
    ):
        return answer.ok


async def _run_load(
    host: str, port: int, body_bytes: int, concurrency: int, seconds: float
) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "headrace.bench.extproc_load"),
        *(host, str(port), str(body_bytes), str(concurrency), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with status {process.returncode}")
    answer: dict[str, float] = json.loads(output)
    return answer


def _remove_filter(node: object, name: str) -> None:
    """Take the HTTP filter `name` out of a bootstrap, wherever it is."""
    if isinstance(node, dict):
        for value in node.values():
            _remove_filter(value, name)
    elif isinstance(node, list):
        node[:] = [it for it in node if not (isinstance(it, dict) and it.get("name") == name)]
        for value in node:
            _remove_filter(value, name)
