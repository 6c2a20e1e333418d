"""The external scaler of a running loop, asked as KEDA asks; its ScaledObject is not written."""

import asyncio

import grpc
from keda_client import asked, ended
from operator_harness import (
    BOUNDS,
    PERIOD,
    Plant,
    again,
    capping,
    direct_loop,
    eventually,
    stored,
)

from capper.external_scaler.allowances import AllowanceHolder
from capper.kube.api import FIELD_MANAGER

SCALED_OBJECT = ("keda.sh/v1alpha1", "ScaledObject")
# Bands follow the watts within a few turns.
QUICK = {"dwellSeconds": 0, "leaveSamples": 1, "growIntervalSeconds": 0.1}
SERVED = {**BOUNDS, "externalScaler": {"enabled": True}, "safety": QUICK}


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
                return await scaler.told() == replicas

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
