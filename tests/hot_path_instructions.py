"""Instructions and allocations per request, counted by callgrind; prints them as JSON.

The process runs under valgrind but is only instrumented for the requests, since a start under
callgrind takes a minute. What a request takes is the difference of a long run and a short one.
"""

import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

from hot_path import MODES, SIZES, Router

SHORT, LONG = 10, 40
"""Requests of the two runs."""
WARM_UP = 40
TIMEOUT_SECONDS = 100.0

_PLACES = [(mode, SIZES[0]) for mode in MODES] + [(MODES[0], SIZES[1])]
_TOTAL = re.compile(r"^summary: (\d+)", re.MULTILINE)
_CALLED = re.compile(r"^c?fn=\((\d+)\)(?: (.+))?$|^calls=(\d+)", re.MULTILINE)
_ALLOCATORS = {"_PyObject_Malloc", "_PyObject_Calloc", "_PyObject_Realloc"}
"""Of all objects and buffers that Python itself asks for."""


def measured():
    """Instructions per request by place, from a run of this file under callgrind."""
    with tempfile.TemporaryDirectory(prefix="callgrind-") as folder:
        out_path = Path(folder) / "out"
        subprocess.run(
            [
                *("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"),
                f"--callgrind-out-file={out_path}",
                *(sys.executable, "-X", "frozen_modules=on", __file__, "requests"),
            ],
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"},
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
        dumps = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        texts = [dump.read_text(errors="replace") for dump in dumps]
    found = {}
    for number, (mode, size) in enumerate(_PLACES):
        first = 1 + 2 * number  # the dump before it is of what was before the first run
        short, long = texts[first], texts[first + 1]
        for what, counted in (("instructions", instructions), ("allocations", allocations)):
            more = (counted(long) - counted(short)) / (LONG - SHORT)
            if more > 0:  # without symbols of Python there are no names of allocators
                found[f"{what} of a request, {mode}, {size} bytes"] = more
    return found


def instructions(dump):
    """All of a dump of callgrind."""
    return int(_TOTAL.search(dump)[1])


def allocations(dump):
    """Calls of Python's allocators in a dump; a name is told once, then its number stands for it.

    A line of a call comes behind the name of what is called.
    """
    names, callee, calls = {}, None, 0
    for match in _CALLED.finditer(dump):
        number, name, count_text = match.groups()
        if number is not None:
            callee = number
            names.setdefault(number, name)
        elif names[callee] in _ALLOCATORS:
            calls += int(count_text)
    return calls


def serve_requests():
    """Everything is made first; then each run ends with a dump, which sets the counts to zero."""
    gc.disable()
    runs = []
    for mode, size in _PLACES:
        numbers, router = count(), Router()
        for _ in range(WARM_UP):
            router.stream(mode, size, next(numbers)).run()
        runs += [
            [router.stream(mode, size, next(numbers)) for _ in range(requests)]
            for requests in (SHORT, LONG)
        ]
    control("--instr=on")
    control("--dump")
    for streams in runs:
        for stream in streams:
            stream.run()
        control("--dump")


def control(action):
    """Tell the valgrind that this process runs in."""
    subprocess.run(["callgrind_control", action, str(os.getpid())], check=True, capture_output=True)


async def main():
    if sys.argv[1:] == ["requests"]:
        serve_requests()
    else:
        print(json.dumps(measured(), indent=2))


if __name__ == "__main__":
    asyncio.run(main())
