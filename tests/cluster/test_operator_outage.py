"""Ten minutes without an API server: no bound rises, floors hold, and it comes back alone."""

import pytest
from operator_harness import (
    BOUNDS,
    Plant,
    again,
    bound_of,
    capping,
    deployment,
    direct_loop,
    install,
    scaled_object,
    status_of,
    stored,
)
from telemetry_harness import ManualClock

from capper.decide.observation import DomainReading, Observation, PowerReading, Sample
from capper.decide.plan import SetMaxReplicas

STEP_SECONDS = 5.0
OUTAGE_SECONDS = 600.0
FLOOR = 2


class Meters(Plant):
    """Goes on measuring while the API server, and with it all that is known of pods, is gone."""

    def __init__(self, watts):
        super().__init__()
        self.watts = watts

    async def observe(self, config, policy, workloads):
        seen = await super().observe(config, policy, workloads)
        reading = DomainReading(power=(PowerReading(samples=(Sample(self.watts, 0.0),)),))
        return Observation(domains={"fleet": reading}, targets=seen.targets)


@pytest.fixture
async def keda(kube, namespace):
    await install(kube, "keda")
    await kube.create(deployment(namespace, replicas=4))
    await kube.create(scaled_object(namespace, minReplicaCount=FLOOR, maxReplicaCount=9))
    return kube


@pytest.mark.parametrize("watts", [500.0, 2000.0, 4000.0])
async def test_ten_minutes_without_the_api_server(keda, namespace, kubeconfig, door, watts):
    clock, plant = ManualClock(), Meters(2000.0)
    document = await stored(keda, capping(namespace, **BOUNDS))
    async with direct_loop(kubeconfig(), plant, clock=clock) as loop:
        await loop.put(document)
        await loop.turn()
        assert await bound_of(keda, namespace) == 4
        await door.shut()
        plant.watts = watts  # far below the cap, near to it, or twice of it
        for _ in range(int(OUTAGE_SECONDS / STEP_SECONDS)):
            clock.advance(STEP_SECONDS)
            (report,) = await loop.turn()
            assert not [one for one in report.results if isinstance(one.action, SetMaxReplicas)]
        assert await bound_of(keda, namespace) == 4, "nothing rose, nothing fell"

        await door.open()
        plant.watts = 2000.0
        clock.advance(STEP_SECONDS)
        (report,) = await loop.turn()
        assert report.plan.targets[0].current_replicas == 4
        assert FLOOR <= await bound_of(keda, namespace) <= 4
        status = await status_of(keda, namespace)
        assert [one["status"] for one in status["conditions"] if one["type"] == "Ready"] == ["True"]

        plant.watts = 200.0  # it acts again: what fits comes back, step by step
        for _ in range(200):
            clock.advance(STEP_SECONDS)
            await loop.turn()
        assert await bound_of(keda, namespace) > 4
        await loop.remove(await again(keda, document))
        assert await bound_of(keda, namespace) == 9
