"""The demo's fleet: 3 A100 + 3 H100 + 2 B200 replicas of one model; the H100 serve a second."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from headrace.child_process import end, spawn_ready

MODEL = "llama-3.1-8b"
SECOND_MODEL = "llama-3.1-8b-support"
# The second model gets a tenth of the requests: enough to be seen, too little to rule the fleet.
MODEL_WEIGHTS = {MODEL: 0.9, SECOND_MODEL: 0.1}

_BACKENDS = (("a100", "A100", 3), ("h100", "H100", 3), ("b200", "B200", 2))
# On all of them, so that it is served as long as one is awake.
_SECOND_MODEL_BACKEND = "h100"
FLOORS = {"a100": 0, "h100": 1, "b200": 1}
"""Backend -> replicas that no cap puts to sleep: each model keeps one that serves it."""
RATED_WATTS = 3 * 400.0 + 3 * 700.0 + 2 * 1000.0
"""Of all boards together, as the manufacturer rates them."""
_PARAMETERS = 8.03e9
_READY_SECONDS = 30.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replica:
    name: str
    backend: str
    accelerator: str
    gpu_uuid: str

    @property
    def models(self) -> list[str]:
        return [MODEL, SECOND_MODEL] if self.backend == _SECOND_MODEL_BACKEND else [MODEL]


def _replicas() -> list[_Replica]:
    return [
        _Replica(
            name=f"{backend}-{index}",
            backend=backend,
            accelerator=accelerator,
            gpu_uuid=f"GPU-demo-{backend}-{index}",
        )
        for backend, accelerator, count in _BACKENDS
        for index in range(count)
    ]


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


def backend_of(replica_name: str) -> str:
    """The backend of a replica of this fleet."""
    return replica_name.rpartition("-")[0]


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
            for replica in _replicas()
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
                    for replica in _replicas()
                    if replica.backend == backend
                ],
            }
            for backend, accelerator, _ in _BACKENDS
        ]
    }
