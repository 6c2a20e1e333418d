"""What an open stream holds: not the prompt that it was opened with."""

import asyncio
import gc
import json
import logging
import tracemalloc

import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from extproc_harness import open_stream, request_body, request_headers, serving, until

from router.extproc.servicer import ExtProcServicer

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")

PROMPT_BYTES = 220_000
STREAMS = 30
# Client and server are one process here, so this counts both ends of a stream.
MOST_BYTES_PER_STREAM = 60_000


def prompt(number):
    message = {"role": "user", "content": f"{number:06} " + "x" * PROMPT_BYTES}
    return json.dumps({"model": "llama", "messages": [message]}).encode()


async def opened(s, number, mode):
    """A stream whose request was routed, and its answers read."""
    stream = open_stream(s.channel)
    await stream.write(request_headers(mode=mode))
    if mode == ProcessingMode.BUFFERED:
        await stream.read()
    await stream.write(request_body(prompt(number)))
    reply = await stream.read()
    while mode == ProcessingMode.FULL_DUPLEX_STREAMED:
        reply = await stream.read()
        if reply.request_body.response.body_mutation.streamed_response.end_of_stream:
            break
    return stream


@pytest.mark.parametrize("mode", [ProcessingMode.BUFFERED, ProcessingMode.FULL_DUPLEX_STREAMED])
async def test_an_open_stream_does_not_hold_its_prompt(mode):
    async with serving() as s:
        streams = [await opened(s, number, mode) for number in range(5)]
        tracemalloc.start()
        try:
            streams += [await opened(s, number, mode) for number in range(5, 5 + STREAMS)]
            gc.collect()
            held_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert s.ledger.running() == len(streams)
        assert held_bytes / STREAMS < MOST_BYTES_PER_STREAM
        for stream in streams:
            await stream.done_writing()
            await stream.code()


async def test_a_stream_that_envoy_has_reset_is_not_answered_with_a_status(caplog):
    """What grpc.aio allocates for a status on a dead stream it never frees (grpc issue 43360)."""
    caplog.set_level(logging.DEBUG, logger="grpc._cython.cygrpc")
    async with serving() as s:
        for number in range(STREAMS):
            stream = await opened(s, number, ProcessingMode.BUFFERED)
            await stream.done_writing()
            stream.cancel()
        await s.server.stop()
        assert s.ledger.running() == 0
    cancelled = [it for it in caplog.messages if it.startswith("RPC cancelled")]
    assert len(cancelled) > 0.8 * STREAMS


class Watched:
    """The context of a handler, and which of its operations were cancelled in the middle."""

    def __init__(self, context, cancelled):
        self.context, self.cancelled = context, cancelled

    def read(self):
        return self._watch("read", self.context.read())

    def write(self, message):
        return self._watch("write", self.context.write(message))

    async def _watch(self, name, operation):
        try:
            return await operation
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise


async def reset_when_answered(s, number):
    """Envoy's usual end: the answer was routed, and nothing more is to come."""
    stream = await opened(s, number, ProcessingMode.BUFFERED)
    stream.cancel()


async def reset_on_the_way_back(s, number):
    """A client that went while its prompt was being written back to an Envoy that reads no more."""
    stream = open_stream(s.channel)
    await stream.write(request_headers(mode=ProcessingMode.FULL_DUPLEX_STREAMED))
    await stream.write(request_body(prompt(number)))
    await stream.read()
    stream.cancel()


async def reset_while_it_waits(s, _number):
    """A client that went while its prompt was waiting for room."""
    stream = open_stream(s.channel)
    await stream.write(request_headers(mode=ProcessingMode.FULL_DUPLEX_STREAMED))
    await stream.write(request_body(model="held"))
    await until(lambda: s.picker.queue)
    stream.cancel()


@pytest.mark.parametrize("one", [reset_when_answered, reset_on_the_way_back, reset_while_it_waits])
async def test_what_grpc_does_for_a_stream_that_is_reset_is_never_cancelled(one, monkeypatch):
    """What grpc.aio allocates for an operation it frees only when that was awaited to its end."""
    cancelled, process = [], ExtProcServicer.process

    async def watched(self, requests, context):
        await process(self, requests, Watched(context, cancelled))

    monkeypatch.setattr(ExtProcServicer, "process", watched)
    async with serving() as s:
        for number in range(STREAMS):
            await one(s, number)
            await until(lambda: not s.server.open_streams)
        assert s.ledger.running() == 0
    assert cancelled == []
