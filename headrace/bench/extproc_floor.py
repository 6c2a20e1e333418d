"""The least that an ext_proc server in Python can do: grpc.aio on uvloop that decides nothing.

Buffered, messages are not even parsed: the first is answered with one prepared reply and the second
with another, which names a fixed endpoint. In full duplex every chunk must be sent back, so there
messages are parsed and answered in their own kind. Run as a process of its own.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import uvloop
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from router.extproc.scheduling import batch_threads

_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_DESTINATION = "x-gateway-destination-endpoint"
_MAX_PENDING = 100_000
_OPTIONS = (
    ("grpc.max_receive_message_length", 80 * 2**20),
    ("grpc.server.max_pending_requests", _MAX_PENDING),
    ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING),
)


class Floor:
    """Answers with bytes prepared beforehand."""

    def __init__(self, address: str) -> None:
        """Send every request to `address`."""
        mutation = pb.HeaderMutation(
            set_headers=[
                base_pb2.HeaderValueOption(
                    header=base_pb2.HeaderValue(key=_DESTINATION, raw_value=address.encode()),
                    append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
                )
            ]
        )
        common = pb.CommonResponse(header_mutation=mutation)
        headers = pb.ProcessingResponse(request_headers=pb.HeadersResponse())
        body = pb.ProcessingResponse(request_body=pb.BodyResponse(response=common))
        picked = pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=common))
        for reply in (body, picked):
            reply.dynamic_metadata.update({"envoy.lb": {_DESTINATION: address}})
        self._headers, self._body = headers.SerializeToString(), body.SerializeToString()
        self._picked = picked.SerializeToString()

    async def buffered(
        self, requests: AsyncIterator[bytes], _context: object
    ) -> AsyncIterator[bytes]:
        """Headers, then the whole body."""
        reply = self._headers
        async for _ in requests:
            yield reply
            reply = self._body

    async def duplex(
        self, requests: AsyncIterator[bytes], _context: object
    ) -> AsyncIterator[bytes]:
        """Every message back in its own kind."""
        async for data in requests:
            request = pb.ProcessingRequest.FromString(data)
            kind = request.WhichOneof("request")
            if kind == "request_headers":
                yield self._picked
                continue
            reply = pb.ProcessingResponse()
            if kind in {"request_body", "response_body"}:
                body = getattr(request, kind)
                streamed = getattr(reply, kind).response.body_mutation.streamed_response
                streamed.body, streamed.end_of_stream = body.body, body.end_of_stream
            else:
                getattr(reply, str(kind)).SetInParent()
            yield reply.SerializeToString()


async def serve(socket: Path, mode: str, address: str, *, is_tuned: bool) -> None:
    """Serve on a unix socket until ended.

    Tuned, gRPC's threads are scheduled as the router's are, so that what this brings is not taken
    for cheapness of its decisions.
    """
    floor = Floor(address)
    with batch_threads() if is_tuned else contextlib.nullcontext():
        server = grpc.aio.server(options=_OPTIONS)
        answer = floor.duplex if mode == "full-duplex" else floor.buffered
        method = grpc.stream_stream_rpc_method_handler(answer)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {"Process": method}),)
        )
        healthy = health.aio.HealthServicer()
        await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    _socket, _mode, _address, *_more = sys.argv[1:]
    uvloop.run(serve(Path(_socket), _mode, _address, is_tuned="tuned" in _more))
