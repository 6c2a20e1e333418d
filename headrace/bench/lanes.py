"""What benchmarks put around a router: an upstream of many addresses, and an Envoy."""

import asyncio
import contextlib
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from headrace.bench.extproc_load import MODEL
from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, EnvoyTimeouts, render_bootstrap
from headrace.envoy_plan import EnvoyBodyMode

EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
# Health checks of a thousand endpoints, and timeouts, are not what is measured.
_TIMEOUTS = EnvoyTimeouts(health_interval_seconds=600.0, ext_proc_message_seconds=30.0)


@contextlib.asynccontextmanager
async def upstream(module: str, replicas: int) -> AsyncIterator[list[str]]:
    """Run an upstream, a module that prints its addresses as JSON."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, str(replicas)),
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def bootstrap(
    addresses: Sequence[str],
    targets: Sequence[str],
    mode: EnvoyBodyMode,
    *,
    access_log_path: str | Path = os.devnull,
) -> dict[str, Any]:
    """Envoy before the replicas, with the routers at `targets`; none: without ext_proc."""
    rendered = render_bootstrap(
        EnvoyPlan(
            endpoints=tuple(EnvoyEndpoint(address=it, models=(MODEL,)) for it in addresses),
            ext_proc_targets=tuple(targets) or ("unix:/nobody",),
            body_mode=mode,
            access_log_path=str(access_log_path),
            timeouts=_TIMEOUTS,
        )
    )
    if not targets:
        _remove_filter(rendered, EXT_PROC_FILTER)
    return rendered


def raise_descriptor_limit() -> None:
    """As many files as are allowed: every open request costs some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _remove_filter(node: object, name: str) -> None:
    """Take the HTTP filter `name` out of a bootstrap, wherever it is."""
    if isinstance(node, dict):
        for value in node.values():
            _remove_filter(value, name)
    elif isinstance(node, list):
        node[:] = [it for it in node if not (isinstance(it, dict) and it.get("name") == name)]
        for value in node:
            _remove_filter(value, name)
