"""A model that the cap put to sleep: who waits for it wakes a replica, and is served by it."""

import asyncio
import contextlib
import logging
import re

import aiohttp
import pytest
from sim_vllm_harness import running_fleet
from stack_files import HASTE, MODEL, OTHER_MODEL, capped, write_cap, write_serve
from stack_harness import TIMEOUTS, chat_body, replica
from telemetry_harness import until

from headrace.envoy_command import endpoints
from headrace.envoy_config import EnvoyPlan, render_bootstrap
from headrace.envoy_process import EnvoyOptions, EnvoyProcess
from headrace.fleet_file import load_fleet
from headrace.serve_file import load_serve
from headrace.service import Service

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLICAS = (
    *(replica(f"a100-{n}", "A100", models=(OTHER_MODEL,)) for n in range(2)),
    *(replica(f"h100-{n}", "H100", models=(MODEL,)) for n in range(2)),
)
REPLICA_WATTS = 1000.0
RISEN = re.compile(
    r"MaxReplicas: Local/default/(?P<backend>\w+): bound (?:put back|(?P<was>\d) -> (?P<to>\d))"
)


def cap_file(folder, watts, *, floor=1):
    write_cap(
        folder,
        watts,
        capped("a100", minReplicas=0, priority=0, wattsPerReplica=REPLICA_WATTS),
        capped("h100", minReplicas=floor, priority=5, wattsPerReplica=REPLICA_WATTS),
        safety=HASTE,
        price={"enabled": False},
        brake={"enabled": False},
    )


@contextlib.asynccontextmanager
async def stack(folder):
    """(service, client of Envoy) on four replicas of two models."""
    async with contextlib.AsyncExitStack() as opened:
        fleet = await opened.enter_async_context(running_fleet(*REPLICAS))
        cap_file(folder, "100kW")
        socket = folder / "ext_proc.sock"
        path = write_serve(folder, fleet, ext_proc={"unix_socket": str(socket)}, sleep="http")
        service = await opened.enter_async_context(Service(*load_serve(path)))
        plan = EnvoyPlan(
            endpoints=endpoints(load_fleet(folder / "fleet.yaml")),
            ext_proc_targets=(f"unix:{socket}",),
            access_log_path=str(folder / "access.log"),
            timeouts=TIMEOUTS,
        )
        envoy = await opened.enter_async_context(
            EnvoyProcess(render_bootstrap(plan), EnvoyOptions(log_path=folder / "envoy.log"))
        )
        host, port = envoy.listener_address()
        client = await opened.enter_async_context(aiohttp.ClientSession(f"http://{host}:{port}"))
        yield service, client


def awake(service):
    backends = [unit.backend.name for unit in service.picker.units()]
    return backends.count("a100"), backends.count("h100")


async def asleep(service, folder, *, floor=1):
    """Lower the cap until one model has no replica; the watts of the fleet then."""

    async def watts():
        report = service.capping.loop.reports.get("default/fleet-cap")
        return report and report.plan.domains[0].watts

    await until(watts, seconds=20)
    cap_file(folder, 0.2 * await watts(), floor=floor)

    async def one_left():
        return awake(service) == (0, floor)

    await until(one_left, seconds=20)
    return await watts()


def rises(caplog):
    """Backends whose bounds rose or were lifted, in order."""
    said = [RISEN.search(record.getMessage()) for record in caplog.records]
    return [one["backend"] for one in said if one and (one["to"] is None or one["to"] > one["was"])]


@pytest.mark.parametrize("somebody_waits", [True, False])
async def test_who_waits_wakes_a_replica_within_the_cap(tmp_path, caplog, somebody_waits):
    caplog.set_level(logging.INFO, "capper.operator.journal")
    async with stack(tmp_path) as (service, client):
        watts = await asleep(service, tmp_path)
        assert OTHER_MODEL in service.admission.models(), "asleep is not unknown"
        request = None
        if somebody_waits:
            body = chat_body(model=OTHER_MODEL)
            request = asyncio.create_task(client.post("/v1/chat/completions", json=body))

            async def waits():
                return service.admission.waiting().get(OTHER_MODEL)

            demand = await until(waits, seconds=20)
            assert (demand.requests, demand.has_replica) == (1, False)
            forecast = service.capping._forecasts()["a100"]
            assert forecast.demand_replicas == 1
            await asyncio.sleep(0.5)
            assert awake(service) == (0, 1), "the cap comes first, whoever waits"
        caplog.clear()
        # Room for one replica more, but not for two.
        cap_file(tmp_path, (watts + 1.3 * REPLICA_WATTS) / 0.83)

        async def has_risen():
            return rises(caplog)

        first, *_ = await until(has_risen, seconds=20)
        # The other model's target has the higher priority: it is who waits that turns the order.
        assert first == ("a100" if somebody_waits else "h100")
        if request is not None:
            answer = await asyncio.wait_for(request, 20)
            assert answer.status == 200
            assert (await answer.json())["model"] == OTHER_MODEL
            assert service.admission.waiting() == {}


async def test_a_replica_that_nobody_needs_makes_room_for_a_model_that_has_none(tmp_path):
    async with stack(tmp_path) as (service, client):
        await asleep(service, tmp_path, floor=2)
        watts = await settled_watts(service)
        # One replica more does not fit; it does once one of the idle pair sleeps.
        cap_watts = (0.9 * watts + REPLICA_WATTS) / 0.83
        cap_file(tmp_path, cap_watts)

        async def is_followed():
            report = service.capping.loop.reports["default/fleet-cap"]
            return report.plan.domains[0].cap_watts == pytest.approx(cap_watts)

        await until(is_followed, seconds=20)
        await asyncio.sleep(0.5)
        assert awake(service) == (0, 2), "nobody waits, so nobody gives way"
        body = chat_body(model=OTHER_MODEL)
        answer = await asyncio.wait_for(client.post("/v1/chat/completions", json=body), 20)
        assert answer.status == 200
        assert (await answer.json())["model"] == OTHER_MODEL
        assert awake(service) == (1, 1)


async def settled_watts(service):
    """Watts of the fleet, once all that is to sleep does and they stay the same for a second."""
    seen = []

    async def is_settled():
        if all(one.asleep for one in service.capping._fleet._sleepers.values()):
            seen.append(service.capping.loop.reports["default/fleet-cap"].plan.domains[0].watts)
        return len(seen) >= 20 and len({round(one) for one in seen[-20:]}) == 1

    await until(is_settled, seconds=20)
    return seen[-1]
