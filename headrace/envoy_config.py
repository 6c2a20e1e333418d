"""Envoy's bootstrap for a fleet, rendered from a plan. Pure.

The message types of ``envoy-data-plane`` check names and shapes here; ``envoy --mode validate``
checks the rest in the tests. Importing this module takes half a second because of those types,
so commands that do not need it import it late.
"""

from typing import Any

import yaml
from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.overload import v3 as overload
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections import (
    v3 as downstream_connections,
)

from headrace.envoy_clusters import ext_proc_cluster, pack, replica_cluster, socket_address
from headrace.envoy_energy import access_log_clusters
from headrace.envoy_listener import openai_listener
from headrace.envoy_plan import (
    EnvoyEndpoint,
    EnvoyLimits,
    EnvoyPlan,
    EnvoyPlanError,
    EnvoyTimeouts,
)

__all__ = [
    "EnvoyEndpoint",
    "EnvoyLimits",
    "EnvoyPlan",
    "EnvoyPlanError",
    "EnvoyTimeouts",
    "render_bootstrap",
    "render_yaml",
]

_LOOPBACK = "127.0.0.1"


def render_bootstrap(plan: EnvoyPlan) -> dict[str, Any]:
    """The bootstrap as the JSON-like mapping that Envoy reads, snake_case names."""
    message = bootstrap.Bootstrap(
        node=core.Node(id="headrace", cluster="headrace"),
        admin=bootstrap.Admin(address=socket_address(_LOOPBACK, plan.admin_port)),
        static_resources=bootstrap.BootstrapStaticResources(
            listeners=[openai_listener(plan)],
            clusters=[replica_cluster(plan), ext_proc_cluster(plan), *access_log_clusters(plan)],
        ),
        overload_manager=overload.OverloadManager(resource_monitors=[_connection_limit(plan)]),
    )
    # betterproto2 calls any callable; its own snake casing breaks consecutive_5xx in two, while
    # the generated attributes have Envoy's names already.
    return message.to_dict(casing=str)  # type: ignore[arg-type]  # annotated as its own enum


def render_yaml(plan: EnvoyPlan) -> str:
    """The bootstrap as YAML text, in the field order of Envoy's definitions."""
    return yaml.safe_dump(render_bootstrap(plan), sort_keys=False, width=100)


def _connection_limit(plan: EnvoyPlan) -> overload.ResourceMonitor:
    config = downstream_connections.DownstreamConnectionsConfig(
        max_active_downstream_connections=plan.limits.max_downstream_connections
    )
    return overload.ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections",
        typed_config=pack(config),
    )
