"""Load generators, upstreams and pollers: the benchmarks' own modules as processes."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator

_LINE_BYTES = 2**20


@contextlib.asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A module of this folder as a process that speaks in lines; ended with the context."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", f"headrace.bench.{module}", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def upstream(module: str, replicas: int) -> AsyncIterator[list[str]]:
    """Run an upstream, a module that prints its addresses as JSON."""
    async with child(module, str(replicas)) as process:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())
