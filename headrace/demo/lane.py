"""A lane: one router process and one Envoy in front of replicas that run already."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from headrace.child_process import end, spawn_ready
from headrace.envoy_command import endpoints
from headrace.envoy_config import EnvoyPlan, EnvoyTimeouts, render_bootstrap
from headrace.envoy_process import EnvoyOptions, EnvoyProcess
from headrace.fleet_file import load_fleet
from headrace.worker_targets import targets

_READY_SECONDS = 30.0
# Longer than the drain of the configuration below.
_STOP_SECONDS = 8.0
_DRAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LanePlan:
    """What a lane is made of.

    Attributes:
        fleet_path: Fleet file of the replicas.
        folder: Private to the lane: socket, configuration, logs.
        policy: Picking policy.
        prometheus_url: Asked for telemetry, when given.
        exporter_urls: Scraped for power by the router itself, when given.
        scrape_interval_seconds: Of the router's own scrapes; None for none.
        listen_port: Of Envoy; 0 for any free one.
        timeouts: Of Envoy.
        capper: The serve file's `capper` section; None: nothing is capped.
        admission: The serve file's `admission` section; the defaults for what it leaves out.
        workers: Processes of the router.
    """

    fleet_path: Path
    folder: Path
    policy: str = "dispatch"
    prometheus_url: str | None = None
    exporter_urls: tuple[str, ...] = ()
    scrape_interval_seconds: float | None = 1.0
    listen_port: int = 0
    timeouts: EnvoyTimeouts = field(default_factory=EnvoyTimeouts)
    capper: Mapping[str, Any] | None = None
    admission: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1


class Lane:
    """Runs a plan, as an async context manager.

    Attributes:
        base_url: Of Envoy's OpenAI listener, without /v1.
        admin_url: Of the router's admin port.
        envoy: The Envoy process.
    """

    def __init__(self, plan: LanePlan) -> None:
        """Prepare; nothing is started before the context is entered."""
        self._plan = plan
        self._router: asyncio.subprocess.Process | None = None
        self._stack = contextlib.AsyncExitStack()
        self.base_url = ""
        self.admin_url = ""
        self.envoy: EnvoyProcess

    async def __aenter__(self) -> Self:
        """Start the router, then Envoy; both serve when this returns.

        Raises:
            ChildStartError: When the router does not come up.
            EnvoyStartError: When Envoy does not.
        """
        plan = self._plan
        plan.folder.mkdir(parents=True, exist_ok=True)
        try:
            await self.start_router()
            bootstrap = render_bootstrap(
                EnvoyPlan(
                    endpoints=endpoints(load_fleet(plan.fleet_path)),
                    ext_proc_targets=targets(f"unix:{self._socket}", plan.workers),
                    listen_port=plan.listen_port,
                    access_log_path=str(plan.folder / "access.log"),
                    timeouts=plan.timeouts,
                )
            )
            self.envoy = await self._stack.enter_async_context(
                EnvoyProcess(bootstrap, EnvoyOptions(log_path=plan.folder / "envoy.log"))
            )
        except BaseException:
            await self.stop()
            raise
        host, port = self.envoy.listener_address()
        self.base_url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop Envoy, then the router."""
        await self.stop()

    async def stop(self) -> None:
        """End both; nothing is left behind."""
        await self._stack.aclose()
        if self._router is not None:
            await end(self._router, grace_seconds=_STOP_SECONDS)

    @property
    def router(self) -> asyncio.subprocess.Process:
        """The router's process."""
        assert self._router is not None, "the lane has not been started"
        return self._router

    async def start_router(self) -> None:
        """Start the router, anew when it was killed; returns when it is ready.

        Raises:
            ChildStartError: When it ends or is not ready in time.
        """
        plan = self._plan
        config_path, ready_path = plan.folder / "serve.yaml", plan.folder / "ready.json"
        config_path.write_text(yaml.safe_dump(self._config()), encoding="utf-8")
        ready_path.unlink(missing_ok=True)

        async def is_ready() -> bool:
            return ready_path.exists() and await self._is_ready(ready_path)

        self._router = await spawn_ready(
            "the router",
            Path(sys.executable),
            [
                # -P: a checkout's folder `envoy/` must not be found before Envoy's own package.
                *("-P", "-m", "headrace.main", "serve"),
                *("--config", str(config_path), "--ready-file", str(ready_path)),
            ],
            log_path=plan.folder / "router.log",
            is_ready=is_ready,
            ready_seconds=_READY_SECONDS,
        )

    @property
    def _socket(self) -> Path:
        return self._plan.folder / "ext_proc.sock"

    def _config(self) -> dict[str, Any]:
        plan = self._plan
        telemetry: dict[str, Any] = {"scrape": None}
        if plan.scrape_interval_seconds is not None:
            telemetry["scrape"] = {
                "interval_seconds": plan.scrape_interval_seconds,
                "exporter_urls": list(plan.exporter_urls),
            }
        if plan.prometheus_url is not None:
            telemetry["prometheus"] = {"url": plan.prometheus_url}
        return {
            "fleet": str(plan.fleet_path),
            "ext_proc": {"unix_socket": str(self._socket), "drain_seconds": _DRAIN_SECONDS},
            "admin": {"port": 0},
            "router": {"policy": plan.policy},
            "telemetry": telemetry,
            "capper": None if plan.capper is None else dict(plan.capper),
            "admission": dict(plan.admission),
            "workers": plan.workers,
        }

    async def _is_ready(self, ready_path: Path) -> bool:
        ready = json.loads(ready_path.read_text(encoding="utf-8"))
        self.admin_url = f"http://127.0.0.1:{ready['admin_port']}"
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin_url}/readyz") as answer,
        ):
            return answer.ok
