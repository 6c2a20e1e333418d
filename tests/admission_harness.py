"""A router that lets requests wait, in this process, behind a real Envoy and simulated replicas."""

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import aiohttp
from sim_vllm_harness import running_fleet
from stack_files import MODEL, fleet_file, written
from stack_harness import TIMEOUTS, chat_body, replica
from telemetry_harness import until

from headrace.envoy_command import endpoints
from headrace.envoy_config import EnvoyPlan, render_bootstrap
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyOptions, EnvoyProcess
from headrace.fleet_file import load_fleet
from headrace.fleet_watch import FleetFileSource
from headrace.serve_file import load_serve
from headrace.service import Service

CHAT = "/v1/chat/completions"
LONG = 4000  # tokens that no test waits for


class Admitting:
    """A running router with what is around it."""

    def __init__(self, folder, fleet, service, client, declared):
        self.folder = folder
        self.fleet = fleet
        self.service = service
        self.client = client
        self._declared = declared

    @property
    def queue(self):
        return self.service.admission.queue

    def ask(self, **fields):
        """A request on its way: (status, headers, answer)."""
        headers = fields.pop("headers", None)
        return asyncio.create_task(self._ask(chat_body(**fields), headers))

    async def _ask(self, body, headers):
        async with self.client.post(CHAT, json=body, headers=headers) as answer:
            return answer.status, answer.headers, await answer.json()

    async def wait_for(self, requests):
        """Until so many wait."""

        async def wait():
            return len(self.queue) == requests

        await until(wait, seconds=20)

    async def until_running(self, requests):
        async def run():
            return self.service.picker.ledger.running() == requests

        await until(run, seconds=20)

    def scale_to(self, replicas):
        """Rewrite the fleet file so that it names the first so many replicas."""
        write_fleet(self.folder, self._declared, replicas)


class WithObjectives:
    """A source of the fleet that has InferenceObjectives too, as a cluster has."""

    def __init__(self, priorities, source):
        self._priorities = priorities
        self._source = source
        self.name, self.state, self.stop = source.name, source.state, source.stop

    async def start(self, publish):
        return self._add(await self._source.start(lambda view: publish(self._add(view))))

    def _add(self, view):
        return replace(view, priorities=self._priorities)


def write_fleet(folder, declared, replicas):
    [backend] = declared["backends"]
    some = {"backends": [{**backend, "replicas": backend["replicas"][:replicas]}]}
    written(folder / "fleet.yaml", some)


@contextlib.asynccontextmanager
async def admitting(
    folder,
    *,
    replicas=1,
    scaled_to=0,
    max_running_requests=256,
    body_mode=EnvoyBodyMode.BUFFERED,
    timeouts=TIMEOUTS,
    time_scale=20.0,
    priorities=MappingProxyType({}),
    **admission,
):
    """Envoy knows all replicas, the router the first `scaled_to`."""
    async with contextlib.AsyncExitStack() as stack:
        specs = tuple(replica(f"h100-{index}") for index in range(replicas))
        fleet = await stack.enter_async_context(running_fleet(*specs, time_scale=time_scale))
        declared = fleet_file(fleet, max_running_requests=max_running_requests)
        write_fleet(folder, declared, replicas)
        known = endpoints(load_fleet(folder / "fleet.yaml"))
        write_fleet(folder, declared, scaled_to)
        socket = folder / "ext_proc.sock"
        serve = {
            "fleet": "fleet.yaml",
            "ext_proc": {"unix_socket": str(socket), "drain_seconds": 5},
            "admin": {"port": 0},
            "telemetry": {"scrape": {"interval_seconds": 0.1}},
            "admission": admission,
        }
        config, topology = load_serve(written(folder / "serve.yaml", serve))
        file_source = partial(FleetFileSource, folder / "fleet.yaml", interval_seconds=0.1)
        service = await stack.enter_async_context(
            Service(config, topology, lambda *its: WithObjectives(priorities, file_source(*its)))
        )
        plan = EnvoyPlan(
            endpoints=known,
            ext_proc_targets=(f"unix:{socket}",),
            access_log_path=str(folder / "access.log"),
            timeouts=timeouts,
            body_mode=body_mode,
        )
        envoy = await stack.enter_async_context(
            EnvoyProcess(render_bootstrap(plan), EnvoyOptions(log_path=folder / "envoy.log"))
        )
        host, port = envoy.listener_address()
        client = await stack.enter_async_context(aiohttp.ClientSession(f"http://{host}:{port}"))
        await _until_routed(client, service)
        yield Admitting(folder, fleet, service, client, declared)


async def _until_routed(client, service):
    async def is_routed():
        async with client.get("/v1/models") as answer:
            return answer.status == 200 and MODEL in await answer.text()

    await until(is_routed, seconds=20)
    assert service.admission.models() == (MODEL,)
