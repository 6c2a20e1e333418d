"""Two replicas, one Service: KEDA gets the leader's numbers from whichever of them it asks."""

import asyncio
import contextlib

import grpc
from keda_client import asked
from operator_harness import (
    BOUNDS,
    Plant,
    capper,
    capping,
    eventually,
    status_of,
)

from capper.external_scaler.allowances import AllowanceHolder

SERVED = {
    **BOUNDS,
    "externalScaler": {"enabled": True},
    "safety": {"dwellSeconds": 0, "leaveSamples": 1, "growIntervalSeconds": 0.1},
}


@contextlib.asynccontextmanager
async def replica(kubeconfig, plant, namespace, identity):
    """(capper, KEDA's client of its external scaler)."""
    holder = AllowanceHolder()
    async with (
        capper(
            kubeconfig, plant, namespace=namespace, identity=identity, allowances=holder
        ) as running,
        asked(holder, namespace) as scaler,
    ):
        yield running, scaler


async def says(scaler, replicas):
    async def is_said():
        return await scaler.told() == replicas

    await eventually(is_said)


async def leads(one):
    async def is_so():
        return one.leads()

    await eventually(is_so)


async def test_a_follower_says_what_the_leader_says_and_goes_on_after_it(
    keda, namespace, kubeconfig
):
    path, plant = kubeconfig(), Plant()
    async with contextlib.AsyncExitStack() as leading:
        first, leader = await leading.enter_async_context(replica(path, plant, namespace, "first"))
        await leads(first)
        async with replica(path, plant, namespace, "second") as (second, follower):
            assert await follower.refused() is grpc.StatusCode.UNAVAILABLE, "nothing is known yet"
            await keda.create(capping(namespace, cap=10_000, **SERVED))
            await says(leader, 9)
            await says(follower, 9)
            assert not second.leads()
            assert not second.loop.reports, "only the leader turns"
            stream = follower.watch()
            assert (await asyncio.wait_for(stream.read(), 5)).result is True

            plant.other = 7_700.0  # 9,700 W of 10,000: Restrict
            assert (await asyncio.wait_for(stream.read(), 5)).result is True
            await says(leader, 4)
            await says(follower, 4)
            assert await follower.refused("stranger") is grpc.StatusCode.NOT_FOUND
            (target,) = (await status_of(keda, namespace))["targets"]
            assert (target["allowedReplicas"], target["band"]) == (4, "Restrict")

            await leading.aclose()
            await leads(second)
            await says(follower, 4)
            plant.other = 5_700.0  # Watch: one more fits
            await says(follower, 5)


async def test_without_a_leader_nobody_says_a_number(keda, namespace, kubeconfig, door):
    path, plant = kubeconfig(), Plant()
    async with (
        replica(path, plant, namespace, "first") as (first, leader),
        replica(path, plant, namespace, "second") as (second, follower),
    ):
        await keda.create(capping(namespace, cap=10_000, **SERVED))
        await says(leader, 9)
        await says(follower, 9)
        await door.shut()  # neither reads, writes or leads any more

        async def are_silent():
            return {await one.refused() for one in (leader, follower)} == {
                grpc.StatusCode.UNAVAILABLE
            }

        await eventually(are_silent)
        assert not (first.leads() and second.leads())
        await door.open()
        await says(leader, 9)
        await says(follower, 9)
