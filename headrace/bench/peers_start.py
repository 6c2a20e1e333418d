"""Rivals as arms of `headrace bench peers`: started, probed, ended with all their children."""

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path

import aiohttp
import yaml

from headrace.bench.extproc_load import MODEL
from headrace.bench.peers_arms import Arm
from headrace.bench.peers_catalogue import Peer, Place
from headrace.bench.process_tree import members
from headrace.child_process import end, free_port, spawn_ready

_READY_SECONDS = 90.0
_STOP_SECONDS = 5.0
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=5)
# Becomes the command by exec, with more variables: the process id stays.
_ENV = Path("/usr/bin/env")


@contextlib.asynccontextmanager
async def rival(
    wanted: Peer,
    command: Path,
    addresses: Sequence[str],
    folder: Path,
    ready_seconds: float = _READY_SECONDS,
) -> AsyncIterator[Arm]:
    """A rival.

    Raises:
        ChildStartError: When it does not come up.
    """
    home = folder / wanted.name
    home.mkdir()
    place = Place(
        addresses=addresses,
        model=MODEL,
        port=free_port(),
        metrics_port=free_port(),
        config_path=str(home / "config.yaml"),
    )
    if wanted.config is not None:
        text = yaml.safe_dump(wanted.config(place), sort_keys=False)
        Path(place.config_path).write_text(text, encoding="utf-8")
    variables = [f"{name}={value}" for name, value in wanted.environment.items()]
    process = await spawn_ready(
        wanted.name,
        _ENV,
        [*variables, str(command), *wanted.argv(place)],
        log_path=home / "log.txt",
        is_ready=lambda: _is_ready(place, wanted.ready_path),
        ready_seconds=ready_seconds,
    )
    try:
        yield Arm(name=wanted.name, address=("127.0.0.1", place.port), roots=(process.pid,))
    finally:
        family = members([process.pid])
        await end(process, grace_seconds=_STOP_SECONDS)
        _kill_left(family, process.pid)


def _kill_left(family: Sequence[int], group: int) -> None:
    """Children that did not end with their parent; they are of its process group still."""
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group:
                os.kill(pid, signal.SIGKILL)


async def _is_ready(place: Place, path: str) -> bool:
    """Whether it serves, knows all upstreams where it tells, and answers a request."""
    base = f"http://127.0.0.1:{place.port}"
    request = {"model": MODEL, "messages": [{"role": "user", "content": "Ready?"}]}
    try:
        async with aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session:
            async with session.get(base + path) as answer:
                text = await answer.text()
                if answer.status != HTTPStatus.OK or not _has_all(text, len(place.addresses)):
                    return False
            async with session.post(f"{base}/v1/chat/completions", json=request) as answer:
                return answer.status == HTTPStatus.OK
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


def _has_all(text: str, count: int) -> bool:
    try:
        document = json.loads(text)
    except ValueError:
        return True
    told = document.get("healthy_workers") if isinstance(document, dict) else None
    return told is None or told == count
