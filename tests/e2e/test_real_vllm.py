"""Two real vLLMs on CPU behind real Envoy and the real router, driven by the openai client."""

import asyncio
import collections
import contextlib
import os
import socket
from pathlib import Path

import aiohttp
import openai
import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from headrace.child_process import end, spawn
from headrace.demo.lane import Lane, LanePlan

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module")]
START_SECONDS = 300
MODEL = "tiny"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def answers(url, *, deadline_seconds=START_SECONDS):
    async with asyncio.timeout(deadline_seconds), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.ok:
                        return
            await asyncio.sleep(0.5)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vllms(vllm_tools, vllm_venv, tiny_model, tmp_path_factory):
    """Two vLLMs; their addresses."""
    folder = tmp_path_factory.mktemp("vllm")
    ports = [free_port(), free_port()]
    processes = []
    try:
        for port in ports:
            arguments = [vllm_tools / "serve_vllm.sh", vllm_venv, tiny_model, port, MODEL]
            process = await spawn(
                Path("/bin/bash"), [str(a) for a in arguments], log_path=folder / f"{port}.log"
            )
            processes.append(process)
        await asyncio.gather(*(answers(f"http://127.0.0.1:{port}/health") for port in ports))
        yield [f"127.0.0.1:{port}" for port in ports]
    finally:
        await asyncio.gather(*(end(process, grace_seconds=20) for process in processes))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lane(vllms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lane")
    fleet = {
        "backends": [
            {
                "name": "cpu",
                "accelerator": "CPU",
                "parameters": 1e7,
                "models": [MODEL],
                "max_running_requests": 16,
                "profile": {
                    "step": {
                        "base_seconds": 0.004,
                        "per_request_seconds": 0.0003,
                        "per_kv_token_seconds": 0,
                        "per_prompt_token_seconds": 2e-5,
                    },
                    "power": {
                        "idle_watts": 20,
                        "floor_watts": 40,
                        "span_watts": 10,
                        "prefill_watts": 50,
                    },
                    "kv_capacity_tokens": 262144,
                },
                "replicas": [{"address": address} for address in vllms],
            }
        ]
    }
    fleet_path = folder / "fleet.yaml"
    fleet_path.write_text(yaml.safe_dump(fleet), encoding="utf-8")
    async with Lane(LanePlan(fleet_path=fleet_path, folder=folder / "lane")) as lane:
        yield lane


@pytest_asyncio.fixture(loop_scope="module")
async def client(lane):
    async with openai.AsyncOpenAI(base_url=f"{lane.base_url}/v1", api_key="unused") as client:
        yield client


async def counter(address, name):
    """The sum of one counter of one vLLM."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/metrics") as answer,
    ):
        text = await answer.text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


async def in_flight(lane):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{lane.admin_url}/debug/snapshot") as answer,
    ):
        snapshot = await answer.json()
    return sum(replica["ledger_running"] for replica in snapshot["replicas"])


async def settled(lane):
    async with asyncio.timeout(10):
        while await in_flight(lane):
            await asyncio.sleep(0.1)


def chat(text="Say something."):
    return [{"role": "user", "content": text}]


async def test_models_are_listed(client):
    assert [model.id async for model in client.models.list()] == [MODEL]


async def test_a_chat_completion_comes_back_whole(client, lane):
    answer = await client.chat.completions.create(
        model=MODEL, messages=chat(), max_tokens=16, extra_body={"ignore_eos": True}
    )

    assert answer.usage.completion_tokens == 16
    assert answer.choices[0].finish_reason == "length"
    await settled(lane)


async def test_a_stream_comes_token_by_token_with_its_usage(client, lane):
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=chat(),
        max_tokens=32,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = [chunk async for chunk in stream]

    assert len(chunks) > 8
    assert chunks[-1].usage.completion_tokens == 32
    await settled(lane)


async def test_an_unknown_model_is_the_openai_clients_not_found_error(client):
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-9", messages=chat())

    assert caught.value.code == "model_not_found"


async def test_a_bad_request_of_the_engine_reaches_the_client(client, lane):
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model=MODEL, messages=chat("x " * 9000))
    await settled(lane)


async def test_many_requests_are_all_served_and_counted_once(client, lane, vllms):
    before = [await counter(a, "vllm:request_success_total") for a in vllms]

    answers = await asyncio.gather(
        *(
            client.completions.create(
                model=MODEL, prompt=f"{k} {os.urandom(8).hex()}", max_tokens=24
            )
            for k in range(60)
        )
    )

    after = [await counter(a, "vllm:request_success_total") for a in vllms]
    assert len(answers) == 60
    assert sum(after) - sum(before) == 60
    await settled(lane)


async def test_the_router_reads_the_real_metrics(lane, vllms):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{lane.admin_url}/debug/snapshot") as answer,
    ):
        snapshot = await answer.json()

    fresh = collections.Counter(
        kind
        for replica in snapshot["replicas"]
        for kind, signal in replica["signals"].items()
        if signal["freshness"] == "fresh"
    )
    for kind in (
        "healthy_ratio",
        "running_requests",
        "waiting_requests",
        "kv_usage_ratio",
        "kv_capacity_tokens",
        "prompt_tokens_total",
        "generation_tokens_total",
        "requests_finished_total",
    ):
        assert fresh[kind] == len(vllms), kind
    assert fresh["power_watts"] == 0  # unknown, not zero


async def test_a_client_that_hangs_up_leaves_no_trace(lane, vllms):
    async with aiohttp.ClientSession() as session:
        response = await session.post(
            f"{lane.base_url}/v1/chat/completions",
            json={
                "model": MODEL,
                "messages": chat(),
                "max_tokens": 3000,
                "ignore_eos": True,
                "stream": True,
            },
        )
        await response.content.readany()
        assert await in_flight(lane) == 1
        response.close()

    await settled(lane)
    async with asyncio.timeout(10):
        while sum([await counter(a, "vllm:num_requests_running") for a in vllms]):
            await asyncio.sleep(0.1)
