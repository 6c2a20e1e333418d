"""A simulated fleet over real sockets, and what a client does with it."""

import asyncio
import json
from contextlib import asynccontextmanager

import openai
from prometheus_client.parser import text_string_to_metric_families

from loadtest.prompts import chat_content_of_tokens
from loadtest.sim_fleet import FleetSpec, ReplicaSpec, SimFleet

CHAT = "/v1/chat/completions"


def fleet_of(*replicas, sensor_gain_spread_ratio=0.0, **shared):
    """A running fleet with exact sensors."""
    return running_fleet(*replicas, sensor_gain_spread_ratio=sensor_gain_spread_ratio, **shared)


@asynccontextmanager
async def running_fleet(*replicas, time_scale=20.0, **shared):
    """A running fleet, twenty times faster than life."""
    fleet = SimFleet(FleetSpec(replicas=replicas, time_scale=time_scale, **shared))
    await fleet.start()
    try:
        yield fleet
    finally:
        await fleet.stop()


def replica(name="a", accelerator="H100", models=("llama",), **settings):
    return ReplicaSpec(name=name, accelerator=accelerator, models=models, **settings)


def url(fleet, path, name="a"):
    return f"http://{fleet.addresses[name]}{path}"


def chat(tokens=100, *, salt="", max_tokens=20, **fields):
    content = chat_content_of_tokens(tokens, salt=salt)
    message = {"role": "user", "content": content}
    return {"model": "llama", "messages": [message], "max_tokens": max_tokens, **fields}


def openai_client(fleet, name="a"):
    return openai.AsyncOpenAI(base_url=url(fleet, "/v1", name), api_key="none", max_retries=0)


async def post(session, fleet, path, body, name="a", **kwargs):
    async with session.post(url(fleet, path, name), json=body, **kwargs) as response:
        return response.status, await response.json(), response.headers


async def events(session, fleet, body, path=CHAT, name="a"):
    """The `data:` payloads of a stream, [DONE] as None."""
    async with session.post(url(fleet, path, name), json=body) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = (await response.text()).split("\n\n")
    assert lines.pop() == ""
    payloads = [line.removeprefix("data: ") for line in lines]
    return [None if payload == "[DONE]" else json.loads(payload) for payload in payloads]


async def samples(session, address):
    """{(name, labels): value} and {family: type} of an exposition."""
    async with session.get(f"http://{address}/metrics") as response:
        text = await response.text()
    families = list(text_string_to_metric_families(text))
    values = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    return values, {family.name: family.type for family in families}


def value(values, name, **labels):
    """The one sample of that name whose labels include the given ones."""
    wanted = set(labels.items())
    found = [number for (key, having), number in values.items() if key == name and wanted <= having]
    assert len(found) == 1, (name, labels, found)
    return found[0]


async def eventually(condition):
    """Wait for a condition that another party must bring about; fails after 5 s."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
