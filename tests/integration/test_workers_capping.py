"""Several workers and one capper: what it puts to sleep gets nothing, who waits wakes it again."""

import asyncio
import contextlib

import aiohttp
import yaml
from stack_harness import MODEL, OTHER_MODEL, TIMEOUTS, chat_body, fleet_file, replica
from telemetry_harness import until

from headrace.demo.lane import Lane, LanePlan
from loadtest.fleet_spec import FleetSpec
from loadtest.sim_fleet import SimFleet

REPLICAS = (
    replica("a100", "A100", models=(OTHER_MODEL,)),
    replica("h100", "H100", models=(MODEL,)),
)
CHAT = "/v1/chat/completions"
DEADLINE_SECONDS = 30.0
WORKERS = 2


def cap_file(path, watts):
    def ref(name, floor):
        return {"kind": "Deployment", "metadata": {"name": name}, "minReplicas": floor}

    pace = {"shedIntervalSeconds": 0.1, "growIntervalSeconds": 0.1, "dwellSeconds": 0}
    document = {
        "apiVersion": "powercapping.climatik-project.ai/v1",
        "kind": "PowerCappingConfig",
        "metadata": {"name": "fleet-cap"},
        "spec": {
            "powerCapLimit": watts,
            "mode": "Enforce",
            "scaleObjectRef": [ref("a100", 0), ref("h100", 1)],
            "safety": {**pace, "maxDirectionChanges": 50},
            "price": {"enabled": False},
            "brake": {"enabled": False},
        },
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


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
        fleet = SimFleet(FleetSpec(replicas=REPLICAS, time_scale=20.0))
        await fleet.start()
        stack.push_async_callback(fleet.stop)
        (folder / "fleet.yaml").write_text(
            yaml.safe_dump(fleet_file(fleet, max_running_requests=256)), encoding="utf-8"
        )
        cap_file(folder / "cap.yaml", "100kW")
        exporters = fleet.exporter_addresses.values()
        lane = await stack.enter_async_context(
            Lane(
                LanePlan(
                    fleet_path=folder / "fleet.yaml",
                    folder=folder / "lane",
                    exporter_urls=tuple(f"http://{address}/metrics" for address in exporters),
                    scrape_interval_seconds=0.1,
                    timeouts=TIMEOUTS,
                    capper={
                        "configs": [str(folder / "cap.yaml")],
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
        cap_file(tmp_path / "cap.yaml", 0.2 * full_watts)

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
        cap_file(tmp_path / "cap.yaml", 4.0 * full_watts)
        answers = await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE_SECONDS)
        assert [(status, content["model"]) for status, content in answers] == (
            [(200, OTHER_MODEL)] * 6
        )
