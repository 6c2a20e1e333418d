"""Counts of the hot path that do not depend on the machine's speed; prints them as JSON.

Run as a process of its own, since what else a process has imported and done changes some of them.
"""

import asyncio
import gc
import json
import sys
import tracemalloc
from itertools import count
from pathlib import Path

from hot_path import MODES, SIZES, Router

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 40
REQUESTS = 40
OPEN_STREAMS = 100
PEAKS = 5

_OURS = tuple(f"{ROOT / name}/" for name in ("fleet", "router", "telemetry", "headrace"))
_LONG = max(SIZES)
# The message before which a stream gives way: what is open then has been picked for.
_AFTER_THE_PICK = {"buffered": 2, "full-duplex": 3}


def warmed(mode, size, numbers):
    """A router that has served such requests."""
    router = Router()
    for _ in range(WARM_UP):
        router.stream(mode, size, next(numbers)).run()
    return router


def function_calls(mode, size):
    """Per request: of functions of ours, and from them of built-in ones."""
    numbers, calls, builtin = count(), 0, 0
    router = warmed(mode, size, numbers)
    streams = [router.stream(mode, size, next(numbers)) for _ in range(REQUESTS)]

    def note(frame, event, _argument):
        nonlocal calls, builtin
        if frame.f_code.co_filename.startswith(_OURS):
            calls += event == "call"
            builtin += event == "c_call"

    sys.setprofile(note)
    try:
        for stream in streams:
            stream.run()
    finally:
        sys.setprofile(None)
    return {"calls": calls / REQUESTS, "builtin calls": builtin / REQUESTS}


def messages(mode, size):
    """Per request: to the router and back."""
    stream = Router().stream(mode, size, 0)
    stream.run()
    return {"messages in": stream.messages_in, "messages out": len(stream.replies)}


def peak_bytes(mode, size):
    """The most that Python holds for one request at a time, the serialized messages apart."""
    numbers = count()
    router = warmed(mode, size, numbers)
    peaks = []
    for _ in range(PEAKS):
        stream = router.stream(mode, size, next(numbers))
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        stream.run()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        peaks.append(peak - before)
    return min(peaks)


def held(mode, size):
    """What a stream holds while its answer comes, and what is left when it has ended."""
    numbers = count()
    router = warmed(mode, size, numbers)
    pause = _AFTER_THE_PICK[mode]
    streams = [router.stream(mode, size, next(numbers), pause=pause) for _ in range(OPEN_STREAMS)]
    gc.collect()
    tracemalloc.start()
    blocks = sys.getallocatedblocks()
    for stream in streams:
        stream.run()
    open_blocks = sys.getallocatedblocks() - blocks
    open_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for stream in streams:
        stream.run()
    assert router.routing.picker.ledger.running() == 0
    return {"blocks": open_blocks / OPEN_STREAMS, "bytes": open_bytes / OPEN_STREAMS}


async def main():
    gc.disable()
    found = {}
    for mode in MODES:
        for size in SIZES:
            place = f"{mode}, {size} bytes"
            for name, value in {**messages(mode, size), **function_calls(mode, size)}.items():
                found[f"{name} of a request, {place}"] = value
        place = f"{mode}, {_LONG} bytes"
        found[f"copies held at most of a body, {place}"] = peak_bytes(mode, _LONG) / _LONG
        for name, value in held(mode, SIZES[0]).items():
            found[f"{name} of an open stream, {mode}"] = value
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
