"""What of a serve file the part that answers Envoy is set up with."""

from headrace.routing import RoutingPlan, TracingPlan
from headrace.serve_file import ServeSection


def routing_plan(config: ServeSection) -> RoutingPlan:
    """Of a checked serve file."""
    observability, events, tracing = config.observability, config.affinity.kv_events, config.tracing
    return RoutingPlan(
        decide=config.decide_settings(),
        admission=config.admission.settings(),
        metering=config.metering_settings(),
        intensity=config.metering.intensity(),
        ext_proc=config.ext_proc_settings(),
        freshness=config.freshness_policy(),
        tell_scores=observability.emit_endpoint_scores,
        remembered_picks=observability.remembered_picks,
        explained_per_second=observability.explained_per_second,
        kv_events=None if events is None else events.settings(),
        tracing=None
        if tracing is None
        else TracingPlan(
            endpoint=tracing.otlp_endpoint,
            service_name=tracing.service_name,
            only_sampled=tracing.only_sampled,
        ),
    )
