"""Streams in full duplex over real gRPC: waits, half-closed and cancelled streams, odd peers."""

import asyncio
import json

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
    DESTINATION,
    answered,
    open_stream,
    request_body,
    request_headers,
    sample,
    serving,
    until,
)

from router.extproc.events import BodyMode

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")

DUPLEX = ProcessingMode.FULL_DUPLEX_STREAMED


async def held(s, *, messages=()):
    """A stream whose request waits for admission."""
    stream = open_stream(s.channel)
    waiting = s.picker.held
    for message in (request_headers(mode=DUPLEX), request_body(model="held"), *messages):
        await stream.write(message)
    await until(lambda: s.picker.held == waiting + 1)
    return stream


async def replies(stream, count):
    return [await stream.read() for _ in range(count)]


async def test_a_decision_that_takes_its_time_is_sent_when_it_is_made():
    async with serving() as s:
        stream = await held(s)
        assert s.ledger.running() == 0
        s.picker.queue[0].decide()
        headers, body = await replies(stream, 2)
        [header] = headers.request_headers.response.header_mutation.set_headers
        assert header.header.key == DESTINATION
        assert body.request_body.response.body_mutation.streamed_response.end_of_stream
        assert s.ledger.running() == 1
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK
        assert (s.ledger.running(), s.picker.held) == (0, 0)
        assert sample(s.registry, "picks_total", backend="h100", reason="degraded") == 1


async def test_messages_that_overtake_the_decision_are_not_lost():
    async with serving() as s:
        trailers = ProcessingRequest(request_trailers=HttpTrailers())
        twice = ProcessingRequest(request_body=HttpBody(end_of_stream=True))
        stream = await held(s, messages=(twice, trailers))
        s.picker.queue[0].decide()
        kinds = [reply.WhichOneof("response") for reply in await replies(stream, 3)]
        assert kinds == ["request_headers", "request_body", "request_trailers"]
        await stream.write(ProcessingRequest(response_headers=HttpHeaders()))
        assert (await stream.read()).WhichOneof("response") == "response_headers"


@pytest.mark.parametrize("way", ["cancel", "half-close", "decided and cancelled", "answered"])
async def test_a_request_that_ends_while_it_waits_leaves_nothing(way):
    async with serving() as s:
        stream = await held(s)
        if way == "half-close":
            await stream.done_writing()
            assert await stream.code() is grpc.StatusCode.OK
        elif way == "answered":  # by the gateway itself, whose patience is over
            await stream.write(ProcessingRequest(response_headers=HttpHeaders()))
            assert (await stream.read()).WhichOneof("response") == "response_headers"
            stream.cancel()
        else:
            if way != "cancel":
                s.picker.queue[0].decide()
            stream.cancel()
        await until(lambda: s.server.open_streams == 0)
        assert (s.ledger.running(), s.picker.held) == (0, 0)
        assert s.ledger.entered_total == len(s.picker.settlements)


async def test_draining_waits_for_those_who_wait():
    async with serving() as s:
        stream = await held(s)
        stopping = asyncio.create_task(s.server.stop(drain_seconds=60))
        s.picker.queue[0].decide()
        await replies(stream, 2)
        await stream.done_writing()
        assert await stopping == 0


async def test_a_half_closed_stream_amid_its_body_ends_in_order():
    async with serving() as s:
        stream = open_stream(s.channel)
        await stream.write(request_headers(mode=DUPLEX))
        await stream.write(request_body(b'{"model"', end=False))
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert s.ledger.entered_total == 0


async def test_a_peer_that_announces_nothing_is_taken_at_the_setting():
    async with serving(unannounced=BodyMode.FULL_DUPLEX_STREAMED) as s:
        stream = open_stream(s.channel)
        await stream.write(request_headers())
        await stream.write(request_body())
        kinds = [reply.WhichOneof("response") for reply in await replies(stream, 2)]
        assert kinds == ["request_headers", "request_body"]
        await stream.write(ProcessingRequest(response_body=HttpBody(body=b"x")))
        reply = await stream.read()
        assert reply.response_body.response.body_mutation.streamed_response.body == b"x"


async def test_a_body_beyond_the_limit_is_refused_while_it_comes():
    async with serving(max_body_bytes=1000) as s:
        chunk = request_body(b"x" * 600, end=False)
        stream = open_stream(s.channel)
        await stream.write(request_headers(mode=DUPLEX))
        await stream.write(chunk)
        answer = await answered(stream, chunk)
        assert answer.status.code == 413
        assert json.loads(answer.body)["error"]["code"] == "request_too_large"


async def test_subset_hints_may_be_turned_off():
    async with serving(subset_hints=False) as s:
        message = request_headers("GET", "/version", end=True)
        hint = message.metadata_context.filter_metadata["envoy.lb.subset_hint"]
        hint.update({f"{DESTINATION}-subset": []})
        stream = open_stream(s.channel)
        await stream.write(message)
        assert (await stream.read()).WhichOneof("response") == "request_headers"


async def test_ten_thousand_headers_hurt_nobody():
    async with serving() as s:
        many = {f"x-filler-{number}": "y" * 20 for number in range(10_000)}
        stream = open_stream(s.channel)
        await stream.write(request_headers(mode=DUPLEX, **many))
        await stream.write(request_body())
        assert (await stream.read()).WhichOneof("response") == "request_headers"
