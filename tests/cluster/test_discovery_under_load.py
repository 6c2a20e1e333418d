"""Replicas come and go through the API while requests run: none is lost."""

import asyncio
import itertools
from collections import Counter
from functools import partial

import aiohttp
import grpc
import pytest
from extproc_harness import open_stream, request_body, request_headers
from kube_discovery import QUICK, until
from kube_objects import inference_pool, ready_pod
from kube_replicas import open_replicas

from fleet.topology import Fleet
from headrace.serve_file import ServeSection
from headrace.service import Service
from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind
from telemetry.kubernetes.source import KubernetesFleetSource

CLIENTS = 12
LABELS = {"app": "llama"}


@pytest.fixture
async def replicas():
    async with open_replicas() as opened:
        yield opened


class Load:
    """Clients that each hold one request after another for a moment."""

    def __init__(self, channel):
        self._channel = channel
        self.sent, self.ended, self.refused = Counter(), Counter(), []
        self.stopping = asyncio.Event()

    async def run(self):
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._client(number))

    async def _client(self, number):
        for turn in itertools.count():
            if self.stopping.is_set():
                return
            stream = open_stream(self._channel)
            await stream.write(request_headers())
            await stream.read()
            await stream.write(request_body(model="llama-8b"))
            reply = await stream.read()
            if reply.WhichOneof("response") == "immediate_response":
                self.refused.append(reply.immediate_response)
                continue
            [header] = reply.request_body.response.header_mutation.set_headers
            address = header.header.raw_value.decode().split(",")[0]
            self.sent[address] += 1
            await asyncio.sleep(0.01 * ((number + turn) % 5))
            await stream.done_writing()
            assert await stream.code() is grpc.StatusCode.OK
            self.ended[address] += 1


async def test_no_request_is_lost_while_pods_come_and_go(kube, namespace, kubeconfig, replicas):
    await kube.install_crds("gie")
    await kube.create(inference_pool(namespace, "pool", LABELS, (replicas.port,)))

    async def add(number):
        ip = await replicas.open(number)
        await kube.add_pod(ready_pod(namespace, f"p{number}", ip, labels=LABELS, node="n"))
        return f"{ip}:{replicas.port}"

    live = [await add(0), await add(1)]
    target = Target(kind=TargetKind.INFERENCE_POOL, namespace=namespace, name="pool")
    settings = KubernetesSettings(targets=(target,), kubeconfig=str(kubeconfig()), **QUICK)
    config = ServeSection.model_validate(
        {
            "kubernetes": {"targets": [{"kind": "InferencePool", "namespace": "n", "name": "p"}]},
            "ext_proc": {"port": 0, "drain_seconds": 5},
            "admin": {"port": 0},
            "router": {"policy": "least-request"},
            "telemetry": {"scrape": None},
        }
    )
    source = partial(KubernetesFleetSource, settings)
    async with Service(config, Fleet(()), source) as service:
        ledger = service.picker.ledger

        def served():
            return {replica.address for replica in service.routing.view.fleet.replicas()}

        assert served() == set(live)
        async with grpc.aio.insecure_channel(service.addresses()[0]) as channel:
            load = Load(channel)
            running = asyncio.create_task(load.run())
            for number in range(2, 8):
                live.append(await add(number))
                await until(lambda: served() == set(live))
                gone = live.pop(0)
                await kube.delete("v1", "Pod", namespace, f"p{number - 2}")
                await until(lambda: served() == set(live))
                # From here on nothing new goes there; what runs there ends by itself.
                entered = ledger.entered_total
                await until(lambda gone=gone: ledger.account(gone).running == 0)
                before = load.sent[gone]
                await until(lambda entered=entered: ledger.entered_total > entered + 2 * CLIENTS)
                assert load.sent[gone] == before
            load.stopping.set()
            await running
        assert load.refused == []
        assert load.ended == load.sent
        assert len(load.ended) == 8
        assert (ledger.running(), ledger.entered_total) == (0, sum(load.ended.values()))


async def test_readyz_says_that_the_fleet_is_as_last_seen(
    kube, namespace, kubeconfig, replicas, door
):
    await kube.install_crds("gie")
    await kube.create(inference_pool(namespace, "pool", LABELS, (replicas.port,)))
    target = Target(kind=TargetKind.INFERENCE_POOL, namespace=namespace, name="pool")
    settings = KubernetesSettings(targets=(target,), kubeconfig=str(kubeconfig()), **QUICK)
    config = ServeSection.model_validate(
        {"fleet": "none", "ext_proc": {"port": 0}, "admin": {"port": 0}}
    )
    async with (
        Service(config, Fleet(()), partial(KubernetesFleetSource, settings)) as service,
        aiohttp.ClientSession() as session,
    ):

        async def ready():
            async with session.get(f"http://127.0.0.1:{service.admin.port}/readyz") as answer:
                return answer.status, await answer.json()

        assert await ready() == (200, {"status": "ready"})
        await door.shut()
        async with asyncio.timeout(20):
            while "detail" not in (said := await ready())[1]:
                await asyncio.sleep(0.02)
        assert said[0] == 200
        assert said[1]["detail"].startswith("The fleet is served as last seen.")
        await door.open()
        async with asyncio.timeout(20):
            while "detail" in (await ready())[1]:
                await asyncio.sleep(0.02)
