"""Envoy's protobuf messages to events; what goes back is in router.extproc.encoder."""

from envoy.config.core.v3.base_pb2 import HeaderMap
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from router.extproc.events import (
    BodyMode,
    Event,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Unrecognized,
)
from router.extproc.hints import READ_HEADERS, read_subset

DESTINATION_HEADER = "x-gateway-destination-endpoint"
DESTINATION_NAMESPACE = "envoy.lb"
MODEL_KEY = "model"
SERVED_KEY = "x-gateway-destination-endpoint-served"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
SUBSET_KEY = "x-gateway-destination-endpoint-subset"

_METHOD, _PATH, _STATUS = ":method", ":path", ":status"
_CONTENT_TYPE, _CONTENT_ENCODING = "content-type", "content-encoding"
_REQUEST_HEADERS = READ_HEADERS | {_METHOD, _PATH}
_RESPONSE_HEADERS = frozenset({_STATUS, _CONTENT_TYPE, _CONTENT_ENCODING})


def read_event(data: bytes) -> Event:
    """The event that a serialized ProcessingRequest tells of.

    Raises:
        DecodeError: When it is not one.
    """
    return decode(ProcessingRequest.FromString(data))


def decode(message: ProcessingRequest) -> Event:
    """The event that a message tells of."""
    kind = message.WhichOneof("request")
    if kind == "response_body":
        part = message.response_body
        return ResponseBody(part.body, part.end_of_stream)
    if kind == "request_body":
        part = message.request_body
        return RequestBody(part.body, part.end_of_stream)
    if kind == "request_headers":
        return _request_headers(message)
    if kind == "response_headers":
        return _response_headers(message)
    return _TRAILERS.get(kind, _UNRECOGNIZED)


_UNRECOGNIZED = Unrecognized()
_TRAILERS: dict[str | None, Event] = {
    "request_trailers": RequestTrailers(),
    "response_trailers": ResponseTrailers(),
}


def _request_headers(message: ProcessingRequest) -> RequestHeaders:
    http_headers = message.request_headers
    read = _read_headers(http_headers.headers, _REQUEST_HEADERS)
    method, path = read.pop(_METHOD, ""), read.pop(_PATH, "")
    modes, end_of_stream = _body_modes(message), http_headers.end_of_stream
    return RequestHeaders(method, path, read, _subset(message), *modes, end_of_stream)


def _response_headers(message: ProcessingRequest) -> ResponseHeaders:
    http_headers = message.response_headers
    read = _read_headers(http_headers.headers, _RESPONSE_HEADERS)
    status = read.get(_STATUS, "")
    return ResponseHeaders(
        status=int(status) if status.isascii() and status.isdigit() else 0,
        served=_served(message),
        content_type=read.get(_CONTENT_TYPE, ""),
        content_encoding=read.get(_CONTENT_ENCODING, ""),
        end_of_stream=http_headers.end_of_stream,
    )


def _read_headers(headers: HeaderMap, names: frozenset[str]) -> dict[str, str]:
    """The few headers that are read, each as first sent; the others are not even decoded."""
    read: dict[str, str] = {}
    for header in headers.headers:
        name = header.key
        if name in names and name not in read:
            # Envoy fills raw_value; other proxies of the protocol may fill value.
            read[name] = header.raw_value.decode("utf-8", "replace") or header.value
    return read


def _body_modes(message: ProcessingRequest) -> tuple[BodyMode | None, BodyMode | None]:
    """(request, response) as the first message announces them, which not every proxy does."""
    if not message.HasField("protocol_config"):
        return None, None
    config = message.protocol_config
    return _body_mode(config.request_body_mode), _body_mode(config.response_body_mode)


def _body_mode(number: int) -> BodyMode:
    """A mode of a newer Envoy counts as one that is known and not supported."""
    return _MODES.get(number, BodyMode.GRPC)


_MODES = {mode.value: mode for mode in BodyMode}


def _served(message: ProcessingRequest) -> str | None:
    """Who serves, as "ip:port", or None; data planes that retried name the last one tried."""
    if not message.HasField("metadata_context"):
        return None
    namespaces = message.metadata_context.filter_metadata
    if DESTINATION_NAMESPACE not in namespaces:
        return None
    fields = namespaces[DESTINATION_NAMESPACE].fields
    return (fields[SERVED_KEY].string_value or None) if SERVED_KEY in fields else None


def _subset(message: ProcessingRequest) -> frozenset[str] | None:
    """The subset hint; a key whose value is no list and no string allows nothing (fails closed)."""
    if not message.HasField("metadata_context"):
        return None
    namespaces = message.metadata_context.filter_metadata
    if SUBSET_NAMESPACE not in namespaces:
        return None
    fields = namespaces[SUBSET_NAMESPACE].fields
    if SUBSET_KEY not in fields:
        return None
    hint = fields[SUBSET_KEY]
    if hint.HasField("list_value"):
        return read_subset(
            part for entry in hint.list_value.values for part in entry.string_value.split(",")
        )
    return read_subset(hint.string_value)
