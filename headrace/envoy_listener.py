"""The OpenAI listener: connection manager, one route, access log. Pure."""

from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.access_loggers.file import v3 as file_log
from envoy_data_plane.envoy.extensions.access_loggers.stream import v3 as stream_log
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts import v3 as previous_hosts
from envoy_data_plane.google.protobuf import Struct

from headrace.envoy_clusters import (
    DESTINATION,
    DESTINATION_SERVED,
    LB_NAMESPACE,
    MODEL_KEY,
    REPLICA_CLUSTER,
    pack,
    seconds,
    socket_address,
)
from headrace.envoy_energy import energy_fields, grpc_access_logs
from headrace.envoy_filters import EXT_PROC_FILTER, http_filters
from headrace.envoy_plan import EnvoyPlan
from headrace.envoy_replies import local_reply_config

OPENAI_LISTENER = "openai"

_RETRY_ON = "connect-failure,refused-stream,reset-before-request"
# Of two replicas the live one comes up in one draw of four; 40 draws miss it once in 100,000.
_HOST_SELECTION_ATTEMPTS = 40
_EXT_PROC_LATENCIES = ("request_header_latency_us", "request_body_total_latency_us")


def openai_listener(plan: EnvoyPlan) -> listener.Listener:
    """The listener that clients talk to."""
    manager = pack(_connection_manager(plan))
    network_filter = listener.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=manager
    )
    return listener.Listener(
        name=OPENAI_LISTENER,
        address=socket_address(plan.listen_host, plan.listen_port),
        per_connection_buffer_limit_bytes=plan.limits.connection_buffer_bytes,
        filter_chains=[listener.FilterChain(filters=[network_filter])],
    )


def _connection_manager(plan: EnvoyPlan) -> hcm.HttpConnectionManager:
    timeouts = plan.timeouts
    return hcm.HttpConnectionManager(
        stat_prefix=OPENAI_LISTENER,
        use_remote_address=True,
        # A client's own request id is worth more in a log than ours.
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        common_http_protocol_options=core.HttpProtocolOptions(
            idle_timeout=seconds(timeouts.downstream_idle_seconds)
        ),
        stream_idle_timeout=seconds(timeouts.stream_idle_seconds),
        request_headers_timeout=seconds(timeouts.request_headers_seconds),
        request_timeout=seconds(timeouts.request_receive_seconds),
        local_reply_config=local_reply_config(plan),
        access_log=[_access_log(plan), *grpc_access_logs(plan)],
        route_config=_routes(plan),
        http_filters=http_filters(plan),
    )


def _routes(plan: EnvoyPlan) -> route.RouteConfiguration:
    everything = route.Route(
        match=route.RouteMatch(prefix="/"),
        # Only for request bodies: connection buffers stay small, see EnvoyLimits.
        request_body_buffer_limit=plan.limits.max_body_bytes,
        route=route.RouteAction(
            cluster=REPLICA_CLUSTER,
            timeout=seconds(plan.timeouts.route_seconds),
            retry_policy=_retry_policy(plan),
        ),
    )
    host = route.VirtualHost(name=OPENAI_LISTENER, domains=["*"], routes=[everything])
    return route.RouteConfiguration(name=OPENAI_LISTENER, virtual_hosts=[host])


def _retry_policy(plan: EnvoyPlan) -> route.RetryPolicy:
    """Retry only what cannot have reached an engine: a generation is never paid for twice."""
    return route.RetryPolicy(
        retry_on=_RETRY_ON,
        num_retries=plan.limits.retries,
        retry_host_predicate=[
            route.RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=pack(previous_hosts.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=_HOST_SELECTION_ATTEMPTS,
    )


def _access_log(plan: EnvoyPlan) -> accesslog.AccessLog:
    log_format = core.SubstitutionFormatString(
        json_format=Struct.from_dict(_access_log_fields(plan))
    )
    if plan.access_log_path is None:
        return accesslog.AccessLog(
            name="envoy.access_loggers.stdout",
            typed_config=pack(stream_log.StdoutAccessLog(log_format=log_format)),
        )
    return accesslog.AccessLog(
        name="envoy.access_loggers.file",
        typed_config=pack(file_log.FileAccessLog(path=plan.access_log_path, log_format=log_format)),
    )


def _access_log_fields(plan: EnvoyPlan) -> dict[str, str]:
    """Field to format command. No prompt, no credential and no query string is logged."""
    latencies = {
        f"ext_proc_{name}": f"%FILTER_STATE({EXT_PROC_FILTER}:FIELD:{name})%"
        for name in _EXT_PROC_LATENCIES
    }
    return {
        "start_time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "client_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "status_details": "%RESPONSE_CODE_DETAILS%",
        "response_flags": "%RESPONSE_FLAGS%",
        "request_body_bytes": "%BYTES_RECEIVED%",
        "response_body_bytes": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "request_received_ms": "%REQUEST_DURATION%",
        "first_response_byte_ms": "%RESPONSE_DURATION%",
        "destination": f"%REQ({DESTINATION})%",
        "destination_served": f"%DYNAMIC_METADATA({LB_NAMESPACE}:{DESTINATION_SERVED})%",
        "model": f"%DYNAMIC_METADATA({LB_NAMESPACE}:{MODEL_KEY})%",
        "upstream_host": "%UPSTREAM_HOST%",
        "upstream_attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        **latencies,
        **energy_fields(plan),
    }
