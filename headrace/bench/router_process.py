"""`headrace serve` as a child process, over a fleet of one model. For the benchmarks."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from headrace.bench.extproc_load import MODEL
from headrace.child_process import spawn_ready

_READY_SECONDS = 60.0
_ACCELERATOR = "H100"
_PARAMETERS = 8e9


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterProcess:
    """A router that serves.

    Attributes:
        process: Of the command itself.
        worker_pids: Of its workers; the command's own where it has none.
        targets: What Envoy calls, as `EnvoyPlan.ext_proc_targets`.
        admin_url: Base URL of its admin server.
    """

    process: asyncio.subprocess.Process
    worker_pids: tuple[int, ...]
    targets: tuple[str, ...]
    admin_url: str

    async def metrics(self) -> dict[str, float]:
        """All samples of its /metrics, added up over their labels."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"{self.admin_url}/metrics") as answer,
        ):
            text = await answer.text()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums


async def start_router(
    folder: Path,
    addresses: Sequence[str],
    *,
    scrape_seconds: float,
    workers: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> RouterProcess:
    """Start it with its files in `folder`, and return when it is ready.

    Args:
        folder: There already; its socket, configuration and log lie in it.
        addresses: The replicas.
        scrape_seconds: Interval of telemetry.
        workers: Its processes.
        settings: More sections of its configuration.

    Raises:
        ChildStartError: When it does not come up.
    """
    config_path, ready_path = _write_files(folder, addresses, scrape_seconds, settings or {})

    async def is_ready() -> bool:
        return ready_path.exists() and await _answers_ready(_admin_url(ready_path))

    process = await spawn_ready(
        "the router",
        Path(sys.executable),
        [
            *("-P", "-m", "headrace.main", "serve", "--config", str(config_path)),
            *("--ready-file", str(ready_path), "--no-capper"),
            *("--workers", str(workers)),
        ],
        log_path=folder / "router.log",
        is_ready=is_ready,
        ready_seconds=_READY_SECONDS,
    )
    ready = json.loads(ready_path.read_text(encoding="utf-8"))
    return RouterProcess(
        process=process,
        worker_pids=tuple(ready.get("worker_pids") or [process.pid]),
        targets=tuple(ready["ext_proc"]),
        admin_url=_admin_url(ready_path),
    )


def _write_files(
    folder: Path, addresses: Sequence[str], scrape_seconds: float, settings: Mapping[str, Any]
) -> tuple[Path, Path]:
    backend = {
        "name": "bench",
        "accelerator": _ACCELERATOR,
        "parameters": _PARAMETERS,
        "models": [MODEL],
        "replicas": [{"address": address} for address in addresses],
    }
    serve = {
        "fleet": "fleet.yaml",
        "ext_proc": {"unix_socket": str(folder / "ext_proc.sock"), "drain_seconds": 1.0},
        "admin": {"port": 0},
        "telemetry": {"scrape": {"interval_seconds": scrape_seconds}},
        **settings,
    }
    (folder / "fleet.yaml").write_text(yaml.safe_dump({"backends": [backend]}), encoding="utf-8")
    config_path = folder / "serve.yaml"
    config_path.write_text(yaml.safe_dump(serve), encoding="utf-8")
    return config_path, folder / "ready.json"


def _admin_url(ready_path: Path) -> str:
    ready = json.loads(ready_path.read_text(encoding="utf-8"))
    return f"http://127.0.0.1:{ready['admin_port']}"


async def _answers_ready(admin_url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{admin_url}/readyz") as answer:
        return answer.ok
