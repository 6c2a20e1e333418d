"""Models and adapters, asked of replicas over HTTP."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from loopback_http import served_at
from prometheus_client import CollectorRegistry
from telemetry_harness import ManualClock, exporters, fleet_of, free_port, replica_at

from fleet.adapters import LoadedAdapters
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from telemetry.models_endpoint import ModelsEndpoint
from telemetry.poller import PolledSource, Poller
from telemetry.scrape import ScrapeSettings, ScrapeSource
from telemetry.served_models import ModelsError, ServedModels


@asynccontextmanager
async def answering(handler):
    """The address of a server whose /v1/models is `handler`."""
    async with served_at(handler, "/v1/models") as url:
        yield url.removeprefix("http://")


async def asked(address):
    endpoint = ModelsEndpoint(timeout_seconds=0.3)
    try:
        return await endpoint.ask(address)
    finally:
        await endpoint.aclose()


async def test_a_replica_tells_its_models_and_adapters():
    async def handler(_request):
        cards = [{"id": "llama", "root": "x/Llama-8B"}, {"id": "sql", "parent": "llama"}]
        return web.json_response({"data": cards})

    async with answering(handler) as address:
        assert await asked(address) == ServedModels(("llama",), ("sql",), "x/Llama-8B")


async def failing(_request):
    return web.Response(status=503)


async def hanging(_request):
    await asyncio.sleep(30)
    return web.Response()


async def redirecting(_request):
    raise web.HTTPFound("http://127.0.0.1:1/")


async def endless(_request):
    return web.Response(text=json.dumps({"data": [{"id": "m" * 2**21}]}))


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (failing, "answered 503"),
        (hanging, "does not answer"),
        (redirecting, "answered 302"),
        (endless, "is not a list of models"),
    ],
)
async def test_any_other_answer_is_a_sentence(handler, said):
    async with answering(handler) as address:
        with pytest.raises(ModelsError, match=said):
            await asked(address)


async def test_nobody_there_is_a_sentence():
    with pytest.raises(ModelsError, match="does not answer"):
        await asked(f"127.0.0.1:{free_port()}")


async def test_adapters_at_work_come_with_the_scrape_and_go_with_the_replica():
    clock = ManualClock()
    async with exporters(2) as (one, two):
        one.expose(
            "vllm:num_requests_running 1",
            'vllm:lora_requests_info{max_lora="2",running_lora_adapters="sql"} 5',
        )
        two.expose("vllm:num_requests_running 2")
        fleet = fleet_of(replica_at(one.address), replica_at(two.address))
        holder = SnapshotHolder(FleetSnapshot(fleet=fleet, published_seconds=0.0))
        source = ScrapeSource(ScrapeSettings(), clock)
        poller = Poller([PolledSource(source=source)], holder, clock, registry=CollectorRegistry())
        snapshot = await poller.poll_once()
        at_work = LoadedAdapters(frozenset({"sql"}), frozenset(), 2, clock.monotonic_seconds())
        assert snapshot.adapters == {one.address: at_work}
        poller.set_fleet(fleet_of(replica_at(two.address)))
        assert holder.current.adapters == {}
        await poller.stop()
