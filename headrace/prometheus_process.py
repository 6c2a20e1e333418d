"""Runs one Prometheus as a child process, for `headrace demo` and the tests."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import aiohttp
import yaml

from headrace.child_process import ChildStartError, end, free_port, spawn_ready

_READY_SECONDS = 20.0
_STOP_SECONDS = 5.0


def prometheus_binary() -> Path | None:
    """The prometheus on PATH, or None."""
    found = shutil.which("prometheus")
    return Path(found) if found else None


class PrometheusProcess:
    """One Prometheus that scrapes static targets, as an async context manager.

    Attributes:
        url: Its root URL, once started.
    """

    def __init__(
        self,
        jobs: Mapping[str, Sequence[str]],
        *,
        folder: Path,
        interval_seconds: float = 1.0,
        kept_names: str | None = None,
    ) -> None:
        """Prepare.

        Args:
            jobs: Job name -> targets as "host:port".
            folder: Private to it; holds configuration, data and log.
            interval_seconds: Between two scrapes of a target.
            kept_names: Expression that the names of kept series match; None: all are kept.
        """
        self._jobs = jobs
        self._folder = folder
        self._interval_seconds = interval_seconds
        self._kept_names = kept_names
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Start and wait until it answers.

        Raises:
            ChildStartError: When it is not installed, or does not come up.
        """
        binary = prometheus_binary()
        if binary is None:
            raise ChildStartError("no prometheus on PATH")
        self._folder.mkdir(parents=True, exist_ok=True)
        config_path, log_path = self._folder / "prometheus.yml", self._folder / "prometheus.log"
        config_path.write_text(yaml.safe_dump(self._config()), encoding="utf-8")
        # Prometheus cannot say which port it took for :0, so one is chosen for it.
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self._process = await spawn_ready(
            "Prometheus",
            binary,
            [
                f"--config.file={config_path}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                "--storage.tsdb.retention.time=1h",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            log_path=log_path,
            is_ready=self._is_ready,
            ready_seconds=_READY_SECONDS,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.stop()

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            await end(self._process, grace_seconds=_STOP_SECONDS)

    def _config(self) -> dict[str, object]:
        interval = f"{int(self._interval_seconds * 1000)}ms"
        relabel = []
        if self._kept_names is not None:
            relabel.append(
                {"source_labels": ["__name__"], "regex": self._kept_names, "action": "keep"}
            )
        return {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [{"targets": list(targets)}],
                    "metric_relabel_configs": relabel,
                }
                for job, targets in self._jobs.items()
            ],
        }

    async def _is_ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.url}/-/ready") as answer,
            ):
                return answer.ok
        except aiohttp.ClientConnectionError:
            return False
