"""Several workers and one capper: what it puts to sleep gets nothing, who waits wakes it again."""

import asyncio
import contextlib

import aiohttp
from sim_vllm_harness import running_fleet
from stack_files import (
    HASTE,
    MODEL,
    OTHER_MODEL,
    capped,
    exporter_urls,
    write_cap,
    write_fleet,
)
from stack_harness import TIMEOUTS, chat_body, replica
from telemetry_harness import until

from headrace.demo.lane import Lane, LanePlan

REPLICAS = (
    replica("a100", "A100", models=(OTHER_MODEL,)),
    replica("h100", "H100", models=(MODEL,)),
)
CHAT = "/v1/chat/completions"
DEADLINE_SECONDS = 30.0
WORKERS = 2


def cap_file(folder, watts):
    off = {name: {"enabled": False} for name in ("price", "brake")}
    refs = (capped("a100", minReplicas=0), capped("h100", minReplicas=1))
    return write_cap(folder, watts, *refs, safety=HASTE, **off)


class Router:
    """A client of Envoy and of the router's admin port."""

    def __init__(self, lane, client):
        self.lane = lane
        self.client = client

    async def admin(self, path):
        async with self.client.get(f"{self.lane.admin_url}{path}") as answer:
            return await answer.json()

    async def ask(self, model):
        async with self.client.post(
            f"{self.lane.base_url}{CHAT}", json=chat_body(model=model)
        ) as answer:
            return answer.status, await answer.json()

    async def domain(self):
        reports = await self.admin("/debug/capping")
        return reports["default/fleet-cap"]["domains"][0] if reports else None

    async def metric_lines(self, start):
        async with self.client.get(f"{self.lane.admin_url}/metrics") as answer:
            return [line for line in (await answer.text()).splitlines() if line.startswith(start)]


@contextlib.asynccontextmanager
async def running(folder):
    async with contextlib.AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(running_fleet(*REPLICAS))
        lane = await stack.enter_async_context(
            Lane(
                LanePlan(
                    fleet_path=write_fleet(folder, fleet),
                    folder=folder / "lane",
                    exporter_urls=tuple(exporter_urls(fleet)),
                    scrape_interval_seconds=0.1,
                    timeouts=TIMEOUTS,
                    capper={
                        "configs": [str(cap_file(folder, "100kW"))],
                        "period_seconds": 0.1,
                        "sleep": "http",
                    },
                    workers=WORKERS,
                )
            )
        )
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield fleet, Router(lane, client)


async def test_who_waits_in_a_worker_wakes_what_the_cap_put_to_sleep(tmp_path):
    async with running(tmp_path) as (fleet, router):
        engine = fleet.server("a100").replica.engine

        async def both_are_served():
            return {(await router.ask(model))[0] for model in (MODEL, OTHER_MODEL)} == {200}

        async def watts():
            domain = await router.domain()
            return domain and domain["watts"]

        await until(both_are_served, seconds=DEADLINE_SECONDS)
        full_watts = await until(watts, seconds=DEADLINE_SECONDS)
        cap_file(tmp_path, 0.2 * full_watts)

        async def is_asleep():
            return engine.asleep

        await until(is_asleep, seconds=DEADLINE_SECONDS)
        # Of both models, to both workers: one is served, the other waits and is not unknown.
        waiting = [asyncio.create_task(router.ask(OTHER_MODEL)) for _ in range(6)]

        async def wait():
            name = f'headrace_router_queue_requests{{model="{OTHER_MODEL}"}}'
            return [f"{name} 6.0"] == await router.metric_lines(name)

        await until(wait, seconds=DEADLINE_SECONDS)
        assert (await router.ask(MODEL))[0] == 200
        assert engine.asleep, "the cap comes first, whoever waits"
        cap_file(tmp_path, 4.0 * full_watts)
        answers = await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE_SECONDS)
        assert [(status, content["model"]) for status, content in answers] == (
            [(200, OTHER_MODEL)] * 6
        )
