"""Cooling control through the loop on an API server: key, set-points, status, what is left."""

import asyncio
from dataclasses import replace

import pytest
from cooling_manager import cooling_manager
from grid_harness import grid_loop, metric, secret
from operator_harness import (
    BOUNDS,
    Plant,
    again,
    capping,
    changed,
    condition,
    status_of,
    stored,
)
from telemetry_harness import ManualClock

from capper.decide.observation import DomainReading, PowerReading, Sample

TOKEN = "crah-token-31"


class WarmPlant(Plant):
    """With two racks and their inlets."""

    def __init__(self, inlet=22.0):
        super().__init__()
        self.inlet = inlet

    async def observe(self, config, policy, workloads):
        seen = await super().observe(config, policy, workloads)
        inlets = () if self.inlet is None else (Sample(self.inlet, 1.0),)
        rack = DomainReading(
            power=(PowerReading(samples=(Sample(1000.0, 1.0),)),), inlet_celsius=inlets
        )
        return replace(seen, domains={**seen.domains, "a": rack, "b": rack})


@pytest.fixture
async def manager():
    async with cooling_manager(set_celsius=20.0) as running:
        running.token = TOKEN
        yield running


def cooled(namespace, manager, **spec):
    racks = [{"rackId": name, "maxPower": 9000, "maxTemperature": 27} for name in ("a", "b")]
    cooling = {
        "adapter": "http",
        "url": manager.url,
        "sensorPointer": "/Sensor/Reading",
        "secretRef": {"name": "crah"},
    }
    return capping(
        namespace, cap=9000, rackConstraints=racks, cooling=cooling, **{**BOUNDS, **spec}
    )


async def turns(loop, clock, count=2, seconds=30.0):
    for _ in range(count):
        clock.advance(seconds)
        await loop.turn()
        await loop.grid.cooling.settle()
    await loop.turn()


async def test_set_points_follow_the_racks_and_the_safe_one_is_left(
    keda, namespace, kubeconfig, manager
):
    clock, plant = ManualClock(), WarmPlant()
    document = await stored(keda, cooled(namespace, manager))
    async with grid_loop(kubeconfig(), plant, clock) as (loop, registry):
        await loop.put(document)
        await turns(loop, clock)
        found = condition(await status_of(keda, namespace), "CoolingFailing")
        assert "Secret crah is not there" in found["message"]
        assert manager.asked == 0
        await keda.create(secret(namespace, "crah", token=TOKEN))
        await turns(loop, clock, count=5)
        status = await status_of(keda, namespace)
        assert condition(status, "CoolingFailing")["status"] == "False"
        cooling = status["cooling"]
        assert 20.5 < manager.set_celsius < 21.5
        # What changes in the third digit is written now and then only.
        assert cooling["supplySetCelsius"] == pytest.approx(manager.set_celsius, abs=0.5)
        assert cooling["inForceCelsius"] == pytest.approx(manager.set_celsius, abs=0.5)
        assert (cooling["hottestInletCelsius"], cooling["safe"]) == (22.0, False)
        assert metric(registry, "capper_cooling_supply_in_force_celsius") == manager.set_celsius
        assert metric(registry, "capper_cooling_writes_total") == len(manager.orders)
        plant.inlet = None
        await turns(loop, clock, count=4)  # three samples old, then none
        found = condition(await status_of(keda, namespace), "CoolingUnknown")
        assert found["message"] == "the inlet temperature of rack a."
        assert (manager.set_celsius, metric(registry, "capper_cooling_safe")) == (18.0, 1.0)
        plant.inlet = 22.0
        await turns(loop, clock, count=4)
        assert manager.set_celsius > 18.5
        await loop.remove(await again(keda, document))
        assert manager.set_celsius == 18.0
        assert metric(registry, "capper_cooling_safe") is None


async def test_a_manager_that_fails_is_a_condition_and_power_is_capped_on(
    keda, namespace, kubeconfig, manager
):
    clock = ManualClock()
    manager.token = None
    document = cooled(namespace, manager)
    del document["spec"]["cooling"]["secretRef"]
    document["spec"]["cooling"]["timeoutSeconds"] = 0.3
    document = await stored(keda, document)
    async with grid_loop(kubeconfig(), WarmPlant(), clock) as (loop, registry):
        await loop.put(document)
        manager.gate = asyncio.Event()
        clock.advance(5.0)
        (report,) = await loop.turn()
        assert report.plan.domains[0].watts == 2000.0
        assert manager.orders == [], "the manager has not answered yet"
        await loop.grid.cooling.settle()
        await turns(loop, clock, count=1)
        status = await status_of(keda, namespace)
        assert "did not answer within 0.3 s" in condition(status, "CoolingFailing")["message"]
        assert status["cooling"]["safe"] is True
        assert metric(registry, "capper_cooling_failures_total", reason="timeout") == 4.0
        manager.gate.set()
        await turns(loop, clock, count=3)
        assert condition(await status_of(keda, namespace), "CoolingFailing")["status"] == "False"


async def test_only_enforce_writes_and_a_process_that_ends_leaves_the_safe_set_point(
    keda, namespace, kubeconfig, manager
):
    clock = ManualClock()
    await keda.create(secret(namespace, "crah", token=TOKEN))
    document = await stored(keda, cooled(namespace, manager, mode="Recommend"))
    async with grid_loop(kubeconfig(), WarmPlant(), clock) as (loop, _):
        await loop.put(document)
        await turns(loop, clock, count=4)
        assert (await status_of(keda, namespace))["cooling"]["supplySetCelsius"] > 20.5
        assert manager.orders == []
        await loop.put(changed(document, mode="Enforce"))
        await turns(loop, clock, count=3)
        assert manager.set_celsius > 20.5
        await loop.let_go()
        assert manager.set_celsius == 18.0
        orders = len(manager.orders)
        await turns(loop, clock)
        assert len(manager.orders) == orders
