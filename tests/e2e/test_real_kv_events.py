"""A real vLLM publishes KV events: the router knows exactly which of its prompts are cached."""

import asyncio
import contextlib
import json
from pathlib import Path

import aiohttp
import pytest
from telemetry_harness import free_port, until

from headrace.child_process import end, spawn
from router.decide.affinity import Affinity
from router.decide.affinity_blocks import BLOCK_TOKENS, token_blocks
from router.decide.settings import DecideSettings
from router.kv_event_settings import KvEventSettings
from router.kv_events import KvEventListener

MODEL = "tiny"
PROMPT = [3 + number % 500 for number in range(8 * BLOCK_TOKENS)]


async def complete(url, prompt):
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 4, "temperature": 0}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/completions", json=body) as response,
    ):
        assert response.status == 200, await response.text()


async def is_up(url):
    with contextlib.suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.ok
    return False


@pytest.mark.timeout(400)
async def test_prompts_of_token_ids_are_known_from_the_engine_s_events(
    vllm_tools, vllm_venv, tiny_model, tmp_path
):
    port = free_port()
    address, events = f"127.0.0.1:{port}", f"ipc://{tmp_path}/e"
    config = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": events,
        "replay_endpoint": f"ipc://{tmp_path}/r",
    }
    arguments = [vllm_tools / "serve_vllm.sh", vllm_venv, tiny_model, port, MODEL]
    arguments += ["--enable-prefix-caching", "--kv-events-config", json.dumps(config)]
    process = await spawn(
        Path("/bin/bash"), [str(one) for one in arguments], log_path=tmp_path / "vllm.log"
    )
    affinity = Affinity(DecideSettings())
    affinity.keep_only(frozenset({address}), ())
    listener = KvEventListener(
        affinity, KvEventSettings(named={address: (events, f"ipc://{tmp_path}/r")})
    )
    asked = token_blocks(PROMPT)
    try:
        await until(lambda: is_up(f"http://{address}/health"), seconds=300)
        await complete(f"http://{address}", PROMPT)  # before anybody listens: replayed later
        listener.follow([address])
        await asyncio.sleep(1.0)
        found = 0
        for number in range(50):
            await complete(f"http://{address}", [7 + number] * (4 * BLOCK_TOKENS))
            found = affinity.events.matching_blocks(address, MODEL, asked, learned=0)
            if found:
                break
            await asyncio.sleep(0.2)
        assert (listener.counts.malformed, listener.counts.gaps) == (0, 0)
        assert listener.counts.replayed >= 1
        assert found == len(asked)
        other = token_blocks([one + 1 for one in PROMPT])
        assert affinity.events.matching_blocks(address, MODEL, other, learned=99) == 0
    finally:
        await listener.aclose()
        await end(process, grace_seconds=20)
