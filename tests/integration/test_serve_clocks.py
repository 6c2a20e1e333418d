"""A served capper lowers clocks through an agent, and its router believes the new profile."""

import asyncio
import contextlib

import pytest
from clock_agent_harness import agent_here
from sim_vllm_harness import running_fleet
from stack_files import capped, write_cap, write_serve
from stack_harness import replica
from telemetry_harness import until

from headrace.serve_file import load_serve
from headrace.service import Service

FREE = (0, 650.0)
REPLICAS = [replica(f"h100-{number}", "H100") for number in range(2)]
CLOCKS = {
    "enabled": True,
    "baseMHz": 1980,
    "kneeMHz": 1260,
    "minMHz": 345,
    "leaseSeconds": 2,
    "rampUpSeconds": 0.2,
    "powerLimitWatts": 500,
}


@pytest.fixture
async def fleet():
    async with running_fleet(*REPLICAS) as simulated:
        yield simulated


def cap_file(folder, watts, **spec):
    off = {name: {"enabled": False} for name in ("price", "replicaBounds", "brake")}
    write_cap(folder, watts, capped("h100"), **off, gpuClocks=CLOCKS, **spec)


@contextlib.asynccontextmanager
async def served(folder, fleet, agents):
    path = write_serve(folder, fleet, gpu_clocks={"agents": list(agents)})
    async with Service(*load_serve(path)) as service:
        yield service


def owners_of(fleet):
    """One board for each replica, however the fleet file names its boards."""
    return {f"GPU-{number}": {one} for number, one in enumerate(fleet.addresses.values())}


async def holds(check, seconds=15):
    async def is_so():
        return check()

    await until(is_so, seconds=seconds)


def conditions(service):
    shown = service.capping.to_dict().get("default/fleet-cap", {})
    return {one["type"]: one for one in shown.get("conditions", ()) if one["status"] == "True"}


def step_seconds(service):
    return [unit.profile.step.base_seconds for unit in service.picker.units()]


def readings(service):
    return service.capping.loop.reports["default/fleet-cap"].observation.targets.values()


async def test_clocks_fall_under_a_cap_the_router_knows_and_all_comes_back(fleet, boards, tmp_path):
    cap_file(tmp_path, "100kW")
    async with (
        agent_here(tmp_path / "node", owners=owners_of(fleet)) as (agent, address),
        served(tmp_path, fleet, [address]) as service,
    ):
        # The net is there from the beginning, no clock is locked.
        await holds(lambda: [boards.settings(0), boards.settings(1)] == [(0, 500), (0, 500)])
        full = step_seconds(service)
        cap_file(tmp_path, 60)
        await holds(lambda: 0 < boards.settings(0)[0] < 1300 and 0 < boards.settings(1)[0] < 1300)
        await holds(
            lambda: all(now > was for now, was in zip(step_seconds(service), full, strict=True))
        )
        (target,) = service.capping.loop.reports["default/fleet-cap"].state.targets.values()
        assert target.clock_hertz is not None
        assert "ClocksPartial" not in conditions(service)
        # The clock is seen to be in force: the action has shown its effect.
        await holds(
            lambda: [one.clock_hertz for one in readings(service)] == [boards.settings(0)[0] * 1e6]
        )
        # What is written to the status; who does not lead reads the clocks from there.
        (told,) = service.capping.loop._entries["default/fleet-cap"].status["targets"]
        assert told["clockMegaHertz"] == pytest.approx(target.clock_hertz / 1e6)
        assert told["backend"] == "h100"
        applied = [
            one["action"] for one in service.capping.to_dict()["default/fleet-cap"]["last_actions"]
        ]
        assert any("clocks at most" in one for one in applied)
        # Renewed for longer than a lease.
        await asyncio.sleep(1.2 * CLOCKS["leaseSeconds"])
        assert agent.keeper.tally.expirations == {}
        assert 0 < boards.settings(0)[0] < 1300

        # A board that is lost: a condition with its name, and the rest goes on.
        boards.set(1, present=0)
        await holds(
            lambda: "GPU-1" in conditions(service).get("ClocksPartial", {}).get("message", "")
        )
        boards.set(1, present=1)
        await holds(lambda: "ClocksPartial" not in conditions(service))

        cap_file(tmp_path, "100kW", mode="Observe")
        await holds(lambda: [boards.settings(0), boards.settings(1)] == [FREE, FREE])
        await holds(lambda: step_seconds(service) == pytest.approx(full, rel=0.2))


async def test_without_an_agent_nothing_is_applied_and_a_condition_says_so(fleet, tmp_path):
    cap_file(tmp_path, 60)
    async with served(tmp_path, fleet, [f"unix://{tmp_path}/nobody.sock"]) as service:
        await holds(
            lambda: "no agent has boards of" in str(conditions(service).get("ClocksPartial"))
        )
        (target,) = service.capping.loop.reports["default/fleet-cap"].state.targets.values()
        assert target.clock_hertz is None


async def test_the_end_of_a_local_capper_lets_everything_go(fleet, boards, tmp_path):
    cap_file(tmp_path, 60)
    async with agent_here(tmp_path / "node", owners=owners_of(fleet)) as (_, address):
        async with served(tmp_path, fleet, [address]):
            await holds(lambda: 0 < boards.settings(0)[0] < 1300)
        await holds(lambda: [boards.settings(0), boards.settings(1)] == [FREE, FREE])
