"""The demo's fleet: 3 A100 + 3 H100 + 2 B200 replicas of one model; the H100 serve a second."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from headrace.child_process import end, spawn_ready
from headrace.demo.layout import BACKENDS, MODEL, replicas

_PARAMETERS = 8.03e9
_READY_SECONDS = 30.0
_STOP_SECONDS = 5.0


class SimulatedFleet:
    """The simulated replicas as their own process, as an async context manager.

    Attributes:
        fleet_path: Fleet file for the router, once started.
        addresses: Replica name -> "ip:port".
        exporter_addresses: GPU exporters, as "ip:port".
    """

    def __init__(self, folder: Path) -> None:
        """Prepare; `folder` is private to it."""
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._control = ""
        self.fleet_path = folder / "fleet.yaml"
        self.addresses: dict[str, str] = {}
        self.exporter_addresses: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            ChildStartError: When it does not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        spec_path, ready_path = self._folder / "spec.json", self._folder / "ready.json"
        spec_path.write_text(json.dumps(_spec()), encoding="utf-8")

        async def is_ready() -> bool:
            return ready_path.exists()

        self._process = await spawn_ready(
            "the simulated fleet",
            Path(sys.executable),
            [
                *("-P", "-m", "loadtest.fleet_control"),
                *("--spec", str(spec_path), "--ready-file", str(ready_path)),
            ],
            log_path=self._folder / "fleet.log",
            is_ready=is_ready,
            ready_seconds=_READY_SECONDS,
        )
        ready = json.loads(ready_path.read_text(encoding="utf-8"))
        self.addresses = ready["replicas"]
        self.exporter_addresses = tuple(ready["exporters"].values())
        self._control = ready["control"]
        self.fleet_path.write_text(yaml.safe_dump(_fleet(self.addresses)), encoding="utf-8")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.stop()

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            await end(self._process, grace_seconds=_STOP_SECONDS)

    async def totals(self) -> dict[str, Any]:
        """Ground truth so far, by replica name (loadtest.fleet_control, GET /totals)."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"http://{self._control}/totals") as answer,
        ):
            totals: dict[str, Any] = await answer.json()
            return totals


def _spec() -> dict[str, Any]:
    """For loadtest.fleet_control."""
    return {
        "replicas": [
            {
                "name": replica.name,
                "accelerator": replica.accelerator,
                "models": replica.models,
                "gpu_uuid": replica.gpu_uuid,
            }
            for replica in replicas()
        ]
    }


def _fleet(addresses: dict[str, str]) -> dict[str, Any]:
    """For `headrace serve`: priors by accelerator, nothing of the simulation's own tables."""
    return {
        "backends": [
            {
                "name": backend,
                "accelerator": accelerator,
                "parameters": _PARAMETERS,
                "models": [MODEL],
                "replicas": [
                    {
                        "address": addresses[replica.name],
                        "models": replica.models,
                        "gpu_uuids": [replica.gpu_uuid],
                    }
                    for replica in replicas()
                    if replica.backend == backend
                ],
            }
            for backend, accelerator, _ in BACKENDS
        ]
    }
