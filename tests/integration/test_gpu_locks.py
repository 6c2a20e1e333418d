"""The capper's hand on several nodes: partial answers, limits that count, what is let go."""

import asyncio
import contextlib

import pytest
from builders import make_fleet
from clock_agent_harness import agent_here

from capper.actuators.workloads import Trouble, WorkloadError
from capper.clocks.clock_board import ClockedFleet
from capper.clocks.targets import TargetLock, Terms
from capper.decide.clock_model import ClockCurve
from headrace.agent_access import AgentAccessSection
from telemetry.system_clock import SystemClock

FREE = (0, 650.0)
FLEET = make_fleet()
BACKEND = FLEET.backends[0]
ADDRESSES = [one.address for one in BACKEND.replicas]
CURVE = ClockCurve(base_hertz=1.98e9, knee_hertz=1.1e9)
IDLE = TargetLock(ref="a", backend=BACKEND.name, curve=CURVE)
TERMS = Terms(lease_seconds=1.5)


def agent(tmp_path, *, owners=None):
    return agent_here(tmp_path / "node", owners=owners or {"GPU-0": set(ADDRESSES)})


@contextlib.asynccontextmanager
async def locks(*addresses, fleet=FLEET):
    clocked = ClockedFleet()
    access = AgentAccessSection(agents=addresses)
    made = access.locks(lambda: fleet, clocked, SystemClock())
    made.clocked = clocked
    try:
        yield made
    finally:
        await made.aclose(release=False)


async def holds(check):
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.02)


async def test_a_clock_that_some_replicas_hold_is_applied_and_the_rest_is_named(boards, tmp_path):
    absent = f"unix://{tmp_path}/gone.sock"
    one = {"GPU-0": {ADDRESSES[0]}}
    async with agent(tmp_path, owners=one) as (_, address), locks(address, absent) as hand:
        await hand.keep("llm/cap", [IDLE], TERMS)
        assert hand.problems("llm/cap") == ()
        await hand.set_clock("llm/cap", "a", 1.26e9)
        await holds(lambda: boards.settings()[0] == 1260)
        (problem,) = hand.problems("llm/cap")
        assert ("gone.sock" in problem) == (len(ADDRESSES) > 1)
        assert hand.clocked.current.clocks[BACKEND.name].hertz == 1.26e9
        await hand.set_clock("llm/cap", "a", None)
        await holds(lambda: boards.settings() == FREE)
        assert hand.clocked.current.clocks == {}


async def test_a_clock_that_nobody_holds_is_not_applied(tmp_path):
    async with locks(f"unix://{tmp_path}/gone.sock") as hand:
        await hand.keep("llm/cap", [IDLE], TERMS)
        with pytest.raises(WorkloadError, match="no agent has boards") as raised:
            await hand.set_clock("llm/cap", "a", 1.26e9)
        assert raised.value.trouble is Trouble.UNAVAILABLE
        with pytest.raises(WorkloadError, match="knows no replicas"):
            await hand.set_clock("llm/cap", "unheard-of", 1.26e9)


async def test_a_limit_counts_only_where_every_board_holds_it(boards, tmp_path):
    async with agent(tmp_path) as (_, address), locks(address) as hand:
        await hand.keep("llm/cap", [IDLE], TERMS)
        await hand.set_limit("llm/cap", "a", 400.0 * BACKEND.gpus_per_replica)
        await holds(lambda: boards.settings() == (0, 400))
        # Lower than the board can: its lowest is set, and the plan is not told that it holds.
        with pytest.raises(WorkloadError, match="below its lowest limit, 200 W"):
            await hand.set_limit("llm/cap", "a", 100.0 * BACKEND.gpus_per_replica)
        await hand.keep("llm/cap", [IDLE], TERMS)
        await holds(lambda: boards.settings() == FREE)


async def test_leases_of_a_capper_that_dies_run_out_and_a_new_one_takes_them_up(boards, tmp_path):
    async with agent(tmp_path) as (here, address):
        held = TargetLock(ref="a", backend=BACKEND.name, curve=CURVE, hertz=1.26e9)
        async with locks(address) as hand:
            await hand.keep("llm/cap", [held], TERMS)
            await holds(lambda: boards.settings()[0] == 1260)
        async with locks(address) as hand:
            # The next leader has it from the status.
            for _ in range(10):
                await hand.keep("llm/cap", [held], TERMS)
                await asyncio.sleep(0.2)
            assert boards.settings()[0] == 1260
            assert here.keeper.tally.expirations == {}
        await holds(lambda: boards.settings() == FREE)
        assert here.keeper.tally.expirations == {"Restore": 1}


async def test_the_end_of_a_configuration_lets_go_at_once_also_without_a_memory(boards, tmp_path):
    async with agent(tmp_path) as (here, address):
        held = TargetLock(ref="a", backend=BACKEND.name, hertz=1.26e9)
        async with locks(address) as hand:
            await hand.keep("llm/cap", [held], Terms(lease_seconds=600.0))
            await holds(lambda: boards.settings()[0] == 1260)
        async with locks(address) as hand:
            await hand.forget("llm/cap")
            await holds(lambda: boards.settings() == FREE)
        assert here.keeper.tally.expirations == {}


async def test_an_agent_that_is_silent_for_a_while_is_still_believed(boards, tmp_path):
    async with agent(tmp_path) as (_, address), locks(address) as hand:
        held = TargetLock(ref="a", backend=BACKEND.name, curve=CURVE, hertz=1.26e9)
        await hand.keep("llm/cap", [held], Terms(lease_seconds=600.0))
        assert hand.clocked.current.clocks
        hand._agents._addresses = (f"unix://{tmp_path}/gone.sock",)
        hand._agents._resolved_seconds = float("-inf")  # as if the name now led elsewhere
        await hand.keep("llm/cap", [held], Terms(lease_seconds=600.0))
        assert hand.problems("llm/cap")
        assert hand.clocked.current.clocks[BACKEND.name].hertz == 1.26e9
        assert boards.settings()[0] in {1500, 1260}
