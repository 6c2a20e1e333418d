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
from itertools import repeat
from typing import Any, Self

import uvloop

from headrace.bench.children import child
from headrace.bench.extproc_load import fresh_numbers, generate, numbered, quantile, request_parts
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
        async with child("extproc_generator") as process:
            yield cls(process)

    async def load(
        self,
        address: tuple[str, int],
        *,
        body_bytes: int,
        connections: int | None,
        seconds: float,
        requests_per_second: float | None = None,
    ) -> dict[str, float]:
        """A closed loop of `connections`, or requests at a constant rate.

        Raises:
            LoadError: When answers do not come, or the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {
            "address": address,
            "body_bytes": body_bytes,
            "seconds": seconds,
            "connections": connections,
            "requests_per_second": requests_per_second,
        }
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise LoadError("the load generator has ended")
        answer: dict[str, float] = json.loads(line)
        if "error" in answer:
            raise LoadError(f"requests of {body_bytes} bytes {answer['error']}")
        return answer


async def _obey(order: dict[str, Any]) -> dict[str, Any]:
    connections, rate = order.pop("connections"), order.pop("requests_per_second")
    try:
        if connections is None:
            return await at_rate(**order, requests_per_second=rate)
        return await generate(**order, connections=connections)
    except TimeoutError:
        return {"error": "were not answered in time"}
    except OSError as error:
        return {"error": f"failed: {error}"}


async def at_rate(
    address: tuple[str, int], *, body_bytes: int, requests_per_second: float, seconds: float
) -> dict[str, float | int]:
    """Requests at a constant rate for `seconds`; what `generate` tells, and how late they were."""
    parts = request_parts(body_bytes)
    load = OpenLoad(
        address,
        requests=(numbered(parts, number) for number in fresh_numbers()),
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
            sys.stdout.write(json.dumps(runner.run(_obey(json.loads(line)))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main()
