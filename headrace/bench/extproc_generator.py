"""The load generator as a process: reads loads as lines of JSON, answers each with a line.

One process for all arms, so that starting one is no part of a window.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from itertools import count, repeat
from typing import Any, Self

import uvloop

from headrace.bench.extproc_load import NUMBER, generate, quantile, request_parts
from headrace.bench.open_load import OpenLoad

_DRAIN_SECONDS = 30.0


class LoadError(RuntimeError):
    """A load did not come to its end."""


class Generator:
    """The process, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls) -> AsyncIterator[Self]:
        """Start it, and end it with the context."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "headrace.bench.extproc_generator"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield cls(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    async def load(
        self,
        address: tuple[str, int],
        *,
        body_bytes: int,
        connections: int | None,
        requests_per_second: float | None,
        seconds: float,
    ) -> dict[str, float]:
        """A closed loop of `connections`, or requests at a constant rate.

        Raises:
            LoadError: When answers do not come, or the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "host": address[0],
            "port": address[1],
            "body_bytes": body_bytes,
            "connections": connections,
            "requests_per_second": requests_per_second,
            "seconds": seconds,
        }
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise LoadError("the load generator has ended")
        answer: dict[str, float] | None = json.loads(line)
        if answer is None:
            raise LoadError(f"requests of {body_bytes} bytes were not answered in time")
        return answer


async def _obey(order: dict[str, Any]) -> dict[str, float | int]:
    if order["connections"] is None:
        return await at_rate(
            (order["host"], order["port"]),
            body_bytes=order["body_bytes"],
            requests_per_second=order["requests_per_second"],
            seconds=order["seconds"],
        )
    return await generate(
        order["host"],
        order["port"],
        body_bytes=order["body_bytes"],
        concurrency=order["connections"],
        seconds=order["seconds"],
    )


async def at_rate(
    address: tuple[str, int], *, body_bytes: int, requests_per_second: float, seconds: float
) -> dict[str, float | int]:
    """Requests at a constant rate for `seconds`; what `generate` tells, and how late they were."""
    before, after = request_parts(body_bytes)
    first = int(time.perf_counter() * 1000) * 1000
    load = OpenLoad(
        address,
        requests=((before, b"%0*d" % (len(NUMBER), number), after) for number in count(first)),
        gaps_seconds=repeat(1.0 / requests_per_second),
        draws=random.Random(0),  # noqa: S311 - nobody hangs up here
        keep_times=True,
    )
    began_seconds, began_cpu_seconds = time.perf_counter(), time.process_time()
    await load.run(seconds)
    await load.drain(_DRAIN_SECONDS)
    load.close()
    elapsed_seconds = time.perf_counter() - began_seconds
    counts = load.counts
    latencies = sorted(counts.latencies_seconds)
    return {
        "requests": counts.answered,
        "failed_requests": counts.failed + counts.open,
        "elapsed_seconds": elapsed_seconds,
        "own_cpu_ratio": (time.process_time() - began_cpu_seconds) / elapsed_seconds,
        "latency_p50_seconds": quantile(latencies, 0.5),
        "latency_p99_seconds": quantile(latencies, 0.99),
        "late_p99_seconds": quantile(sorted(counts.late_seconds), 0.99),
    }


def _main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            answer = None
            with contextlib.suppress(TimeoutError):
                answer = runner.run(_obey(json.loads(line)))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main()
