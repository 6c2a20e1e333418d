"""What a process that serves leaves out of its garbage collections."""

import json
import subprocess
import sys

SCRIPT = """
import asyncio, gc, json, weakref
from headrace.garbage import spare

class Node: pass

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

async def main():
    loop = asyncio.get_running_loop()
    kept, garbage, lone = [Node() for _ in range(1000)], cycle(), Node()
    before, young = len(gc.get_objects()), gc.get_threshold()
    spare(loop)
    left, frozen = len(gc.get_objects()), gc.get_freeze_count()
    lone_is_there = weakref.ref(lone)
    del lone
    later = cycle()
    is_later_there = later() is not None
    gc.collect()
    print(json.dumps({
        "before": before, "left": left, "frozen": frozen,
        "garbage_before": garbage() is None,
        "released": lone_is_there() is None,
        "garbage_later": is_later_there and later() is None,
        "young": young[:2] == gc.get_threshold()[:2],
        "full_ratio": gc.get_threshold()[2] / young[2],
        "asked_again": [handle.when() - loop.time() for handle in loop._scheduled],
    }))

asyncio.run(main())
"""


def test_what_is_there_is_left_out_and_what_comes_is_still_collected():
    # In a process of its own: the test run's own garbage must not be frozen.
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)
    found = json.loads(done.stdout)
    assert found["left"] < 0.01 * found["before"]
    assert found["frozen"] >= 0.95 * found["before"]
    assert found["garbage_before"], "a cycle that nobody refers to would stay for ever"
    assert found["released"], "what is left out goes with its last reference"
    assert found["garbage_later"]
    assert found["young"]
    assert found["full_ratio"] == 10
    assert len(found["asked_again"]) == 1, "once more, when the first snapshots have been read"
