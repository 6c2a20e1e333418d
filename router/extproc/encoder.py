"""Replies to bytes that are ready to send.

Replies are serialized once: all that continue are constants, a route is made once per list of
endpoints and model. Only what carries a body or an answer to the client is built each time.
"""

from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ImmediateResponse,
    ProcessingResponse,
    TrailersResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from router.extproc.codec import DESTINATION_HEADER, DESTINATION_NAMESPACE, MODEL_KEY
from router.extproc.events import Chunk, Continue, Immediate, Metadata, Phase, Route
from router.extproc.scored import SCORES_KEY
from router.extproc.streamed_body import streamed_body

METERING_NAMESPACE = "headrace.metering"
"""Dynamic metadata that Envoy's access log may print."""

_MAX_CACHED_ROUTES = 4096
_WAY_SECONDS = 2.0


class Encoder:
    """Serializes replies; one per server, since it remembers the routes it has made."""

    __slots__ = ("_routes",)

    def __init__(self) -> None:
        """Start without routes."""
        self._routes: dict[tuple[tuple[str, ...], Phase, str | None], bytes] = {}

    def encode(self, reply: Continue | Route | Chunk | Immediate) -> bytes:
        """A serialized ProcessingResponse."""
        if isinstance(reply, Continue):
            return _CONTINUES[reply.phase] if reply.metadata is None else _continue(reply)
        if isinstance(reply, Route):
            return self._route(reply)
        if isinstance(reply, Chunk):
            return _chunk(reply)
        return _immediate(reply)

    def _route(self, route: Route) -> bytes:
        if route.content_length is not None or (route.pick and route.pick.scores is not None):
            return _route_bytes(route)
        key = (route.endpoints, route.phase, route.model)
        encoded = self._routes.get(key)
        if encoded is None:
            if len(self._routes) >= _MAX_CACHED_ROUTES:  # years of pods that came and went
                self._routes.clear()
            encoded = self._routes[key] = _route_bytes(route)
        return encoded


def patience(limit_seconds: float) -> bytes:
    """Asks Envoy to wait that long for the next answer, once, and a little for the way.

    Envoy follows within the filter's max_message_timeout and ignores it otherwise.
    """
    timeout = Duration()
    timeout.FromMilliseconds(round((limit_seconds + _WAY_SECONDS) * 1000))
    encoded: bytes = ProcessingResponse(override_message_timeout=timeout).SerializeToString()
    return encoded


def _set_header(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=name, raw_value=value.encode()),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _route_bytes(route: Route) -> bytes:
    """The pick in both places that the Endpoint Picker Protocol wants it, and equal in both.

    The model is for the fallback: when the picked replicas fail, Envoy's next choice has it too.
    The route cache is cleared because routes may match on the header.
    """
    destination = ",".join(route.endpoints)
    fields: dict[str, Any] = {DESTINATION_HEADER: destination}
    if route.model is not None:
        fields[MODEL_KEY] = route.model
    if route.pick is not None and route.pick.scores is not None:
        fields[SCORES_KEY] = dict(route.pick.scores)
    headers = [_set_header(DESTINATION_HEADER, destination)]
    if route.content_length is not None:
        headers.append(_set_header("content-length", str(route.content_length)))
    common = CommonResponse(
        header_mutation=HeaderMutation(set_headers=headers),
        body_mutation=None if route.body is None else BodyMutation(body=route.body),
        clear_route_cache=True,
    )
    answer = HeadersResponse if route.phase is Phase.REQUEST_HEADERS else BodyResponse
    return _bytes(
        ProcessingResponse(
            **{route.phase.value: answer(response=common)},
            dynamic_metadata=_metadata(DESTINATION_NAMESPACE, fields),
        )
    )


def _chunk(chunk: Chunk) -> bytes:
    encoded = streamed_body(chunk.phase, chunk.body, end_of_stream=chunk.end_of_stream)
    if chunk.metadata is None:
        return encoded
    # Serialized messages add up: what follows is merged into what was there.
    metadata = _metadata(METERING_NAMESPACE, chunk.metadata)
    return encoded + _bytes(ProcessingResponse(dynamic_metadata=metadata))


def _continue(reply: Continue) -> bytes:
    response = ProcessingResponse.FromString(_CONTINUES[reply.phase])
    response.dynamic_metadata.CopyFrom(_metadata(METERING_NAMESPACE, reply.metadata or {}))
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


def _metadata(namespace: str, fields: Metadata) -> Struct:
    metadata = Struct()
    metadata.update({namespace: dict(fields)})
    return metadata


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
