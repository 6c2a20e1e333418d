"""The ext_proc server over real gRPC, with the real picker behind it."""

import asyncio
import json
import socket
import time

import grpc
import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
)
from extproc_harness import (
    NOT_SERVING,
    SERVING,
    answered,
    open_stream,
    refused,
    request_body,
    request_headers,
    routed,
    sample,
    serving,
    until,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleet.snapshot import FleetSnapshot
from router.extproc.health import EXT_PROC_SERVICE
from router.extproc.listening import ListenError

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")


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


@pytest.mark.parametrize("mode", ["STREAMED", "BUFFERED_PARTIAL"])
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


async def test_a_message_beyond_the_limit_ends_its_stream_alone():
    async with serving(max_body_bytes=1000) as s:
        bystander = open_stream(s.channel)
        await routed(bystander)
        stream = open_stream(s.channel)
        await stream.write(request_headers())
        await stream.read()
        await stream.write(request_body(b"x" * (2 * 2**20)))
        assert await stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert s.ledger.running() == 1
        await bystander.done_writing()
        assert await bystander.code() is grpc.StatusCode.OK


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

        ready_names = ("", "readiness", EXT_PROC_SERVICE, "inference-extension")
        assert [await status(name) for name in ready_names] == [NOT_SERVING] * 4
        assert await status("liveness") == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await status("no-such-service")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        unknown_watch = health.Watch(health_pb2.HealthCheckRequest(service="no-such-service"))
        assert (await unknown_watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

        now_seconds = time.monotonic()
        s.snapshots.current = FleetSnapshot(fleet=s.fleet, published_seconds=now_seconds, version=1)
        assert [await status(name) for name in ready_names] == [SERVING] * 4

        watch = health.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert (await watch.read()).status == SERVING
        stream = open_stream(s.channel)
        await routed(stream)
        stopping = asyncio.create_task(s.server.stop(drain_seconds=60))
        assert (await watch.read()).status == NOT_SERVING
        assert [await status(name) for name in ready_names] == [NOT_SERVING] * 4
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
