"""Envoy's own answers in the error format of the OpenAI API. Pure.

The router's immediate answers pass the same hook and must stay as they are; they are told apart
by their content type, which Envoy's own answers do not have yet when the mappers run.
"""

from typing import NamedTuple

from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel import v3 as cel
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.google.protobuf import Struct

from headrace.envoy_clusters import pack
from headrace.envoy_plan import EnvoyPlan


class _Reply(NamedTuple):
    status: int
    error_type: str
    code: str
    message: str
    retry_after_seconds: int | None = None
    details_prefix: str | None = None  # of Envoy's response code details


def local_reply_config(plan: EnvoyPlan) -> hcm.LocalReplyConfig:
    """One mapper per status that Envoy answers by itself; the first that matches words it."""
    return hcm.LocalReplyConfig(mappers=[_mapper(reply) for reply in _replies(plan)])


def _replies(plan: EnvoyPlan) -> tuple[_Reply, ...]:
    retry_after_seconds = plan.timeouts.retry_after_seconds
    too_large = f"The request body is larger than the limit of {plan.limits.max_body_bytes} bytes."
    client, server = "invalid_request_error", "server_error"
    return (
        _Reply(400, client, "malformed_request", "The request is not valid HTTP."),
        _Reply(408, client, "request_timeout", "The request was not received in time."),
        _Reply(413, client, "request_too_large", too_large),
        _Reply(431, client, "headers_too_large", "The request headers are too large."),
        _Reply(500, server, "internal_error", "The gateway failed to process the request."),
        _Reply(502, server, "bad_replica_answer", "The replica's answer was not valid HTTP."),
        _Reply(
            503,
            server,
            "replica_failed",
            "The replica could not be reached or ended the connection before it answered.",
            retry_after_seconds,
            details_prefix="upstream_reset_before_response_started",
        ),
        _Reply(
            503,
            server,
            "no_healthy_replica",
            "No replica can serve this request at present; please retry.",
            retry_after_seconds,
        ),
        _Reply(504, server, "replica_timeout", "The replica did not answer in time."),
    )


def _mapper(reply: _Reply) -> hcm.ResponseMapper:
    error = {
        "message": reply.message,
        "type": reply.error_type,
        "param": None,
        "code": reply.code,
    }
    conditions = [f"response.code == {reply.status}", "!('content-type' in response.headers)"]
    if reply.details_prefix is not None:
        conditions.append(f"response.code_details.startsWith('{reply.details_prefix}')")
    return hcm.ResponseMapper(
        filter=accesslog.AccessLogFilter(
            extension_filter=accesslog.ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel",
                typed_config=pack(cel.ExpressionFilter(expression=" && ".join(conditions))),
            )
        ),
        body_format_override=core.SubstitutionFormatString(
            json_format=Struct.from_dict({"error": error}),
            content_type="application/json",
        ),
        headers_to_add=_retry_after(reply.retry_after_seconds),
    )


def _retry_after(retry_after_seconds: int | None) -> list[core.HeaderValueOption]:
    if retry_after_seconds is None:
        return []
    header = core.HeaderValue(key="retry-after", value=str(retry_after_seconds))
    return [core.HeaderValueOption(header=header)]
