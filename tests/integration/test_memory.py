"""How much memory a router holds that knows a large fleet; bytes, not times."""

import asyncio
import json
import re
import sys

import aiohttp
from telemetry_harness import until

from headrace.bench.processes import peak_bytes as peak_bytes_of

REPLICAS = 1000
# The target is 120 MB. Pages have the size of a real vLLM's; how many of them are in memory at the
# same time depends on how busy the machine is, by some megabytes: 108 MB were seen on a busy one.
TARGET_BYTES = 120_000_000
MARGIN_BYTES = 5_000_000
ROUNDS = 3


async def test_a_router_of_a_thousand_replicas_stays_below_its_target(tmp_path):
    upstream = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "headrace.bench.scrape_pages", str(REPLICAS)),
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    router = None
    try:
        addresses = json.loads(await upstream.stdout.readline())["replicas"]
        backend = {"name": "b", "accelerator": "H100", "parameters": 8e9, "models": ["m"]}
        replicas = [{"address": address} for address in addresses]
        serve = {
            "fleet": "fleet.yaml",
            "ext_proc": {"unix_socket": str(tmp_path / "x.sock"), "drain_seconds": 0},
            "admin": {"port": 0},
        }
        (tmp_path / "fleet.yaml").write_text(
            json.dumps({"backends": [{**backend, "replicas": replicas}]})
        )
        (tmp_path / "serve.yaml").write_text(json.dumps(serve))
        ready = tmp_path / "ready.json"
        router = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace.main", "serve", "--no-capper"),
            *("--config", str(tmp_path / "serve.yaml"), "--ready-file", str(ready)),
        )

        async def is_ready():
            return ready.exists()

        await until(is_ready, seconds=30)
        url = f"http://127.0.0.1:{json.loads(ready.read_text())['admin_port']}/metrics"

        async def knows_the_fleet():
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                page = await answer.text()
            rounds = re.search(r"^headrace_telemetry_publications_total (\S+)", page, re.MULTILINE)
            up = len(re.findall(r"^headrace_telemetry_target_up{.*} 1.0", page, re.MULTILINE))
            await asyncio.sleep(0.5)  # a page of a megabyte
            return float(rounds[1]) >= ROUNDS and up > REPLICAS  # the source itself is one more

        await until(knows_the_fleet, seconds=30)
        peak_bytes = peak_bytes_of(router.pid)
    finally:
        for process in (router, upstream):
            if process is not None:
                process.terminate()
                await process.wait()
    assert 30_000_000 < peak_bytes <= TARGET_BYTES - MARGIN_BYTES
