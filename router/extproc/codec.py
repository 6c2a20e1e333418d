"""Envoy's protobuf messages to events, and replies to bytes that are ready to send.

Replies are serialized once: all that continue are constants, a route is made once per address. Only
answers given to the client are built each time.
"""

from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    TrailersResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.struct_pb2 import Struct

from router.extproc.events import (
    BodyMode,
    Continue,
    Event,
    Immediate,
    Phase,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponsePart,
    Route,
    Unrecognized,
)
from router.extproc.hints import HINT_HEADERS, read_subset

DESTINATION_HEADER = "x-gateway-destination-endpoint"
DESTINATION_NAMESPACE = "envoy.lb"
MODEL_KEY = "model"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
SUBSET_KEY = "x-gateway-destination-endpoint-subset"

_METHOD, _PATH = ":method", ":path"
_READ_HEADERS = HINT_HEADERS | {_METHOD, _PATH}
_MAX_CACHED_ROUTES = 4096


# Messages to events


def decode(message: ProcessingRequest) -> Event:
    """The event that a message tells of."""
    kind = message.WhichOneof("request")
    if kind == "request_body":
        return RequestBody(message.request_body.body)
    if kind == "request_headers":
        return _request_headers(message)
    return _OTHER_EVENTS.get(kind, _UNRECOGNIZED)


_UNRECOGNIZED = Unrecognized()
_OTHER_EVENTS: dict[str | None, Event] = {
    "request_trailers": RequestTrailers(),
    "response_headers": ResponsePart(Phase.RESPONSE_HEADERS),
    "response_body": ResponsePart(Phase.RESPONSE_BODY),
    "response_trailers": ResponsePart(Phase.RESPONSE_TRAILERS),
}


def _request_headers(message: ProcessingRequest) -> RequestHeaders:
    http_headers = message.request_headers
    read = _read_headers(http_headers.headers)
    request_body_mode, response_body_mode = _body_modes(message)
    return RequestHeaders(
        method=read.pop(_METHOD, ""),
        path=read.pop(_PATH, ""),
        hints=read,
        subset=_subset(message),
        request_body_mode=request_body_mode,
        response_body_mode=response_body_mode,
        end_of_stream=http_headers.end_of_stream,
    )


def _read_headers(headers: HeaderMap) -> dict[str, str]:
    """The few headers that are read, each as first sent; the others are not even decoded."""
    read: dict[str, str] = {}
    for header in headers.headers:
        name = header.key
        if name in _READ_HEADERS and name not in read:
            # Envoy fills raw_value; other proxies of the protocol may fill value.
            read[name] = header.raw_value.decode("utf-8", "replace") or header.value
    return read


def _body_modes(message: ProcessingRequest) -> tuple[BodyMode, BodyMode]:
    """(request, response); proxies that announce no modes are taken to be set up as documented."""
    if not message.HasField("protocol_config"):
        return BodyMode.BUFFERED, BodyMode.NONE
    config = message.protocol_config
    return _body_mode(config.request_body_mode), _body_mode(config.response_body_mode)


def _body_mode(number: int) -> BodyMode:
    """A mode of a newer Envoy counts as one that is known and not supported."""
    return _MODES.get(number, BodyMode.GRPC)


_MODES = {mode.value: mode for mode in BodyMode}


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
        return read_subset(entry.string_value for entry in hint.list_value.values)
    return read_subset(hint.string_value)


# Replies to bytes


class Encoder:
    """Serializes replies; one per server, since it remembers the routes it has made."""

    __slots__ = ("_routes",)

    def __init__(self) -> None:
        """Start without routes."""
        self._routes: dict[tuple[str, str], bytes] = {}

    def encode(self, reply: Continue | Route | Immediate) -> bytes:
        """A serialized ProcessingResponse."""
        if isinstance(reply, Continue):
            return _CONTINUES[reply.phase]
        if isinstance(reply, Route):
            return self._route(reply.pick.address, reply.model)
        return _immediate(reply)

    def _route(self, address: str, model: str) -> bytes:
        key = (address, model)
        encoded = self._routes.get(key)
        if encoded is None:
            if len(self._routes) >= _MAX_CACHED_ROUTES:  # years of pods that came and went
                self._routes.clear()
            encoded = self._routes[key] = _route_bytes(address, model)
        return encoded


def _set_header(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=name, raw_value=value.encode()),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _route_bytes(address: str, model: str) -> bytes:
    """The pick in both places that the Endpoint Picker Protocol wants it, and equal in both.

    The model is for the fallback: when the picked replica fails, Envoy's next choice has it too.
    """
    metadata = Struct()
    metadata.update({DESTINATION_NAMESPACE: {DESTINATION_HEADER: address, MODEL_KEY: model}})
    mutation = HeaderMutation(set_headers=[_set_header(DESTINATION_HEADER, address)])
    response = ProcessingResponse(
        request_body=BodyResponse(response=CommonResponse(header_mutation=mutation)),
        dynamic_metadata=metadata,
    )
    return _bytes(response)


def _immediate(answer: Immediate) -> bytes:
    headers = (("content-type", "application/json"), *answer.headers)
    response = ProcessingResponse(
        immediate_response=ImmediateResponse(
            status=HttpStatus(code=answer.status),
            headers=HeaderMutation(set_headers=[_set_header(*header) for header in headers]),
            body=answer.body,
            details=answer.details,
        )
    )
    return _bytes(response)


def _bytes(response: ProcessingResponse) -> bytes:
    encoded: bytes = response.SerializeToString()
    return encoded


def _continues() -> dict[Phase, bytes]:
    # A client must not steer: whatever destination it sent is removed before any filter sees it.
    strip = CommonResponse(header_mutation=HeaderMutation(remove_headers=[DESTINATION_HEADER]))
    contents: dict[Phase, Any] = {
        Phase.REQUEST_HEADERS: HeadersResponse(response=strip),
        Phase.REQUEST_BODY: BodyResponse(),
        Phase.REQUEST_TRAILERS: TrailersResponse(),
        Phase.RESPONSE_HEADERS: HeadersResponse(),
        Phase.RESPONSE_BODY: BodyResponse(),
        Phase.RESPONSE_TRAILERS: TrailersResponse(),
    }
    return {
        phase: _bytes(ProcessingResponse(**{phase.value: content}))
        for phase, content in contents.items()
    }


_CONTINUES = _continues()
