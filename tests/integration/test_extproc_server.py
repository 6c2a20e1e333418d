"""The ext_proc server over real gRPC, with the real picker behind it."""

import asyncio
import json
import random
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager
from types import SimpleNamespace

import grpc
import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from fleet.priors import prior_profile
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet, Replica
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.extproc.health import EXT_PROC_SERVICE, Readiness
from router.extproc.server import ExtProcServer, ExtProcSettings, ListenError
from router.metrics import RouterMetrics

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")

DESTINATION = "x-gateway-destination-endpoint"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class SystemClock:
    def monotonic_seconds(self):
        return time.monotonic()

    def epoch_seconds(self):
        return 1_700_000_000.0


class ExplodingPicker(Picker):
    """A picker with a defect that one model name sets off."""

    def pick(self, facts, *, now_seconds, draw):
        if facts.model == "explode":
            raise ZeroDivisionError("a defect")
        return super().pick(facts, now_seconds=now_seconds, draw=draw)


def make_fleet():
    profile = prior_profile("H100", parameters=8.03e9)
    replicas = tuple(
        Replica(address=f"127.0.0.1:{9000 + n}", backend="h100", models=("llama",))
        for n in range(3)
    )
    backend = Backend(
        name="h100", accelerator="H100", parameters=8.03e9, profile=profile, replicas=replicas
    )
    return Fleet((backend,))


@asynccontextmanager
async def serving(*, published=True, **settings):
    """A started server and all that belongs to it; stopped at once at the end."""
    fleet, clock, registry = make_fleet(), SystemClock(), CollectorRegistry()
    picker = ExplodingPicker(fleet, DecideSettings())
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
    )
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.addresses()[0]) as channel:
            yield SimpleNamespace(
                server=server,
                channel=channel,
                ledger=picker.ledger,
                registry=registry,
                snapshots=snapshots,
                fleet=fleet,
            )
    finally:
        await server.stop(drain_seconds=0)


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


def request_body(content=None, *, model="llama"):
    if content is None:
        fields = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        content = json.dumps(fields).encode()
    return ProcessingRequest(request_body=HttpBody(body=content, end_of_stream=True))


async def routed(stream, **body):
    """Walk a stream up to its pick and return the chosen address."""
    await stream.write(request_headers())
    first = await stream.read()
    assert first.request_headers.response.header_mutation.remove_headers == [DESTINATION]
    await stream.write(request_body(**body))
    reply = await stream.read()
    [header] = reply.request_body.response.header_mutation.set_headers
    address = header.header.raw_value.decode()
    assert header.header.key == DESTINATION
    assert reply.dynamic_metadata["envoy.lb"][DESTINATION] == address
    return address


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


async def test_a_stream_holds_its_request_in_the_ledger_until_it_ends():
    async with serving() as s:
        stream = open_stream(s.channel)
        address = await routed(stream)
        assert s.ledger.running() == 1
        assert s.ledger.account(address).running == 1
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert s.ledger.running() == 0


async def test_a_cancelled_stream_settles_its_request():
    async with serving() as s:
        stream = open_stream(s.channel)
        await routed(stream)
        stream.cancel()
        await until(lambda: s.server.open_streams == 0)
        assert s.ledger.running() == 0
        assert sample(s.registry, "streams_total", outcome="routed") == 1


async def test_models_are_listed_without_a_replica():
    async with serving() as s:
        answer = await answered(
            open_stream(s.channel), request_headers("GET", "/v1/models", end=True)
        )
        assert answer.status.code == 200
        listing = json.loads(answer.body)
        assert [model["id"] for model in listing["data"]] == ["llama"]


async def test_an_unknown_model_is_told_so_in_openai_terms():
    async with serving() as s:
        answer = await answered(
            open_stream(s.channel), request_headers(), request_body(model="gpt-9")
        )
        assert answer.status.code == 404
        error = json.loads(answer.body)["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "model_not_found")
        assert b"127.0.0.1" not in answer.body
        assert sample(s.registry, "rejections_total", reason="model_not_found") == 1


@pytest.mark.parametrize("mode", ["STREAMED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"])
async def test_a_body_mode_that_is_not_served_ends_the_stream_with_the_reason(mode):
    async with serving() as s:
        begin = request_headers(mode=ProcessingMode.BodySendMode.Value(mode))
        code, details = await refused(open_stream(s.channel), begin)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert mode in details


async def test_a_malformed_or_disordered_stream_ends_alone():
    async with serving() as s:
        bystander = open_stream(s.channel)
        await routed(bystander)

        repeated = open_stream(s.channel)
        await routed(repeated)
        for stream, message in (
            (open_stream(s.channel), request_body()),
            (open_stream(s.channel, raw=True), b"\xff\xff\xff"),
            (repeated, request_body()),
        ):
            code, _details = await refused(stream, message)
            assert code is grpc.StatusCode.INVALID_ARGUMENT

        assert s.ledger.running() == 1
        assert sample(s.registry, "streams_total", outcome="protocol_error") == 3
        await bystander.done_writing()
        assert await bystander.code() is grpc.StatusCode.OK


async def test_a_defect_in_one_stream_hurts_no_other(caplog):
    async with serving() as s:
        bystander = open_stream(s.channel)
        await routed(bystander)
        for _ in range(5):
            stream = open_stream(s.channel)
            code, details = await refused(stream, request_headers(), request_body(model="explode"))
            assert code is grpc.StatusCode.INTERNAL
            assert "ZeroDivision" not in details
        assert s.ledger.running() == 1
        assert sample(s.registry, "streams_total", outcome="failed") == 5
        shown = [record for record in caplog.records if record.name == "router.extproc.servicer"]
        assert len(shown) == 1
        assert "ZeroDivisionError" in str(shown[0].exc_info)
        assert await routed(open_stream(s.channel))


async def test_bodies_larger_than_grpcs_own_limit_are_taken():
    async with serving() as s:
        content = json.dumps({"model": "llama", "prompt": "x" * (6 * 2**20)}).encode()
        assert await routed(open_stream(s.channel), content=content)


async def test_trailers_and_response_parts_are_answered_in_kind():
    async with serving() as s:
        stream = open_stream(s.channel)
        await routed(stream)
        parts = {
            "request_trailers": HttpTrailers(),
            "response_headers": HttpHeaders(),
            "response_body": HttpBody(),
            "response_trailers": HttpTrailers(),
        }
        for name, content in parts.items():
            await stream.write(ProcessingRequest(**{name: content}))
            assert (await stream.read()).WhichOneof("response") == name


async def test_health_follows_the_snapshot_and_draining():
    async with serving(published=False) as s:
        health = health_pb2_grpc.HealthStub(s.channel)

        async def status(service):
            request = health_pb2.HealthCheckRequest(service=service)
            return (await health.Check(request)).status

        ready_names = ("", "readiness", EXT_PROC_SERVICE)
        assert [await status(name) for name in ready_names] == [NOT_SERVING] * 3
        assert await status("liveness") == SERVING
        assert await status("no-such-service") == SERVICE_UNKNOWN

        now_seconds = time.monotonic()
        s.snapshots.current = FleetSnapshot(fleet=s.fleet, published_seconds=now_seconds, version=1)
        assert [await status(name) for name in ready_names] == [SERVING] * 3

        watch = health.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watch.read()).status == SERVING
        stream = open_stream(s.channel)
        await routed(stream)
        stopping = asyncio.create_task(s.server.stop(drain_seconds=60))
        assert (await watch.read()).status == NOT_SERVING
        assert [await status(name) for name in ready_names] == [NOT_SERVING] * 3
        assert await status("liveness") == SERVING
        watch.cancel()
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK
        assert await stopping == 0


async def test_draining_waits_for_streams_and_cuts_off_those_that_are_too_slow():
    async with serving() as s:
        quick, slow = open_stream(s.channel), open_stream(s.channel)
        await routed(quick)
        await routed(slow)
        stopping = asyncio.create_task(s.server.stop(drain_seconds=0.2))
        await quick.done_writing()
        assert await quick.code() is grpc.StatusCode.OK
        assert await stopping == 1
        assert await slow.code() is not grpc.StatusCode.OK
        assert s.ledger.running() == 0


async def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "router.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serving(unix_socket=path, port=None) as s:
        assert s.server.port is None
        assert await routed(open_stream(s.channel))
        with pytest.raises(ListenError, match="in use by another process"):
            async with serving(unix_socket=path, port=None):
                pass


async def test_a_path_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("keep me")
    with pytest.raises(ListenError, match="not a socket"):
        async with serving(unix_socket=path, port=None):
            pass
    assert path.read_text() == "keep me"


async def test_a_taken_port_is_refused_in_one_sentence():
    async with serving() as s:
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{s.server.port}"):
            async with serving(port=s.server.port):
                pass


async def test_a_server_with_nothing_to_listen_on_says_so():
    with pytest.raises(ListenError, match="unix_socket, a port or both"):
        async with serving(port=None):
            pass


# Soak


@pytest.mark.soak
async def test_three_thousand_streams_are_open_at_once_on_one_connection():
    async with serving() as s:
        streams = [open_stream(s.channel) for _ in range(3000)]
        for start in range(0, len(streams), CONCURRENT):
            await asyncio.gather(*(routed(stream) for stream in streams[start:][:CONCURRENT]))
        assert s.ledger.running() == s.server.open_streams == 3000
        for stream in streams:
            await stream.done_writing()
        assert {await stream.code() for stream in streams} == {grpc.StatusCode.OK}
        assert s.ledger.running() == 0


STREAMS = 10_000
CONCURRENT = 200


async def normal(channel):
    stream = open_stream(channel)
    await routed(stream)
    await asyncio.sleep(0)
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK


async def cancelled_before_the_body(channel):
    stream = open_stream(channel)
    await stream.write(request_headers())
    await stream.read()
    stream.cancel()


async def cancelled_while_being_decided(channel):
    stream = open_stream(channel)
    await stream.write(request_headers())
    await stream.read()
    await stream.write(request_body())
    stream.cancel()


async def cancelled_after_the_pick(channel):
    stream = open_stream(channel)
    await routed(stream)
    stream.cancel()


async def rejected(channel):
    answer = await answered(open_stream(channel), request_headers(), request_body(b"not json"))
    assert answer.status.code == 400


async def malformed(channel):
    code, _details = await refused(open_stream(channel, raw=True), b"\xff\xff\xff")
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def defective(channel):
    stream = open_stream(channel)
    code, _details = await refused(stream, request_headers(), request_body(model="explode"))
    assert code is grpc.StatusCode.INTERNAL


KINDS = (
    normal,
    cancelled_before_the_body,
    cancelled_while_being_decided,
    cancelled_after_the_pick,
    rejected,
    malformed,
    defective,
)


@pytest.mark.soak
async def test_ten_thousand_mixed_streams_leave_every_account_empty():
    async with serving() as s:
        kinds = random.Random(2).choices(KINDS, weights=(6, 1, 1, 2, 1, 1, 1), k=STREAMS)
        remaining = iter(kinds)

        async def worker():
            for kind in remaining:
                await kind(s.channel)

        await asyncio.gather(*(worker() for _ in range(CONCURRENT)))
        await until(lambda: s.server.open_streams == 0)

        assert s.ledger.running() == 0
        assert s.ledger.entered_total == s.ledger.settled_total
        for _address, account in s.ledger:
            assert (account.running, account.resident_tokens) == (0, 0.0)
        counts = Counter(kinds)
        assert sample(s.registry, "streams_open") == 0
        assert sample(s.registry, "rejections_total", reason="bad_request") == counts[rejected]
        assert sample(s.registry, "streams_total", outcome="failed") == counts[defective]
        assert sample(s.registry, "streams_total", outcome="protocol_error") == counts[malformed]
        assert s.ledger.entered_total >= counts[normal] + counts[cancelled_after_the_pick]
