"""The supply temperature from a real Prometheus, and what cooling control makes of its end."""

import pytest
from cooling_manager import cooling_manager
from telemetry_harness import ManualClock, PrometheusServer, exporters, free_port, until

from capper.api.files import parse
from capper.cooling.looks import Room
from capper.cooling.watch import CoolingWatch
from capper.decide.observation import Sample
from capper.decide.rack_room import Rack
from headrace.capping_inputs import PrometheusAccess
from headrace.cooling_supply import AskedSupply
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.prometheus


def spec_of(cooling, **queries):
    placement = {"placement": {"queries": queries}} if queries else {}
    config = parse(
        {
            "apiVersion": "powercapping.climatik-project.ai/v1",
            "kind": "PowerCappingConfig",
            "metadata": {"name": "row", "namespace": "llm"},
            "spec": {
                "powerCapLimit": 1000,
                "deploymentName": "chat",
                "cooling": cooling,
                **placement,
            },
        }
    )
    return config.spec


async def test_the_supply_is_asked_for_and_its_end_is_the_safe_set_point(tmp_path):
    racks = {
        "a": Rack(name="a", cap_watts=9000.0, power=Sample(100.0, 0.0), inlet=Sample(22.0, 0.0))
    }
    clock = ManualClock()
    async with exporters(1) as (exporter,), cooling_manager(set_celsius=20.0) as manager:
        exporter.expose("crah_supply_celsius 20")
        server = PrometheusServer(tmp_path, {"all": ([exporter.address], {})})
        await server.start()
        supply = AskedSupply(PrometheusAccess(url=server.url), SystemClock())
        watch = CoolingWatch(clock)
        spec = spec_of({"adapter": "http", "url": manager.url}, supplyCelsius="crah_supply_celsius")
        room = Room(racks=racks, supply=None, enforce=True, measure=lambda: supply.read(spec))

        async def turn():
            clock.advance(30.0)
            await watch.look("llm/row", spec.cooling, room)
            await watch.settle()
            return await watch.look("llm/row", spec.cooling, room)

        try:
            await until(lambda: _known(supply, spec), seconds=20)
            seen = [await turn() for _ in range(3)][-1]
            assert (seen.unknown, seen.supply_celsius) == ("", 20.0)
            assert manager.set_celsius == 20.5
            assert await supply.read(spec_of({"adapter": "dry-run"})) is None, "no such rule there"
            exporter.expose("something_else 1")
            await until(lambda: _gone(supply, spec), seconds=20)
            seen = await turn()
            assert (seen.unknown, manager.set_celsius) == ("the supply temperature", 18.0)
        finally:
            await watch.aclose()
            await supply.aclose()
            await server.stop()


async def _known(supply, spec):
    found = await supply.read(spec)
    return found is not None and found.value == 20.0


async def _gone(supply, spec):
    return await supply.read(spec) is None


async def test_without_a_prometheus_nobody_tells():
    supply = AskedSupply(PrometheusAccess(url=None), SystemClock())
    assert await supply.read(spec_of({"adapter": "dry-run"})) is None
    away = f"http://127.0.0.1:{free_port()}"
    supply = AskedSupply(PrometheusAccess(url=away), SystemClock())
    assert await supply.read(spec_of({"adapter": "dry-run"})) is None
    await supply.aclose()
