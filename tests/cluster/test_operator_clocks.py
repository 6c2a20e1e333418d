"""Clocks of a configuration on an API server: set through an agent, told, taken up, let go."""

import asyncio

from clock_agent_harness import agent_here
from operator_harness import (
    Plant,
    capping,
    config_of,
    deployment,
    direct_loop,
    install,
    scaled_object,
    status_of,
)

from capper.clocks.clock_board import ClockedFleet
from fleet.priors import prior_profile
from fleet.topology import Backend, Fleet, Replica
from headrace.agent_access import AgentAccessSection
from telemetry.system_clock import SystemClock

FREE = (0, 650.0)
BOARDS = 4
PODS = [f"llm-{number}" for number in range(4)]
GPU_CLOCKS = {
    "enabled": True,
    "baseMHz": 1980,
    "kneeMHz": 1095,
    "minMHz": 345,
    "leaseSeconds": 600,
    "powerLimitWatts": 600,
}


def locks_of(namespace, backend, address):
    replicas = tuple(
        Replica(
            address=f"10.0.0.{n}:8000", backend=backend, models=("m",), namespace=namespace, pod=pod
        )
        for n, pod in enumerate(PODS)
    )
    profile = prior_profile("H100", parameters=8e9)
    fleet = Fleet(
        (
            Backend(
                name=backend,
                accelerator="H100",
                parameters=8e9,
                profile=profile,
                replicas=replicas,
            ),
        )
    )
    access = AgentAccessSection(agents=(address,))
    return access.locks(lambda: fleet, ClockedFleet(), SystemClock())


async def settled(boards, check):
    async with asyncio.timeout(20):
        while not all(check(boards.settings(index)) for index in range(4)):
            await asyncio.sleep(0.05)


async def test_clocks_are_set_told_taken_up_by_the_next_process_and_let_go(
    kube, namespace, kubeconfig, boards, tmp_path
):
    await install(kube, "keda")
    await kube.create(deployment(namespace, replicas=4))
    await kube.create(scaled_object(namespace, maxReplicaCount=9))
    document = capping(
        namespace,
        cap=1500,  # of 2,000 W
        price={"enabled": False},
        replicaBounds={"enabled": False},
        brake={"enabled": False},
        gpuClocks=GPU_CLOCKS,
    )
    await kube.create(document)
    owners = {f"GPU-{number}": {f"{namespace}/{pod}"} for number, pod in enumerate(PODS)}
    async with agent_here(tmp_path / "node", owners=owners) as (agent, address):
        hand = locks_of(namespace, "llm", address)
        async with direct_loop(kubeconfig(), Plant(), clocks=hand) as loop:
            await loop.put(await config_of(kube, namespace))
            await loop.turn()
            await settled(boards, lambda now: 0 < now[0] < 1980 and now[1] == 600)
            await loop.turn()
        await hand.aclose(release=False)
        status = await status_of(kube, namespace)
        (target,) = status["targets"]
        assert target["backend"] == "llm"
        assert 345 <= target["clockMegaHertz"] < 1980
        assert any("clocks at most" in one["action"] for one in status["lastActions"])
        assert not [one for one in status["conditions"] if one["type"] == "ClocksPartial"]

        # The next process knows from the status what it has to renew.
        hand = locks_of(namespace, "llm", address)
        async with direct_loop(kubeconfig(), Plant(), clocks=hand) as loop:
            stored = await config_of(kube, namespace)
            await loop.put(stored)
            await loop.turn()
            assert hand.in_force(f"{namespace}/cap")
            assert agent.keeper.tally.expirations == {}
            await loop.remove(stored)
        await hand.aclose(release=False)
        await settled(boards, lambda now: now == FREE)
        assert agent.keeper.tally.expirations == {}
