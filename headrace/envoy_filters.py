"""The HTTP filter chain of the OpenAI listener, in the order of a request. Pure."""

from envoy_data_plane.envoy.config.common.mutation_rules import v3 as mutation_rules
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.common.matching import v3 as matching
from envoy_data_plane.envoy.extensions.filters.common.matcher.action import v3 as matcher_action
from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as ext_proc
from envoy_data_plane.envoy.extensions.filters.http.header_mutation import v3 as header_mutation
from envoy_data_plane.envoy.extensions.filters.http.json_to_metadata import (
    v3 as json_to_metadata,
)
from envoy_data_plane.envoy.extensions.filters.http.router import v3 as router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.type.matcher import v3 as matcher
from envoy_data_plane.xds.core import v3 as xds_core
from envoy_data_plane.xds.type.matcher import v3 as xds_matcher

from headrace.envoy_clusters import (
    DESTINATION,
    EXT_PROC_CLUSTER,
    LB_NAMESPACE,
    MODEL_KEY,
    pack,
    seconds,
)
from headrace.envoy_plan import EnvoyBodyMode, EnvoyPlan

EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
"""Also the filter-state key under which the access log finds the router's latency."""
EXT_PROC_STAT_PREFIX = "headrace"

_SUBSET_HINT_NAMESPACE = "envoy.lb.subset_hint"
_METERING_NAMESPACE = "headrace.metering"
_CLIENT_MAY_NOT_SET = (
    DESTINATION,  # and its -subset, -served, -scores: steering is the router's
    "x-envoy-",  # e.g. x-envoy-retry-on would replay started generations
)


def http_filters(plan: EnvoyPlan) -> list[hcm.HttpFilter]:
    """Every filter, first to last."""
    filters = [_strip_client_headers(), _ext_proc(plan)]
    if plan.models_differ:
        filters.append(_model_for_fallback())
    return [*filters, _router()]


def _strip_client_headers() -> hcm.HttpFilter:
    removals = [
        mutation_rules.HeaderMutation(
            remove_on_match=mutation_rules.HeaderMutationRemoveOnMatch(
                key_matcher=matcher.StringMatcher(prefix=prefix)
            )
        )
        for prefix in _CLIENT_MAY_NOT_SET
    ]
    config = header_mutation.HeaderMutation(
        mutations=header_mutation.Mutations(request_mutations=removals)
    )
    return hcm.HttpFilter(name="envoy.filters.http.header_mutation", typed_config=pack(config))


def _ext_proc(plan: EnvoyPlan) -> hcm.HttpFilter:
    """The router.

    Request headers are sent because Envoy drops header mutations in the answer to a body whose
    headers were skipped. The pick needs the model in the body.
    """
    namespaces = ext_proc.MetadataOptionsMetadataNamespaces
    config = ext_proc.ExternalProcessor(
        grpc_service=core.GrpcService(
            envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=EXT_PROC_CLUSTER)
        ),
        failure_mode_allow=True,
        message_timeout=seconds(plan.timeouts.ext_proc_message_seconds),
        max_message_timeout=seconds(plan.timeouts.ext_proc_wait_seconds),
        stat_prefix=EXT_PROC_STAT_PREFIX,
        processing_mode=_processing_mode(plan),
        mutation_rules=mutation_rules.HeaderMutationRules(
            allow_all_routing=False, allow_envoy=False, disallow_system=True
        ),
        metadata_options=ext_proc.MetadataOptions(
            forwarding_namespaces=namespaces(untyped=[LB_NAMESPACE, _SUBSET_HINT_NAMESPACE]),
            receiving_namespaces=namespaces(untyped=[LB_NAMESPACE, _METERING_NAMESPACE]),
        ),
        forward_rules=_forward_rules(plan),
    )
    return hcm.HttpFilter(name=EXT_PROC_FILTER, typed_config=pack(config))


def _processing_mode(plan: EnvoyPlan) -> ext_proc.ProcessingMode:
    """What the router sees.

    Buffered, everything of the response is skipped: the stream then stays open until the HTTP
    request ends, which is how the router learns of the end. With an access-log receiver response
    headers are shown too, and the log tells the end. In full duplex the response tells it,
    and who served; Envoy requires trailers to be sent.
    """
    headers = ext_proc.ProcessingModeHeaderSendMode
    body = ext_proc.ProcessingModeBodySendMode
    if plan.body_mode is EnvoyBodyMode.FULL_DUPLEX:
        return ext_proc.ProcessingMode(
            request_header_mode=headers.SEND,
            request_body_mode=body.FULL_DUPLEX_STREAMED,
            request_trailer_mode=headers.SEND,
            response_header_mode=headers.SEND,
            response_body_mode=body.FULL_DUPLEX_STREAMED,
            response_trailer_mode=headers.SEND,
        )
    return ext_proc.ProcessingMode(
        request_header_mode=headers.SEND,
        request_body_mode=body.BUFFERED,
        request_trailer_mode=headers.SKIP,
        response_header_mode=headers.SKIP if plan.access_log_target is None else headers.SEND,
        response_body_mode=body.NONE,
        response_trailer_mode=headers.SKIP,
    )


def _forward_rules(plan: EnvoyPlan) -> ext_proc.HeaderForwardingRules | None:
    if not plan.withheld_headers:
        return None
    return ext_proc.HeaderForwardingRules(
        disallowed_headers=matcher.ListStringMatcher(
            patterns=[
                matcher.StringMatcher(exact=name, ignore_case=True)
                for name in plan.withheld_headers
            ]
        )
    )


def _model_for_fallback() -> hcm.HttpFilter:
    """Tell the fallback the model, only when the router has not picked.

    Placed behind ext_proc and skipped when there is a pick, so that Envoy parses a prompt
    only while the router is away.
    """
    config = json_to_metadata.JsonToMetadata(
        request_rules=json_to_metadata.JsonToMetadataMatchRules(
            rules=[
                json_to_metadata.JsonToMetadataRule(
                    selectors=[json_to_metadata.JsonToMetadataSelector(key="model")],
                    on_present=json_to_metadata.JsonToMetadataKeyValuePair(
                        metadata_namespace=LB_NAMESPACE,
                        key=MODEL_KEY,
                        preserve_existing_metadata_value=True,
                    ),
                )
            ],
            allow_content_types_regex=matcher.RegexMatcher(regex="(?i)application/json.*"),
            allow_empty_content_type=True,
        )
    )
    name = "envoy.filters.http.json_to_metadata"
    skippable = matching.ExtensionWithMatcher(
        xds_matcher=_skip_when_picked(),
        extension_config=core.TypedExtensionConfig(name=name, typed_config=pack(config)),
    )
    return hcm.HttpFilter(name=name, typed_config=pack(skippable))


def _skip_when_picked() -> xds_matcher.Matcher:
    picked = xds_matcher.MatcherMatcherListPredicateSinglePredicate(
        input=xds_core.TypedExtensionConfig(
            name="destination",
            typed_config=pack(matcher.HttpRequestHeaderMatchInput(header_name=DESTINATION)),
        ),
        value_match=xds_matcher.StringMatcher(
            safe_regex=xds_matcher.RegexMatcher(
                google_re2=xds_matcher.RegexMatcherGoogleRe2(), regex=".+"
            )
        ),
    )
    skip = xds_core.TypedExtensionConfig(
        name="skip", typed_config=pack(matcher_action.SkipFilter())
    )
    return xds_matcher.Matcher(
        matcher_list=xds_matcher.MatcherMatcherList(
            matchers=[
                xds_matcher.MatcherMatcherListFieldMatcher(
                    predicate=xds_matcher.MatcherMatcherListPredicate(single_predicate=picked),
                    on_match=xds_matcher.MatcherOnMatch(action=skip),
                )
            ]
        )
    )


def _router() -> hcm.HttpFilter:
    config = router.Router(suppress_envoy_headers=True)
    return hcm.HttpFilter(name="envoy.filters.http.router", typed_config=pack(config))
