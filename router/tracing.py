"""OpenTelemetry spans of picks, joined to the caller's trace. Off unless configured.

The library is an extra (`pip install headrace[tracing]`) and imported only when tracing is on; off,
a request pays nothing. One span per request, `headrace.pick`, a child of the caller's
`traceparent`, is made when the request ends: its energy is known then, and its start is the pick's.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from router.metering.journey import Journey
from router.metering.record import AccessRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

SPAN_NAME = "headrace.pick"
_SAMPLED = 1
_HEX = 16
_NANOSECONDS = 1_000_000_000
_INVALID = 0
# A collector that is gone may hold up the end of the process for about this long.
_EXPORT_TIMEOUT_SECONDS = 5


class TracingUnavailableError(Exception):
    """Tracing is configured and its library is not installed."""


class Tracing:
    """A sink of the recorder that makes spans."""

    def __init__(self, provider: "TracerProvider", *, only_sampled: bool = True) -> None:
        """Make spans with `provider`.

        Args:
            provider: Where spans go.
            only_sampled: Leave out requests whose caller did not sample them or sent no trace.
        """
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("headrace")
        self._only_sampled = only_sampled

    def add(self, record: AccessRecord, journey: Journey) -> None:
        """Make the span of one request that ended."""
        from opentelemetry import trace  # noqa: PLC0415 - an extra; loaded already when we exist

        context = None
        parent = read_traceparent(journey.caller.traceparent)
        if parent is not None:
            span_context = trace.SpanContext(
                trace_id=parent[0],
                span_id=parent[1],
                is_remote=True,
                trace_flags=trace.TraceFlags(parent[2]),
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(span_context))
        if self._only_sampled and (parent is None or not parent[2] & _SAMPLED):
            return
        end = int(record.ended_epoch_seconds * _NANOSECONDS)
        start = end - int(record.duration_seconds * _NANOSECONDS)
        span = self._tracer.start_span(
            SPAN_NAME, context=context, start_time=start, attributes=attributes(record)
        )
        span.end(end_time=end)

    def close(self) -> None:
        """Send what is held."""
        self._provider.shutdown()


def attributes(record: AccessRecord) -> dict[str, str | float | int | bool]:
    """A span's attributes: the record's fields under "headrace.", what is unknown left out."""
    return {
        f"headrace.{name}": value
        for name, value in record.to_dict().items()
        if value is not None and name not in _NOT_ATTRIBUTES
    }


_NOT_ATTRIBUTES = frozenset({"schema", "trace_id", "ended_epoch_seconds"})


def read_traceparent(text: str | None) -> tuple[int, int, int] | None:
    """(trace id, span id, flags) of a W3C traceparent, or None when it is not one."""
    parts = (text or "").strip().split("-")
    widths = [2, 32, 16, 2]
    if len(parts) < len(widths) or parts[0] == "ff":
        return None
    if any(len(part) != width for part, width in zip(parts, widths, strict=False)):
        return None
    try:
        _, trace_id, span_id, flags = (int(part, _HEX) for part in parts[: len(widths)])
    except ValueError:
        return None
    if _INVALID in (trace_id, span_id):
        return None
    return trace_id, span_id, flags


def otlp_tracing(endpoint: str, *, service_name: str, only_sampled: bool) -> Tracing:
    """Spans to an OTLP collector over gRPC, sent in batches from a thread of the library's own.

    Raises:
        TracingUnavailableError: When the extra is not installed.
    """
    try:
        modules = _otlp_modules()
    except ImportError as error:
        raise TracingUnavailableError(
            "tracing: needs the extra 'tracing' (pip install 'headrace[tracing]'): "
            f"{error.name} is missing."
        ) from error
    exporter_type, resource_type, provider_type, processor_type = modules
    provider = provider_type(resource=resource_type.create({"service.name": service_name}))
    exporter = exporter_type(
        endpoint=endpoint,
        insecure=not endpoint.startswith("https://"),
        timeout=_EXPORT_TIMEOUT_SECONDS,
    )
    provider.add_span_processor(processor_type(exporter))
    return Tracing(provider, only_sampled=only_sampled)


def _otlp_modules() -> tuple[Callable[..., Any], Any, Callable[..., Any], Callable[..., Any]]:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415 - an extra
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

    return OTLPSpanExporter, Resource, TracerProvider, BatchSpanProcessor
