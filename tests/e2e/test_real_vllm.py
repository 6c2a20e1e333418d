"""Two real vLLMs on CPU behind real Envoy and the real router, driven by the openai client."""

import asyncio
import collections
import os

import aiohttp
import openai
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]
MODEL = "tiny"


@pytest_asyncio.fixture(loop_scope="session")
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
