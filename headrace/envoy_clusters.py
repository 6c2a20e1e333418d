"""The two clusters of the Envoy bootstrap: the replicas and the routers. Pure."""

from collections.abc import Iterable
from datetime import timedelta

from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
from envoy_data_plane.envoy.extensions.load_balancing_policies.least_request import (
    v3 as least_request,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.override_host import (
    v3 as override_host,
)
from envoy_data_plane.envoy.extensions.load_balancing_policies.subset import v3 as subset
from envoy_data_plane.envoy.extensions.transport_sockets.tls import v3 as tls
from envoy_data_plane.envoy.extensions.upstreams.http import v3 as upstreams
from envoy_data_plane.envoy.type import v3 as envoy_type
from envoy_data_plane.envoy.type.metadata import v3 as metadata
from envoy_data_plane.google.protobuf import Any as AnyMessage
from envoy_data_plane.google.protobuf import Struct

from headrace.envoy_plan import EnvoyEndpoint, EnvoyPlan, is_ip_literal, split_address

REPLICA_CLUSTER = "replicas"
EXT_PROC_CLUSTER = "ext_proc"
DESTINATION = "x-gateway-destination-endpoint"
"""Header and metadata key of the pick (Endpoint Picker Protocol, GIE proposal 004)."""
DESTINATION_SERVED = "x-gateway-destination-endpoint-served"
"""Metadata key under which Envoy tells which endpoint served."""
LB_NAMESPACE = "envoy.lb"
"""Metadata namespace that the protocol and Envoy's subset load balancer share."""
MODEL_KEY = "model"
"""Metadata key of the model, on endpoints (a list) and on requests (a string)."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_GATEWAY_FAILURES_ENFORCED_PERCENT = 100


def seconds(value: float) -> timedelta:
    """A duration as the generated types take it."""
    return timedelta(seconds=value)


def pack(message: Message) -> AnyMessage:
    """A message as the ``typed_config`` of an extension."""
    return AnyMessage.pack(message)


def socket_address(host: str, port: int) -> core.Address:
    """A TCP address."""
    return core.Address(socket_address=core.SocketAddress(address=host, port_value=port))


def replica_cluster(plan: EnvoyPlan) -> cluster.Cluster:
    """The fleet: the router's pick when there is one, least requests otherwise."""
    return cluster.Cluster(
        name=REPLICA_CLUSTER,
        type=cluster.ClusterDiscoveryType.STATIC,
        connect_timeout=seconds(plan.timeouts.connect_seconds),
        per_connection_buffer_limit_bytes=plan.limits.connection_buffer_bytes,
        load_assignment=_load_assignment(
            REPLICA_CLUSTER, (_replica(endpoint) for endpoint in plan.endpoints)
        ),
        load_balancing_policy=_policy("override_host", _pick_or_fallback(plan)),
        common_lb_config=_no_panic(),
        health_checks=[_health_check(plan, http=core.HealthCheckHttpHealthCheck(path="/health"))],
        outlier_detection=_outlier_detection(plan),
        circuit_breakers=_circuit_breakers(plan),
        typed_extension_protocol_options={_HTTP_OPTIONS: pack(_replica_http_options(plan))},
    )


def ext_proc_cluster(plan: EnvoyPlan) -> cluster.Cluster:
    """The routers, over HTTP/2.

    There are no HTTP/2 keepalive pings: gRPC servers answer frequent pings with GOAWAY
    (``too_many_pings``). The health check finds a dead peer instead.
    """
    resolved = all(_needs_no_name_server(target) for target in plan.ext_proc_targets)
    discovery = cluster.ClusterDiscoveryType
    return cluster.Cluster(
        name=EXT_PROC_CLUSTER,
        type=discovery.STATIC if resolved else discovery.STRICT_DNS,
        connect_timeout=seconds(plan.timeouts.connect_seconds),
        per_connection_buffer_limit_bytes=plan.limits.connection_buffer_bytes,
        load_assignment=_load_assignment(
            EXT_PROC_CLUSTER, (_router(target) for target in plan.ext_proc_targets)
        ),
        load_balancing_policy=_policy("least_request", least_request.LeastRequest()),
        common_lb_config=_no_panic(),
        health_checks=[_health_check(plan, grpc=core.HealthCheckGrpcHealthCheck())],
        circuit_breakers=_circuit_breakers(plan),
        transport_socket=_tls_to_routers() if plan.ext_proc_tls else None,
        typed_extension_protocol_options={_HTTP_OPTIONS: pack(_ext_proc_http_options(plan))},
    )


def _tls_to_routers() -> core.TransportSocket:
    """Encrypted, not authenticated: pickers of the Inference Extension sign for themselves."""
    context = tls.UpstreamTlsContext(common_tls_context=tls.CommonTlsContext(alpn_protocols=["h2"]))
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))


def _pick_or_fallback(plan: EnvoyPlan) -> override_host.OverrideHost:
    """Metadata first: a client can send any header, but never metadata."""
    source = override_host.OverrideHostOverrideHostSource
    return override_host.OverrideHost(
        override_host_sources=[
            source(metadata=_lb_metadata_key(DESTINATION)),
            source(header=DESTINATION),
        ],
        selected_host_key=_lb_metadata_key(DESTINATION_SERVED),
        fallback_policy=_fallback_policy(plan),
    )


def _fallback_policy(plan: EnvoyPlan) -> cluster.LoadBalancingPolicy:
    """Least requests, among the replicas of the request's model where that matters.

    Two random choices rather than a full scan: a replica that has just died has the least
    requests of all, so that a full scan would return it at every retry.
    """
    least = _policy("least_request", least_request.LeastRequest())
    if not plan.models_differ:
        return least
    return _policy(
        "subset",
        subset.Subset(
            # A request without a readable model goes anywhere: the replica words the error.
            fallback_policy=subset.SubsetLbSubsetFallbackPolicy.ANY_ENDPOINT,
            subset_selectors=[subset.SubsetLbSubsetSelector(keys=[MODEL_KEY])],
            # The pick lies in the same namespace as the model.
            allow_redundant_keys=True,
            list_as_any=True,
            subset_lb_policy=least,
        ),
    )


def _policy(name: str, config: Message) -> cluster.LoadBalancingPolicy:
    extension = core.TypedExtensionConfig(
        name=f"envoy.load_balancing_policies.{name}", typed_config=pack(config)
    )
    return cluster.LoadBalancingPolicy(
        policies=[cluster.LoadBalancingPolicyPolicy(typed_extension_config=extension)]
    )


def _lb_metadata_key(key: str) -> metadata.MetadataKey:
    return metadata.MetadataKey(key=LB_NAMESPACE, path=[metadata.MetadataKeyPathSegment(key=key)])


def _outlier_detection(plan: EnvoyPlan) -> cluster.OutlierDetection:
    """Eject on refused and reset connections and on 502, 503 and 504, never on a plain 500.

    A prompt that makes an engine answer 500 would otherwise eject the fleet one by one as its
    client retries.
    """
    ejection_seconds = plan.timeouts.outlier_ejection_seconds
    return cluster.OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=plan.limits.outlier_consecutive_failures,
        consecutive_gateway_failure=plan.limits.outlier_consecutive_failures,
        enforcing_consecutive_gateway_failure=_GATEWAY_FAILURES_ENFORCED_PERCENT,
        enforcing_consecutive_5xx=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        interval=seconds(plan.timeouts.health_interval_seconds),
        base_ejection_time=seconds(ejection_seconds),
        max_ejection_percent=round(100 * plan.limits.outlier_max_ejection_ratio),
    )


def _circuit_breakers(plan: EnvoyPlan) -> cluster.CircuitBreakers:
    open_requests = plan.limits.max_open_requests
    return cluster.CircuitBreakers(
        thresholds=[
            cluster.CircuitBreakersThresholds(
                max_connections=open_requests,
                max_pending_requests=open_requests,
                max_requests=open_requests,
                max_retries=plan.limits.max_retries,
                track_remaining=True,
            )
        ]
    )


def _health_check(
    plan: EnvoyPlan,
    *,
    http: core.HealthCheckHttpHealthCheck | None = None,
    grpc: core.HealthCheckGrpcHealthCheck | None = None,
) -> core.HealthCheck:
    interval = seconds(plan.timeouts.health_interval_seconds)
    return core.HealthCheck(
        timeout=seconds(plan.timeouts.health_timeout_seconds),
        interval=interval,
        no_traffic_interval=interval,
        unhealthy_threshold=plan.limits.unhealthy_threshold,
        healthy_threshold=1,
        http_health_check=http,
        grpc_health_check=grpc,
    )


def _no_panic() -> cluster.ClusterCommonLbConfig:
    """Without this Envoy sends to dead hosts too once half are dead, hiding a clear 503."""
    return cluster.ClusterCommonLbConfig(healthy_panic_threshold=envoy_type.Percent(value=0.0))


def _replica_http_options(plan: EnvoyPlan) -> upstreams.HttpProtocolOptions:
    return upstreams.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(
            idle_timeout=seconds(plan.timeouts.upstream_idle_seconds)
        ),
        explicit_http_config=upstreams.HttpProtocolOptionsExplicitHttpConfig(
            http_protocol_options=core.Http1ProtocolOptions()
        ),
    )


def _ext_proc_http_options(plan: EnvoyPlan) -> upstreams.HttpProtocolOptions:
    return upstreams.HttpProtocolOptions(
        explicit_http_config=upstreams.HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=core.Http2ProtocolOptions(
                max_concurrent_streams=plan.limits.max_streams_per_connection
            )
        )
    )


def _load_assignment(
    name: str, lb_endpoints: Iterable[endpoint.LbEndpoint]
) -> endpoint.ClusterLoadAssignment:
    return endpoint.ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[endpoint.LocalityLbEndpoints(lb_endpoints=list(lb_endpoints))],
    )


def _replica(replica: EnvoyEndpoint) -> endpoint.LbEndpoint:
    host, port = split_address(replica.address, field_name="endpoints")
    models = Struct.from_dict({MODEL_KEY: list(replica.models)})
    return endpoint.LbEndpoint(
        endpoint=endpoint.Endpoint(address=socket_address(host, port)),
        metadata=core.Metadata(filter_metadata={LB_NAMESPACE: models}),
    )


def _router(target: str) -> endpoint.LbEndpoint:
    if target.startswith("unix:"):
        address = core.Address(pipe=core.Pipe(path=target.removeprefix("unix:")))
    else:
        host, port = split_address(target, field_name="ext_proc_targets")
        address = socket_address(host, port)
    return endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=address))


def _needs_no_name_server(target: str) -> bool:
    if target.startswith("unix:"):
        return True
    host, _ = split_address(target, field_name="ext_proc_targets")
    return is_ip_literal(host)
