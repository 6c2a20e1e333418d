"""Whose a board is: the kubelet's word, what is declared, and boards that others use, too."""

import time

import pytest
from clock_agent_harness import Kubelet, agent_here, held, pool

FREE = (0, 650.0)
BOARDS = 3
PODS = ("llm/chat-0", "llm/chat-1", "llm/chat-2", "llm/elsewhere-0")


@pytest.fixture
async def kubelet(tmp_path):
    async with Kubelet(tmp_path / "kubelet.sock") as answering:
        yield answering


def settled(boards, index):
    """Whether a board is, within a second, as it was before."""
    end = time.monotonic() + 10
    while boards.settings(index) != FREE and time.monotonic() < end:
        time.sleep(0.02)
    return boards.settings(index) == FREE


def outcomes(answers):
    return {uuid: one.outcome for uuid, one in answers.items()}


async def test_boards_of_strangers_and_mig_are_refused(boards, kubelet, tmp_path):
    boards.set(2, mig=1)
    kubelet.pods = {
        "llm/chat-0": ["GPU-0"],
        "llm/chat-1": ["GPU-1::0"],
        "batch/train-0": ["GPU-1::1"],
        "llm/chat-2": ["MIG-2"],
    }
    async with agent_here(tmp_path / "node", kubelet=kubelet.socket) as (_, address):
        answers = await held(pool(address), *PODS)
        assert outcomes(answers) == {"GPU-0": "held", "GPU-1": "refused", "GPU-2": "refused"}
        assert "batch/train-0" in answers["GPU-1"].sentence
        assert "MIG" in answers["GPU-2"].sentence
        assert (boards.settings(1), boards.settings(2)) == (FREE, FREE)
        # A pod that has gone takes its claim along.
        kubelet.pods = {"batch/train-0": ["GPU-0"]}
        assert await held(pool(address), *PODS) == {}
    assert settled(boards, 0)


async def test_what_is_declared_as_shared_is_set(boards, kubelet, tmp_path):
    boards.set(2, mig=1)
    kubelet.pods = {"llm/chat-1": ["GPU-1", "MIG-2"], "batch/train-0": ["GPU-1"]}
    shared = ("GPU-1", "GPU-2")
    here = agent_here(tmp_path / "node", kubelet=kubelet.socket, shared=shared)
    async with here as (_, address):
        answers = await held(pool(address), *PODS)
        assert outcomes(answers) == {"GPU-1": "held", "GPU-2": "held"}


async def test_without_the_kubelet_nothing_new_is_held_and_what_is_held_goes_on(
    boards, tmp_path, kubelet
):
    kubelet.pods = {"llm/chat-0": ["GPU-0"]}
    async with agent_here(tmp_path / "node", kubelet=kubelet.socket) as (agent, address):
        assert outcomes(await held(pool(address), *PODS)) == {"GPU-0": "held"}
        await kubelet.__aexit__()
        assert outcomes(await held(pool(address), *PODS)) == {"GPU-0": "held"}
        agent._asked_seconds -= 61.0  # as if the kubelet had been gone for a minute
        answers = await held(pool(address), *PODS)
        assert outcomes(answers) == {"": "failed"}
        assert "kubelet" in answers[""].sentence
        assert boards.settings(0) != FREE


@pytest.mark.usefixtures("boards")
async def test_declared_owners_are_enough_and_boards_tell_their_state(tmp_path):
    owners = {"GPU-0": {"10.0.0.1:8000"}, "GPU-1": {"10.0.0.2:8000", "10.0.0.3:8000"}}
    async with agent_here(tmp_path / "node", owners=owners) as (_, address):
        answers = await held(pool(address), "10.0.0.1:8000", "10.0.0.2:8000")
        assert outcomes(answers) == {"GPU-0": "held", "GPU-1": "refused"}
        replies, _ = await pool(address).boards()
        told = {one.gpu_uuid: one for one in replies[0].boards}
        assert list(told["GPU-1"].owners) == sorted(owners["GPU-1"])
        assert list(told["GPU-0"].holders) == ["llm/cap"]
        assert (told["GPU-0"].min_clock_hertz, told["GPU-0"].max_clock_hertz) == (345e6, 1980e6)
        assert told["GPU-2"].watts == 400.0
