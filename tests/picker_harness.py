"""A small correct picker, independent of the router, that can be given one defect at a time."""

import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import NamedTuple

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    StreamedBodyResponse,
    TrailersResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
HEADER = "x-gateway-destination-endpoint"
SUBSET = "x-gateway-destination-endpoint-subset"
ENDPOINTS = ("127.0.0.1:8001", "127.0.0.1:8002", "127.0.0.1:8003")
MODEL = "llama"
CHUNK_BYTES = 60_000
SERVED = ("", "liveness", "readiness", EXT_PROC_SERVICE)
DUPLEX = ProcessingMode.FULL_DUPLEX_STREAMED


class RefusedError(Exception):
    """Answered with an error; arguments: status, message."""


class ProtocolError(Exception):
    """A message that does not belong here."""


def overwrite(name, value):
    return HeaderValueOption(
        header=HeaderValue(key=name, raw_value=value.encode()),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def continued(side, part, **fields):
    kind = {"headers": HeadersResponse, "body": BodyResponse}[part]
    return ProcessingResponse(**{f"{side}_{part}": kind(response=CommonResponse(**fields))})


class Stream:
    """One stream of the picker: messages in, replies out."""

    def __init__(self, picker):
        self.picker = picker
        self.subset = None
        self.hints = {}
        self.body = bytearray()
        self.begun = self.picked = False
        self.duplex = {}
        self.bare = False

    def take(self, message):
        """Replies to a message."""
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            return self.request_headers(message)
        if not self.begun:
            raise ProtocolError(f"{kind} without headers")
        return getattr(self, kind)(message)

    def request_headers(self, message):
        if self.begun:
            raise ProtocolError("headers twice")
        self.begun = True
        config = message.protocol_config
        self.duplex["request"] = config.request_body_mode == DUPLEX
        self.duplex["response"] = config.response_body_mode == DUPLEX
        self.subset = self.read_subset(message.metadata_context)
        self.bare = message.request_headers.end_of_stream
        if self.bare:
            return self.pick_for_headers()
        return [] if self.duplex["request"] else [continued("request", "headers")]

    def read_subset(self, context):
        namespace = MessageToDict(context).get("filterMetadata", {}).get("envoy.lb.subset_hint", {})
        hint = namespace.get(SUBSET)
        return hint.split(",") if isinstance(hint, str) else hint

    def pick_for_headers(self):
        self.picked = True
        return [self.pick_reply("headers", self.choose())]

    def request_body(self, message):
        if self.picked:
            if self.duplex["request"]:
                return []  # Envoy's duplicate end of stream
            raise ProtocolError("a second body")
        self.body += message.request_body.body
        if message.request_body.end_of_stream:
            return self.decide(end=True)
        return []

    def request_trailers(self, _message):
        replies = [] if self.picked else self.decide(end=False)
        return [*replies, ProcessingResponse(request_trailers=TrailersResponse())]

    def decide(self, *, end):
        self.check_model()
        chosen = self.choose()
        self.picked = True
        if not self.duplex["request"]:
            return [self.pick_reply("body", chosen)]
        return [self.pick_reply("headers", chosen), *self.echo(bytes(self.body), end=end)]

    def check_model(self):
        try:
            fields = json.loads(self.body)
            model = fields["model"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise RefusedError(400, "The body must be JSON with a model.") from None
        if model != MODEL:
            raise RefusedError(404, f"The model {model!r} does not exist.")

    def choose(self):
        """All that are allowed, beginning with another each time."""
        first = next(self.picker.numbers) % len(ENDPOINTS)
        ranked = ENDPOINTS[first:] + ENDPOINTS[:first]
        if self.subset is not None:
            entries = {entry.strip() for entry in self.subset}
            ranked = [one for one in ranked if one in entries or one.partition(":")[0] in entries]
        if not ranked:
            raise RefusedError(503, "No endpoint is ready.")
        return ",".join(ranked[:2])

    def pick_reply(self, part, chosen):
        mutation = HeaderMutation(set_headers=[overwrite(HEADER, chosen)])
        reply = continued("request", part, header_mutation=mutation, clear_route_cache=True)
        reply.dynamic_metadata.update({"envoy.lb": {HEADER: chosen}})
        return reply

    def echo(self, body, *, end):
        pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)] or [b""]
        last = len(pieces) - 1
        return [self.streamed("request", p, end and n == last) for n, p in enumerate(pieces)]

    def streamed(self, side, body, end):
        streamed = StreamedBodyResponse(body=body, end_of_stream=end)
        return continued(side, "body", body_mutation=BodyMutation(streamed_response=streamed))

    def response_headers(self, _message):
        return [continued("response", "headers")]

    def response_body(self, message):
        part = message.response_body
        if self.duplex["response"]:
            return [self.streamed("response", part.body, part.end_of_stream)]
        return [continued("response", "body")]

    def response_trailers(self, _message):
        return [ProcessingResponse(response_trailers=TrailersResponse())]

    def refuse(self, status, message):
        error = {"message": message, "type": "invalid_request_error", "code": None}
        return ImmediateResponse(
            status=HttpStatus(code=status),
            headers=HeaderMutation(set_headers=[overwrite("content-type", "application/json")]),
            body=json.dumps({"error": error}).encode(),
        )


class Picker:
    """The server side; its streams may be of a type with a defect."""

    def __init__(self, stream_type=Stream):
        self.stream_type = stream_type
        self.numbers = count()
        self.health = dict.fromkeys(SERVED, "SERVING")
        self.messages = []  # for streams that keep them
        self.option = overwrite("x-tried", "picker")  # for streams that set it

    async def process(self, _requests, context):
        stream = self.stream_type(self)
        while (message := await context.read()) is not grpc.aio.EOF:
            try:
                replies = stream.take(ProcessingRequest.FromString(message))
            except RefusedError as refused:
                answer = stream.refuse(*refused.args)
                await context.write(ProcessingResponse(immediate_response=answer))
                await self.after_refusal(context)
                return
            except (ProtocolError, DecodeError) as error:
                await self.after_error(context, str(error))
                return
            for reply in replies:
                await context.write(reply)
        await self.at_half_close(stream, context)

    async def after_refusal(self, context):
        """The stream ends."""

    async def after_error(self, context, text):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)

    async def at_half_close(self, stream, context):
        """The stream ends."""

    async def check(self, request, context):
        status = self.health.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=status)


class Defect(NamedTuple):
    """A picker that breaks the rule of a case.

    Attributes:
        make: Makes the picker.
        said: Part of the reason that the case then gives.
    """

    make: Callable[[], Picker]
    said: str


class Defects(dict[str, Defect]):
    """Defects by the case that is to see them."""

    def of(self, case, said):
        """Register a Stream or a Picker with a defect."""

        def register(kind):
            assert case not in self
            make = kind if issubclass(kind, Picker) else lambda: Picker(kind)
            self[case] = Defect(make, said)
            return kind

        return register


@asynccontextmanager
async def serving(picker, credentials=None, *, ext_proc=True, health=True):
    """The picker's port on loopback; without TLS unless given credentials."""
    server = grpc.aio.server()
    process = grpc.stream_stream_rpc_method_handler(
        picker.process, response_serializer=ProcessingResponse.SerializeToString
    )
    check = grpc.unary_unary_rpc_method_handler(
        picker.check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    services = {
        EXT_PROC_SERVICE: ({"Process": process}, ext_proc),
        "grpc.health.v1.Health": ({"Check": check}, health),
    }
    for name, (methods, wanted) in services.items():
        if wanted:
            handler = grpc.method_handlers_generic_handler(name, methods)
            server.add_generic_rpc_handlers((handler,))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
