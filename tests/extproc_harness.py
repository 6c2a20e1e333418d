"""A real ext_proc server over real gRPC, with the real picker behind it, and its client's side."""

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import grpc
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry
from session_events import HoldingPicker

from fleet.priors import prior_profile
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet, Replica
from router.decide.settings import DecideSettings
from router.extproc.exchange import NO_OBSERVER
from router.extproc.health import EXT_PROC_SERVICE, Readiness
from router.extproc.server import ExtProcServer, ExtProcSettings
from router.metrics import RouterMetrics

DESTINATION = "x-gateway-destination-endpoint"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class SystemClock:
    def monotonic_seconds(self):
        return time.monotonic()

    def epoch_seconds(self):
        return 1_700_000_000.0


class TestPicker(HoldingPicker):
    """A picker with a defect that one model name sets off, and one that lets another wait."""

    __test__ = False

    def pick(self, facts, *, now_seconds, draw):
        if facts.model == "explode":
            raise ZeroDivisionError("a defect")
        return super().pick(facts, now_seconds=now_seconds, draw=draw)


ADDRESSES = tuple(f"127.0.0.1:{9000 + n}" for n in range(3))


def make_fleet(addresses=ADDRESSES):
    profile = prior_profile("H100", parameters=8.03e9)
    replicas = tuple(
        Replica(address=address, backend="h100", models=("llama",)) for address in addresses
    )
    backend = Backend(
        name="h100", accelerator="H100", parameters=8.03e9, profile=profile, replicas=replicas
    )
    return Fleet((backend,))


@asynccontextmanager
async def serving(
    *,
    published=True,
    addresses=ADDRESSES,
    channel_credentials=None,
    observer=NO_OBSERVER,
    **settings,
):
    """A started server and all that belongs to it; stopped at once at the end."""
    fleet, clock, registry = make_fleet(addresses), SystemClock(), CollectorRegistry()
    picker = TestPicker(fleet, DecideSettings())
    now_seconds = clock.monotonic_seconds()
    snapshots = SnapshotHolder(
        FleetSnapshot(fleet=fleet, published_seconds=now_seconds, version=int(published))
    )
    readiness = Readiness(snapshots)
    metrics = RouterMetrics(
        registry=registry, ledger=picker.ledger, snapshots=snapshots, clock=clock
    )
    server = ExtProcServer(
        decider=picker,
        clock=clock,
        settings=ExtProcSettings(**({"port": 0} | settings)),
        readiness=readiness,
        metrics=metrics,
        draw=random.Random(1).random,
        observer=observer,
    )
    await server.start()
    try:
        async with opened_channel(server, channel_credentials) as channel:
            yield SimpleNamespace(
                server=server,
                channel=channel,
                picker=picker,
                ledger=picker.ledger,
                registry=registry,
                snapshots=snapshots,
                fleet=fleet,
            )
    finally:
        await server.stop(drain_seconds=0)


def opened_channel(server, credentials):
    """A channel to the server's first address, in plain text without credentials."""
    target = server.addresses()[0]
    if credentials is None:
        return grpc.aio.insecure_channel(target)
    return grpc.aio.secure_channel(f"localhost:{server.port}", credentials)


def open_stream(channel, *, raw=False):
    return channel.stream_stream(
        f"/{EXT_PROC_SERVICE}/Process",
        request_serializer=None if raw else ProcessingRequest.SerializeToString,
        response_deserializer=ProcessingResponse.FromString,
    )()


def request_headers(method="POST", path="/v1/chat/completions", *, end=False, mode=None, **extra):
    pairs = {":method": method, ":path": path} | extra
    headers = [HeaderValue(key=key, raw_value=value.encode()) for key, value in pairs.items()]
    message = ProcessingRequest(
        request_headers=HttpHeaders(headers=HeaderMap(headers=headers), end_of_stream=end)
    )
    if mode is not None:
        message.protocol_config.CopyFrom(ProtocolConfiguration(request_body_mode=mode))
    return message


def request_body(content=None, *, model="llama", end=True):
    if content is None:
        fields = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        content = json.dumps(fields).encode()
    return ProcessingRequest(request_body=HttpBody(body=content, end_of_stream=end))


async def routed(stream, **body):
    """Walk a stream up to its pick and return the chosen address."""
    await stream.write(request_headers())
    first = await stream.read()
    assert first.request_headers.response.header_mutation.remove_headers == [DESTINATION]
    await stream.write(request_body(**body))
    reply = await stream.read()
    [header] = reply.request_body.response.header_mutation.set_headers
    destination = header.header.raw_value.decode()
    assert header.header.key == DESTINATION
    assert reply.dynamic_metadata["envoy.lb"][DESTINATION] == destination
    return destination.split(",")[0]


async def answered(stream, *messages):
    """Send messages, reading a reply to each; return the immediate response of the last."""
    reply = None
    for message in messages:
        await stream.write(message)
        reply = await stream.read()
    assert reply.WhichOneof("response") == "immediate_response"
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK
    return reply.immediate_response


async def refused(stream, *messages):
    """Send messages, the last of which ends the stream; return its code and details."""
    *accepted, last = messages
    for message in accepted:
        await stream.write(message)
        await stream.read()
    await stream.write(last)
    return await stream.code(), await stream.details()


async def until(condition):
    """Wait for something that the other side is about to do."""
    while not condition():
        await asyncio.sleep(0.002)


def sample(registry, name, **labels):
    return registry.get_sample_value(f"headrace_router_{name}", labels or None)
