"""Thousands of ext_proc streams of all kinds leave nothing behind."""

import asyncio
import json
import random
from collections import Counter

import grpc
import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpHeaders, ProcessingRequest
from extproc_harness import (
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

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")


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


STREAMS = 5_000
FULL_DUPLEX_STREAMED = 4
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


async def begun_in_full_duplex(channel, model="llama"):
    stream = open_stream(channel)
    await stream.write(request_headers(mode=FULL_DUPLEX_STREAMED))
    content = json.dumps({"model": model, "prompt": "x" * 100}).encode()
    await stream.write(request_body(content[:20], end=False))
    await stream.write(request_body(content[20:]))
    return stream


async def full_duplex(channel):
    stream = await begun_in_full_duplex(channel)
    for kind in ("request_headers", "request_body"):
        assert (await stream.read()).WhichOneof("response") == kind
    await stream.write(ProcessingRequest(response_headers=HttpHeaders()))
    assert (await stream.read()).WhichOneof("response") == "response_headers"
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK


async def cancelled_in_full_duplex(channel):
    stream = await begun_in_full_duplex(channel)
    stream.cancel()


async def cancelled_while_it_waits(channel):
    stream = await begun_in_full_duplex(channel, model="held")
    await asyncio.sleep(0.001)
    stream.cancel()


async def half_closed_while_it_waits(channel):
    stream = await begun_in_full_duplex(channel, model="held")
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK


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
    full_duplex,
    cancelled_in_full_duplex,
    cancelled_while_it_waits,
    half_closed_while_it_waits,
)


@pytest.mark.soak
async def test_five_thousand_mixed_streams_leave_every_account_empty():
    async with serving() as s:
        kinds = random.Random(2).choices(
            KINDS, weights=(6, 1, 1, 2, 1, 1, 1, 6, 1, 1, 1), k=STREAMS
        )
        remaining = iter(kinds)

        async def worker():
            for kind in remaining:
                await kind(s.channel)

        await asyncio.gather(*(worker() for _ in range(CONCURRENT)))
        await until(lambda: s.server.open_streams == 0)

        assert s.ledger.running() == 0
        assert s.picker.held == 0
        assert s.ledger.entered_total == s.ledger.settled_total
        for _address, account in s.ledger:
            assert (account.running, account.resident_tokens) == (0, 0.0)
        counts = Counter(kinds)
        assert sample(s.registry, "streams_open") == 0
        assert sample(s.registry, "rejections_total", reason="bad_request") == counts[rejected]
        assert sample(s.registry, "streams_total", outcome="failed") == counts[defective]
        assert sample(s.registry, "streams_total", outcome="protocol_error") == counts[malformed]
        assert s.ledger.entered_total >= counts[normal] + counts[full_duplex]
