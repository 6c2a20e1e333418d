"""What a request takes, in counts that no machine's speed changes, beside committed baselines.

Function calls, copies of the body, memory of an open stream, messages, and instructions. A change
that takes more must say so: `python -m tests.baselines` writes the new baseline.
"""

import asyncio
import gc
import shutil
import sys
from itertools import count, islice

import grpc
import pytest
from baseline_files import (
    SCRIPTS,
    baseline,
    complaints,
    python_version,
    require_no_growth,
    tolerance_ratio,
)
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse
from extproc_harness import serving
from hot_path import MODES, SIZES, Router, recorded

from router.extproc.health import EXT_PROC_SERVICE

# Under these a baseline could not fail, or would have to be written at every change.
LEAST_TOLERANCE, MOST_TOLERANCE = 0.0, 0.1

FILLING_REQUESTS, MORE_REQUESTS = 2500, 500


def require_same_python(script):
    _, python = baseline(script)
    if python != python_version():
        pytest.skip(f"{script}: the baseline is of Python {python}, this is {python_version()}")


def test_a_request_takes_no_more_calls_copies_memory_or_messages_than_it_did():
    require_same_python("hot_path_counts")
    require_no_growth("hot_path_counts")


def test_a_request_takes_no_more_instructions_than_it_did():
    if shutil.which("valgrind") is None:
        pytest.skip("no valgrind on PATH: instructions per request were not counted")
    require_same_python("hot_path_instructions")
    require_no_growth("hot_path_instructions")


async def test_requests_that_have_ended_leave_nothing():
    """Once what is remembered of prompts, of picks and of half a minute is full."""
    router, numbers = Router(gap_seconds=0.02, affinity={"max_blocks": 200}), count()

    async def blocks_after(requests):
        for number in islice(numbers, requests):
            router.stream(MODES[number % 2], 512, number).run()
        await asyncio.sleep(0.02)  # the loop forgets timers of streams that were reset
        gc.collect()
        return sys.getallocatedblocks()

    before = await blocks_after(FILLING_REQUESTS)
    left = (await blocks_after(MORE_REQUESTS) - before) / MORE_REQUESTS
    assert left < 0.2  # one block forgotten at each request would be 1
    assert router.routing.picker.ledger.running() == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
async def test_a_real_server_answers_a_recorded_envoy_with_as_many_messages(mode, size):
    counts, _ = baseline("hot_path_counts")
    place = f"{mode}, {size} bytes"
    async with serving(addresses=("10.0.0.100:8000",)) as server:
        call = server.channel.stream_stream(
            f"/{EXT_PROC_SERVICE}/Process", response_deserializer=ProcessingResponse.FromString
        )()
        sent = list(recorded(mode, size, 1))
        for message in sent:
            await call.write(message)
        await call.done_writing()
        replies = [reply async for reply in call]
        assert await call.code() is grpc.StatusCode.OK
    assert len(sent) == counts[f"messages in of a request, {place}"]
    assert len(replies) == counts[f"messages out of a request, {place}"]
    if mode == "buffered":
        kinds = [reply.WhichOneof("response") for reply in replies]
        assert kinds == ["request_headers", "request_body"]


def test_growth_is_told_with_both_counts_and_the_tolerance():
    old = {"calls of a request": 100.0, "messages in of a request": 2, "gone": 1.0}
    new = {"calls of a request": 110.1, "messages in of a request": 3, "come": 1.0}
    assert complaints(old, new) == [
        "calls of a request: was 100, is 110.1, may be 10% more",
        "come: no baseline",
        "gone: no longer counted",
        "messages in of a request: was 2, is 3, may be 0% more",
    ]
    assert complaints(old, {**old, "calls of a request": 109.9}) == []
    assert complaints(old, {**old, "calls of a request": 1.0}) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_baseline_can_fail(script):
    counts, _ = baseline(script)
    assert counts
    for name, value in counts.items():
        assert value > 0
        assert LEAST_TOLERANCE <= tolerance_ratio(name) <= MOST_TOLERANCE
    assert len(complaints(dict.fromkeys(counts, 0.0), counts)) == len(counts)
