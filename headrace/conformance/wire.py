"""Messages as Envoy sends them: raw header values, announced body modes, metadata on each."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue, Metadata
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProtocolConfiguration,
)
from google.protobuf.struct_pb2 import Struct

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
DESTINATION = "x-gateway-destination-endpoint"
DESTINATION_NAMESPACE = "envoy.lb"
SERVED = "x-gateway-destination-endpoint-served"
SUBSET = "x-gateway-destination-endpoint-subset"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"

# Addresses of RFC 5737: no pool has them.
UNKNOWN_ENDPOINT = "192.0.2.1:65001"
FORGED_ENDPOINT = "192.0.2.66:6666"

_ATTRIBUTES_KEY = "envoy.filters.http.ext_proc"

Headers = tuple[tuple[str, str], ...]
MetadataFields = Mapping[str, Mapping[str, Any]]


class BodyMode(StrEnum):
    """How bodies travel; the first two are what the suite can be run in."""

    FULL_DUPLEX = "full-duplex"
    BUFFERED = "buffered"
    STREAMED = "streamed"
    NONE = "none"


_WIRE_MODES = {
    BodyMode.FULL_DUPLEX: ProcessingMode.FULL_DUPLEX_STREAMED,
    BodyMode.BUFFERED: ProcessingMode.BUFFERED,
    BodyMode.STREAMED: ProcessingMode.STREAMED,
    BodyMode.NONE: ProcessingMode.NONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request of a client.

    Attributes:
        chunks: Its body as it arrives, or None for a request that ends with its headers.
        headers: Beyond the usual ones.
        metadata: Namespaces of dynamic metadata that the proxy forwards.
        trailers: Whether trailers follow the body.
        response_mode: The mode announced for the body of the response.
    """

    method: str = "POST"
    path: str = "/v1/chat/completions"
    chunks: tuple[bytes, ...] | None = None
    headers: Headers = ()
    metadata: MetadataFields | None = None
    trailers: bool = False
    response_mode: BodyMode | None = None

    @property
    def body(self) -> bytes:
        """The body, whole."""
        return b"".join(self.chunks or ())

    @property
    def all_headers(self) -> Headers:
        """Headers as the proxy has them before it asks."""
        usual = [
            (":method", self.method),
            (":scheme", "https"),
            (":authority", "llm.example.com"),
            (":path", self.path),
            ("x-request-id", "5f0b1b36-8d1c-4b1e-9c54-0a1f6a0a7f11"),
            ("x-forwarded-proto", "https"),
        ]
        if self.chunks is not None:
            usual += [
                ("content-type", "application/json"),
                ("content-length", str(len(self.body))),
            ]
        return (*usual, *self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A replica's answer.

    Attributes:
        chunks: Its body as it arrives, or None for an answer that ends with its headers.
        metadata: Namespaces of dynamic metadata that the proxy forwards.
        trailers: Whether trailers follow the body.
    """

    status: int = 200
    chunks: tuple[bytes, ...] | None = None
    metadata: MetadataFields | None = None
    trailers: bool = False

    @property
    def all_headers(self) -> Headers:
        """Headers as the replica sent them."""
        return ((":status", str(self.status)), ("content-type", "text/event-stream"))


def chat_body(model: str, content: str = "Say hello.") -> bytes:
    """A chat completion request."""
    messages = [{"role": "user", "content": content}]
    fields = {"model": model, "messages": messages, "max_tokens": 8}
    return json.dumps(fields, ensure_ascii=False).encode()


def response_mode(mode: BodyMode) -> BodyMode:
    """The mode of a response's body that goes with one of a request's."""
    return BodyMode.FULL_DUPLEX if mode is BodyMode.FULL_DUPLEX else BodyMode.NONE


def request_headers(request: HttpRequest, mode: BodyMode) -> ProcessingRequest:
    """The first message of a stream."""
    announced = request.response_mode or response_mode(mode)
    attributes = Struct()
    attributes.update({"request.path": request.path, "request.method": request.method})
    return ProcessingRequest(
        request_headers=HttpHeaders(
            headers=header_map(request.all_headers), end_of_stream=request.chunks is None
        ),
        metadata_context=_metadata(request.metadata),
        attributes={_ATTRIBUTES_KEY: attributes},
        protocol_config=ProtocolConfiguration(
            request_body_mode=_WIRE_MODES[mode], response_body_mode=_WIRE_MODES[announced]
        ),
    )


def request_bodies(request: HttpRequest, mode: BodyMode) -> Iterator[ProcessingRequest]:
    """What follows the headers: one message when buffered, else a message per chunk."""
    if request.chunks is None:
        return
    chunks = (request.body,) if mode is BodyMode.BUFFERED else request.chunks
    for body, end in _with_ends(chunks, trailers=request.trailers):
        yield request_body(body, end_of_stream=end, metadata=request.metadata)
    if request.trailers and mode is BodyMode.FULL_DUPLEX:
        yield ProcessingRequest(
            request_trailers=HttpTrailers(trailers=header_map((("x-checksum", "1"),))),
            metadata_context=_metadata(request.metadata),
        )


def request_body(
    body: bytes, *, end_of_stream: bool, metadata: MetadataFields | None = None
) -> ProcessingRequest:
    """A piece of the request's body."""
    return ProcessingRequest(
        request_body=HttpBody(body=body, end_of_stream=end_of_stream),
        metadata_context=_metadata(metadata),
    )


def response_headers(response: HttpResponse) -> ProcessingRequest:
    """The first message of the response phase."""
    return ProcessingRequest(
        response_headers=HttpHeaders(
            headers=header_map(response.all_headers), end_of_stream=response.chunks is None
        ),
        metadata_context=_metadata(response.metadata),
    )


def response_bodies(response: HttpResponse, mode: BodyMode) -> Iterator[ProcessingRequest]:
    """What follows the headers of a response whose body is shown."""
    for body, end in _with_ends(response.chunks or (), trailers=response.trailers):
        yield ProcessingRequest(
            response_body=HttpBody(body=body, end_of_stream=end),
            metadata_context=_metadata(response.metadata),
        )
    if response.trailers and mode is BodyMode.FULL_DUPLEX:
        yield ProcessingRequest(
            response_trailers=HttpTrailers(trailers=header_map((("x-checksum", "1"),))),
            metadata_context=_metadata(response.metadata),
        )


def subset_metadata(value: Sequence[str] | str) -> MetadataFields:
    """The subset hint, as a list or as one string."""
    hint = value if isinstance(value, str) else list(value)
    return {SUBSET_NAMESPACE: {SUBSET: hint}}


def header_map(headers: Headers) -> HeaderMap:
    """Headers as Envoy fills them: in `raw_value`."""
    return HeaderMap(
        headers=[HeaderValue(key=name, raw_value=value.encode()) for name, value in headers]
    )


def _with_ends(chunks: Sequence[bytes], *, trailers: bool) -> Iterator[tuple[bytes, bool]]:
    """Chunks and whether each is the end; with trailers none is."""
    last = len(chunks) - 1
    for number, chunk in enumerate(chunks):
        yield chunk, number == last and not trailers


def _metadata(namespaces: MetadataFields | None) -> Metadata:
    """Always there, empty when nothing is forwarded."""
    metadata = Metadata()
    for name, fields in (namespaces or {}).items():
        metadata.filter_metadata[name].update(fields)
    return metadata
