"""The Envoy that benchmarks put before the replicas."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headrace.bench.extproc_load import MODEL
from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, EnvoyTimeouts, render_bootstrap
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyProcess

EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
# Health checks of a thousand endpoints, and timeouts, are not what is measured.
_TIMEOUTS = EnvoyTimeouts(health_interval_seconds=600.0, ext_proc_message_seconds=30.0)
_FAILED_OPEN = r"ext_proc\..*failure_mode_allowed$"


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


async def passed_by(envoy: EnvoyProcess) -> int:
    """Requests that Envoy let pass so far because the ext_proc server did not answer."""
    return sum((await envoy.stats(_FAILED_OPEN)).values())


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
