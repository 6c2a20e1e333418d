"""What Envoy is told of energy, and tells of ends: log fields and the gRPC access log. Pure."""

from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
from envoy_data_plane.envoy.extensions.access_loggers.grpc import v3 as grpc_log
from envoy_data_plane.envoy.extensions.upstreams.http import v3 as upstreams

from headrace.envoy_clusters import pack, seconds, socket_address
from headrace.envoy_plan import EnvoyBodyMode, EnvoyPlan, is_ip_literal, split_address

METERING_NAMESPACE = "headrace.metering"
"""Metadata namespace of a request's energy."""
ACCESS_LOG_CLUSTER = "access_log"

_LOG_NAME = "headrace"
# The router keeps a request in its ledger until the entry comes, so entries are sent soon.
_FLUSH_SECONDS = 0.1
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEYS = ("joules", "grams_co2e", "method", "coverage_ratio", "predicted_dynamic_joules")


def tells_energy(plan: EnvoyPlan) -> bool:
    """Whether the router sees the response, and so can tell Envoy the energy."""
    return plan.body_mode is EnvoyBodyMode.FULL_DUPLEX or plan.access_log_target is not None


def energy_fields(plan: EnvoyPlan) -> dict[str, str]:
    """Access-log fields; in buffered mode joules are those up to the response headers."""
    if not tells_energy(plan):
        return {}
    return {f"energy_{key}": f"%DYNAMIC_METADATA({METERING_NAMESPACE}:{key})%" for key in _KEYS}


def grpc_access_logs(plan: EnvoyPlan) -> list[accesslog.AccessLog]:
    """The access log that goes to the router, when it has a receiver."""
    if plan.access_log_target is None:
        return []
    config = grpc_log.HttpGrpcAccessLogConfig(
        common_config=grpc_log.CommonGrpcAccessLogConfig(
            log_name=_LOG_NAME,
            grpc_service=core.GrpcService(
                envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=ACCESS_LOG_CLUSTER)
            ),
            transport_api_version=core.ApiVersion.V3,
            buffer_flush_interval=seconds(_FLUSH_SECONDS),
        )
    )
    return [accesslog.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=pack(config))]


def access_log_clusters(plan: EnvoyPlan) -> list[cluster.Cluster]:
    """The router's receiver, over HTTP/2."""
    if plan.access_log_target is None:
        return []
    host, port = split_address(plan.access_log_target, field_name="access_log_target")
    discovery = cluster.ClusterDiscoveryType
    protocol = core.Http2ProtocolOptions()
    options = upstreams.HttpProtocolOptions(
        explicit_http_config=upstreams.HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=protocol
        )
    )
    target = endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=socket_address(host, port)))
    return [
        cluster.Cluster(
            name=ACCESS_LOG_CLUSTER,
            type=discovery.STATIC if is_ip_literal(host) else discovery.STRICT_DNS,
            connect_timeout=seconds(plan.timeouts.connect_seconds),
            load_assignment=endpoint.ClusterLoadAssignment(
                cluster_name=ACCESS_LOG_CLUSTER,
                endpoints=[endpoint.LocalityLbEndpoints(lb_endpoints=[target])],
            ),
            typed_extension_protocol_options={_HTTP_OPTIONS: pack(options)},
        )
    ]
