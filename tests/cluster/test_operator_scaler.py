"""The external scaler of a running loop, asked as KEDA asks; its ScaledObject is not written."""

import asyncio
import contextlib

import grpc
import pytest
from operator_harness import (
    BOUNDS,
    PERIOD,
    Plant,
    again,
    capping,
    deployment,
    direct_loop,
    eventually,
    install,
    scaled_object,
    stored,
)

from capper.external_scaler import messages
from capper.external_scaler.allowances import AllowanceHolder
from capper.external_scaler.server import ExternalScaler
from capper.kube.api import FIELD_MANAGER
from telemetry.system_clock import SystemClock

SCALED_OBJECT = ("keda.sh/v1alpha1", "ScaledObject")
# Bands follow the watts within a few turns.
QUICK = {"dwellSeconds": 0, "leaveSamples": 1, "growIntervalSeconds": 0.1}
SERVED = {**BOUNDS, "externalScaler": {"enabled": True}, "safety": QUICK}


class Keda:
    """KEDA's calls for the ScaledObjects of one namespace."""

    def __init__(self, channel, namespace):
        self._channel = channel
        self._namespace = namespace

    def _ref(self, name):
        return messages.ScaledObjectRef(name=name, namespace=self._namespace)

    async def allowed(self, name="llm-scaler"):
        call = self._channel.unary_unary(
            "/externalscaler.ExternalScaler/GetMetrics",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.GetMetricsResponse.FromString,
        )
        asked = messages.GetMetricsRequest(scaledObjectRef=self._ref(name), metricName="cap")
        (value,) = (await call(asked, timeout=5)).metricValues
        return value.metricValue

    async def refused(self, name="llm-scaler"):
        try:
            await self.allowed(name)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return None

    def watch(self, name="llm-scaler"):
        call = self._channel.unary_stream(
            "/externalscaler.ExternalScaler/StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.IsActiveResponse.FromString,
        )
        return call(self._ref(name))


async def ended(stream):
    """What a stream ends with, after all that it still has to say."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await stream.read() is not grpc.aio.EOF:
            pass
    return await stream.code()


@contextlib.asynccontextmanager
async def asked(holder, namespace):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ExternalScaler(holder, SystemClock()).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Keda(channel, namespace)
    await server.stop(grace=None)


@pytest.fixture
async def keda(kube, namespace):
    await install(kube, "keda")
    await kube.create(deployment(namespace, replicas=4))
    await kube.create(scaled_object(namespace, maxReplicaCount=9))
    return kube


async def test_keda_is_told_what_the_cap_allows_and_nothing_is_written(keda, namespace, kubeconfig):
    before = await keda.get(*SCALED_OBJECT, namespace, "llm-scaler")
    document = await stored(keda, capping(namespace, cap=10_000, **SERVED))
    plant, holder = Plant(), AllowanceHolder()
    async with (
        direct_loop(kubeconfig(), plant, allowances=holder) as loop,
        asked(holder, namespace) as scaler,
    ):
        assert await scaler.refused() is grpc.StatusCode.UNAVAILABLE, "no turn was made yet"
        await loop.put(document)
        running = asyncio.create_task(loop.run())

        async def told(replicas):
            async def is_told():
                return await scaler.refused() is None and await scaler.allowed() == replicas

            await eventually(is_told)

        await told(9)
        stream = scaler.watch()
        assert (await asyncio.wait_for(stream.read(), 5)).result is True
        plant.other = 7_700.0  # 9,700 W of 10,000: Restrict
        assert (await asyncio.wait_for(stream.read(), 5)).result is True
        await told(4)
        plant.other = 5_700.0  # 7,700 W: still Watch, one more fits
        assert (await asyncio.wait_for(stream.read(), 5)).result is True
        await told(5)
        assert await scaler.refused("stranger") is grpc.StatusCode.NOT_FOUND

        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        async def has_ended():
            return await scaler.refused() is grpc.StatusCode.UNAVAILABLE

        await eventually(has_ended, seconds=60 * PERIOD)
        assert await asyncio.wait_for(ended(stream), 5) is grpc.StatusCode.UNAVAILABLE
        found = await keda.get(*SCALED_OBJECT, namespace, "llm-scaler")
        assert found == before, "not a field, not an annotation, not a manager"
        assert FIELD_MANAGER not in {
            one["manager"] for one in found["metadata"].get("managedFields", ())
        }
        await loop.remove(await again(keda, document))
        await loop.turn()
        assert await scaler.refused() is grpc.StatusCode.NOT_FOUND


async def test_switched_on_and_off_the_bound_moves_between_the_object_and_the_answer(
    keda, namespace, kubeconfig
):
    plant, holder = Plant(), AllowanceHolder()
    document = await stored(keda, capping(namespace, **BOUNDS))
    async with (
        direct_loop(kubeconfig(), plant, allowances=holder) as loop,
        asked(holder, namespace) as scaler,
    ):

        async def is_written():
            found = await keda.get(*SCALED_OBJECT, namespace, "llm-scaler")
            return found["spec"]["maxReplicaCount"]

        await loop.put(document)
        await loop.turn()
        assert await is_written() == 4
        assert await scaler.refused() is grpc.StatusCode.NOT_FOUND
        for enabled, written in ((True, 9), (False, 4)):
            changed = await again(keda, document)
            changed["spec"]["externalScaler"] = {"enabled": enabled}
            await loop.put(await keda.replace(changed))
            await loop.turn()
            assert await is_written() == written
            if enabled:
                assert await scaler.allowed() == 4
            else:
                assert await scaler.refused() is grpc.StatusCode.NOT_FOUND
