"""What was freed goes back to the operating system while a process serves."""

import json
import subprocess
import sys

import pytest

# Blocks that glibc cannot give back by itself: the last one pins the end of its heap.
SCRIPT = """
import asyncio, ctypes, json, os
from headrace import freed_memory
from headrace.processes import resident_bytes

BLOCKS, BLOCK_BYTES = 30_000, 1_000
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def taken():
    block = libc.malloc(BLOCK_BYTES)
    ctypes.memset(block, 1, BLOCK_BYTES)
    return block

async def main():
    freed_memory._INTERVAL_SECONDS = 0.05
    loop, readings = asyncio.get_running_loop(), []
    freed_memory.give_back(loop)
    for _ in range(2):  # the second time only if it goes on
        *blocks, _pin = [taken() for _ in range(BLOCKS)]
        for block in blocks:
            libc.free(block)
        before_bytes = resident_bytes(os.getpid())
        await asyncio.sleep(0.3)
        readings.append((before_bytes, resident_bytes(os.getpid())))
    print(json.dumps(readings))

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc does it")
def test_freed_blocks_go_back_again_and_again():
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, check=True, text=True, timeout=60
    )
    for before_bytes, after_bytes in json.loads(answer.stdout):
        assert before_bytes - after_bytes > 20_000_000
