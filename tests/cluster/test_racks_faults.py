"""Sensors that lie, racks without any, matrices that cannot be: a condition and one log line."""

import logging
from contextlib import asynccontextmanager

import pytest
from operator_harness import condition, deployment, eventually, install, status_of, stored
from racks_harness import (
    RackPlant,
    gates_of,
    get_pod,
    kept_racks,
    known,
    node,
    pod,
    rack_config,
)
from telemetry_harness import ManualClock, PrometheusServer, exporters, until

from capper.racks.marks import GATE, RACK_LABEL

TWO = {"r1": (10_000, 27), "r2": (10_000, 27)}
COOL = {"r1": 22.5, "r2": 20.0}
STABLE = [[3e-4, 0.0], [0.0, 1e-4]]


@pytest.fixture
async def cluster(kube, namespace):
    await install(kube)
    names = {rack: f"{namespace}-{rack}" for rack in ("r1", "r2")}
    for rack, name in names.items():
        await kube.create(node(name, rack))
    await kube.create(deployment(namespace, replicas=1))
    yield kube
    for name in names.values():
        await kube.delete("v1", "Node", None, name)


@asynccontextmanager
async def in_force(kube, namespace, path, plant, document, clock=None, **more):
    async with kept_racks(path, plant, clock or ManualClock(), **more) as (loop, keeper):
        await loop.put(await stored(kube, document))
        await loop.turn()
        await known(loop, keeper, f"{namespace}/cap", lambda racks: racks.racks[0].nodes)
        yield loop, keeper


async def placed(kube, namespace, keeper, name):
    """Where a new pod goes; None when it is let go."""
    await kube.create(pod(namespace, name, owner="llm"))

    async def look():
        await keeper.turn()
        found = await get_pod(kube, namespace, name)
        return None if GATE in gates_of(found) else found

    found = await eventually(look)
    return found["metadata"]["labels"].get(RACK_LABEL)


async def told(kube, loop, namespace, kind):
    await loop.turn()
    return condition(await status_of(kube, namespace), kind)


def lines(caplog, text):
    return [one.getMessage() for one in caplog.records if text in one.getMessage()]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"recirculationMatrix": [[0.1, 0.0], [0.0, 0.1]]}, "is not stable"),
        ({"approachCelsius": [1, 2, 3]}, "approach_celsius has 3 values for 2 racks"),
        ({"recirculationMatrix": [[-1e-4, 0.0], [0.0, 0.0]]}, "must be finite and 0 or more"),
    ],
)
async def test_a_matrix_that_cannot_be_used_leaves_temperatures_alone(
    cluster, namespace, kubeconfig, caplog, changed, why
):
    caplog.set_level(logging.WARNING)
    given = {"policy": "minHR", "recirculationMatrix": STABLE, "approachCelsius": [1], **changed}
    document = rack_config(namespace, TWO, placement=given)
    plant = RackPlant({"r1": 1000, "r2": 5000}, COOL)
    async with in_force(cluster, namespace, kubeconfig(), plant, document) as (loop, keeper):
        assert await placed(cluster, namespace, keeper, "p") == "r2", "7 K of headroom, not 4.5 K"
        said = await told(cluster, loop, namespace, "MatrixUnusable")
        assert said["status"] == "True"
        assert why in said["message"]
        assert said["message"].endswith("temperatures alone decide.")
        for _ in range(5):
            await keeper.turn()
        assert len(lines(caplog, why)) == 1


async def test_a_matrix_that_can_be_used_decides(cluster, namespace, kubeconfig):
    given = {"policy": "minHR", "recirculationMatrix": STABLE, "approachCelsius": [1]}
    document = rack_config(namespace, TWO, placement=given)
    plant = RackPlant({"r1": 1000, "r2": 1500}, {"r1": 20.0, "r2": 22.0})
    async with in_force(cluster, namespace, kubeconfig(), plant, document) as (loop, keeper):
        # Budgets of 3500 W together are 875 and 2625 W: r2 recirculates a third of what r1 does.
        assert await placed(cluster, namespace, keeper, "p") == "r2"
        assert await told(cluster, loop, namespace, "MatrixUnusable") is None
        assert loop.entries()[f"{namespace}/cap"].racks.matrix == "given"


@pytest.mark.parametrize(
    ("watts", "inlets"),
    [
        ({"r1": -5000.0, "r2": 5000.0}, COOL),
        ({"r1": 9.2e18, "r2": 5000.0}, COOL),
        ({"r1": float("nan"), "r2": 5000.0}, COOL),
        ({"r2": 5000.0}, COOL),
        ({"r1": 1000.0, "r2": 5000.0}, {"r2": 20.0}),
        ({"r1": 1000.0, "r2": 5000.0}, {"r1": 9e18, "r2": 20.0}),
        ({"r1": 1000.0, "r2": 5000.0}, {"r1": -273.0, "r2": 20.0}),
    ],
)
async def test_a_rack_that_cannot_be_believed_gets_nobody(
    cluster, namespace, kubeconfig, watts, inlets
):
    plant = RackPlant(watts, inlets)
    document = rack_config(namespace, TWO, metrics=[])
    plant.whole = 6000.0
    async with in_force(cluster, namespace, kubeconfig(), plant, document) as (_, keeper):
        assert await placed(cluster, namespace, keeper, "p") == "r2"


@pytest.mark.prometheus
async def test_a_sensor_that_lies_or_hangs_is_doubted_once(
    cluster, namespace, kubeconfig, tmp_path, caplog
):
    caplog.set_level(logging.WARNING)
    async with exporters(1) as (exporter,):
        exporter.expose('out_celsius{rack="r1"} 38', 'out_celsius{rack="r2"} 9.2e18')
        server = PrometheusServer(tmp_path, {"all": ([exporter.address], {})})
        await server.start()
        try:
            await until(lambda: exporter_seen(exporter), seconds=20)
            clock, plant = ManualClock(), RackPlant({"r1": 5000, "r2": 1000}, COOL)
            queries = {"outletCelsius": "out_celsius", "prometheusAddress": server.url}
            document = rack_config(namespace, TWO, placement={"policy": "zbd", "queries": queries})
            path = kubeconfig()
            async with in_force(cluster, namespace, path, plant, document, clock) as (loop, keeper):
                await doubts_of_turns(cluster, namespace, clock, plant, loop, keeper)
        finally:
            await server.stop()
    assert len(lines(caplog, "outlet sensor of rack r2 says 9.2e+18 C, which cannot be")) == 1
    assert len(lines(caplog, "inlet sensor of rack r1 says 22.5 C all the time")) == 1
    assert not lines(caplog, "inlet sensor of rack r2"), "of whole degrees nobody can tell"


async def exporter_seen(exporter):
    return exporter.hits > 1


async def doubts_of_turns(cluster, namespace, clock, plant, loop, keeper):
    """Half an hour and more in which the watts move and the inlets do not."""

    async def lied():
        clock.advance(11.0)
        await loop.turn()
        await keeper.turn()
        return await told(cluster, loop, namespace, "RackSensorDoubted")

    said = await eventually(lied)
    assert said["message"] == "the outlet sensor of rack r2 says 9.2e+18 C, which cannot be."
    for number in range(25):
        clock.advance(90.0)
        plant.watts = {"r1": 5000.0, "r2": 1000.0} if number % 2 else {"r1": 2500.0, "r2": 600.0}
        await loop.turn()
        await keeper.turn()
    said = await told(cluster, loop, namespace, "RackSensorDoubted")
    assert "it hangs" in said["message"]
    racks = {one.rack_id: one for one in loop.entries()[f"{namespace}/cap"].racks.racks}
    assert (racks["r1"].inlet_celsius, racks["r2"].outlet_celsius) == (None, None)
    assert await placed(cluster, namespace, keeper, "p") == "r2"
