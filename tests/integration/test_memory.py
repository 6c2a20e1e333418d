"""How much memory a router holds that knows a large fleet; bytes, not times."""

import asyncio

from telemetry_harness import until

from headrace.bench.children import upstream
from headrace.bench.router_process import start_router
from headrace.child_process import end
from headrace.processes import peak_bytes as peak_bytes_of

REPLICAS = 1000
# The target is 120 MB. Pages have the size of a real vLLM's; how many of them are in memory at the
# same time depends on how busy the machine is, by some megabytes: 108 MB were seen on a busy one.
TARGET_BYTES = 120_000_000
MARGIN_BYTES = 5_000_000
ROUNDS = 3


async def test_a_router_of_a_thousand_replicas_stays_below_its_target(tmp_path):
    async with upstream("scrape_pages", REPLICAS) as addresses:
        router = await start_router(tmp_path, addresses[:REPLICAS], scrape_seconds=1.0)
        try:

            async def knows_the_fleet():
                metrics = await router.metrics()
                await asyncio.sleep(0.5)  # a page of a megabyte
                rounds = metrics["headrace_telemetry_publications_total"]
                up = metrics["headrace_telemetry_target_up"]
                return rounds >= ROUNDS and up > REPLICAS  # the source itself is one more

            await until(knows_the_fleet, seconds=30)
            peak_bytes = peak_bytes_of(router.process.pid)
        finally:
            await end(router.process, grace_seconds=5.0)
    assert 30_000_000 < peak_bytes <= TARGET_BYTES - MARGIN_BYTES
