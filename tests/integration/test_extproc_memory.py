"""What an open stream holds: not the prompt that it was opened with."""

import gc
import json
import logging
import tracemalloc

import pytest
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from extproc_harness import open_stream, request_body, request_headers, serving

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
