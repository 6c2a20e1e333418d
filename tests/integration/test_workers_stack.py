"""`headrace serve --workers 2` behind real Envoy: two processes that decide as one."""

import asyncio
import itertools
import json
import os
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from stack_files import MODEL
from stack_harness import CHAT, SteadyLoad, chat_body, running_stack, three_h100
from telemetry_harness import until

WORKERS = 2
DEADLINE_SECONDS = 30.0


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    async with running_stack(folder, three_h100(), workers=WORKERS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def stack(shared):
    """One for all tests, each of which leaves both workers serving."""
    await shared.until_envoy_sees(healthy_replicas=3, routers=WORKERS)
    await until_both_are_asked(shared)
    await shared.settled()
    return shared


async def until_both_are_asked(stack):
    """Envoy's own threads hear of a worker's health up to a second after its statistics tell."""

    async def are_asked() -> bool:
        await stack.ask()
        picks = (await stack.admin("/debug/picks?last=10"))["picks"]
        return {pick["worker"] for pick in picks} == {0, 1}

    await until(are_asked, seconds=DEADLINE_SECONDS)


async def workers(stack) -> list[dict]:
    return (await stack.admin("/debug/workers"))["workers"]


def pids(stack) -> list[int]:
    ready = json.loads((stack.folder / "lane/ready.json").read_text(encoding="utf-8"))
    return ready["worker_pids"]


def is_alive(pid: int) -> bool:
    """Whether there is such a process, one that nobody has waited for yet excepted."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_both_answer_and_one_page_tells_of_all(stack):
    before = await stack.metrics()
    count = 60
    answers = await asyncio.gather(*(stack.ask(chat_body(salt=f"{n} ")) for n in range(count)))
    assert Counter(status for status, *_ in answers) == {200: count}
    await stack.settled()

    grown = Counter(await stack.metrics())
    grown.subtract(before)
    for summed in ("headrace_router_picks_total", "headrace_router_requests_ended_total"):
        assert sum(value for (name, *_), value in grown.items() if name == summed) == count
    for name, labels in (
        ("headrace_router_ledger_entered_total", ()),
        ("headrace_router_ledger_settled_total", ()),
        ("headrace_router_decision_seconds_count", ()),
        ("headrace_router_decision_seconds_bucket", ("+Inf",)),
        ("headrace_router_streams_total", ("routed",)),
    ):
        assert grown[(name, *labels)] == count, name

    picks = (await stack.admin(f"/debug/picks?last={count}"))["picks"]
    by_worker = Counter(pick["worker"] for pick in picks)
    assert set(by_worker) == {0, 1}
    assert sum(by_worker.values()) == count
    assert [pick["age_seconds"] for pick in picks] == sorted(p["age_seconds"] for p in picks)


async def test_the_energy_of_the_fleet_is_told_once_and_requests_add_up_to_it(stack):

    def body(number):
        return chat_body(salt=f"{number} ", max_tokens=400)

    async with SteadyLoad(stack, requests_per_second=20.0, body_of=body):
        await asyncio.sleep(1.5)
    await stack.settled()

    energy = await stack.admin("/debug/energy")
    assert energy["requests_in_flight"] == 0
    # Both sides integrate the same watts; the parent hears of starts and ends a little later.
    assert abs(energy["difference_ratio"]) < 0.02
    told = await stack.metric("headrace_router_request_joules_sum")
    assert abs(told / energy["request_joules"] - 1.0) < 1e-6


async def test_each_knows_the_requests_of_all(stack):
    streams = await asyncio.gather(*(stack.open_stream(max_tokens=4000) for _ in range(12)))

    async def all_know() -> bool:
        them = await workers(stack)
        return (
            [it["requests_known"] for it in them] == [12, 12]
            and sum(it["requests_in_flight"] for it in them) == 12
            and all(it["requests_in_flight"] for it in them)
        )

    await until(all_know, seconds=DEADLINE_SECONDS)
    await stack.until_in_flight(12)
    for stream in streams:
        stream.close()
    await stack.settled()


async def test_a_killed_worker_takes_only_its_own_streams_and_comes_back(stack):
    told: list[Counter] = [await stack.metrics()]
    restarts = await restarts_by_worker(stack)
    async with SteadyLoad(stack, requests_per_second=50.0) as load:
        await asyncio.sleep(0.5)
        [victim, other] = pids(stack)
        os.kill(victim, signal.SIGKILL)

        async def is_back() -> bool:
            told.append(await stack.metrics())
            return all(it["ready"] and it["pid"] != victim for it in await workers(stack))

        await until(is_back, seconds=DEADLINE_SECONDS)
        await stack.until_envoy_sees(healthy_replicas=3, routers=WORKERS)
        sent = load.sent
        await asyncio.sleep(0.5)
    assert load.sent > sent

    # Fails open: Envoy goes on without an answer, so callers notice nothing.
    assert load.results == {"whole": load.sent}
    await stack.settled()
    told.append(await stack.metrics())
    assert_counters_never_fell(told)
    assert await restarts_by_worker(stack) == restarts | {"0": restarts["0"] + 1}
    assert pids(stack)[0] != victim
    assert pids(stack)[1] == other
    entered = told[-1][("headrace_router_ledger_entered_total",)]
    assert entered == told[-1][("headrace_router_ledger_settled_total",)]
    assert "worker 0 has ended (signal 9)" in stack.router_log()
    await until_both_are_asked(stack)


async def test_sigterm_drains_all_of_them(stack):
    body = chat_body(stream=True, max_tokens=600)
    answers = [await stack.client.post(CHAT, json=body) for _ in range(8)]
    them = await workers(stack)
    stack.lane.router.send_signal(signal.SIGTERM)
    contents = await asyncio.gather(*(answer.read() for answer in answers))

    assert all(content.endswith(b"data: [DONE]\n\n") for content in contents)
    assert await asyncio.wait_for(stack.lane.router.wait(), DEADLINE_SECONDS) == 0
    assert not any(is_alive(it["pid"]) for it in them)
    await stack.lane.start_router()


async def test_workers_do_not_outlive_their_parent(stack):
    them = pids(stack)
    await stack.kill_router()

    async def are_gone() -> bool:
        return not any(is_alive(pid) for pid in them)

    await until(are_gone, seconds=DEADLINE_SECONDS)
    await stack.lane.start_router()  # on the same sockets


async def test_readiness_is_of_the_whole(stack):
    [victim, _] = pids(stack)
    os.kill(victim, signal.SIGKILL)
    async with aiohttp.ClientSession() as session:
        for _ in range(10):
            async with session.get(f"{stack.lane.admin_url}/readyz") as answer:
                assert answer.status == 200, await answer.text()
            await asyncio.sleep(0.05)


async def test_explanations_come_from_a_worker(stack):
    prompt = "a prompt that a worker remembers " * 200
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 4}
    status, *_ = await stack.ask(body)
    assert status == 200
    url = f"{stack.lane.admin_url}/debug/explain"

    async def is_remembered() -> bool:
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            candidates = (await answer.json())["candidates"]
        return sorted(bool(each["cached_tokens"]) for each in candidates) == [False, False, True]

    await until(is_remembered, seconds=DEADLINE_SECONDS)
    async with aiohttp.ClientSession() as session, session.post(url, data=b"{") as answer:
        assert answer.status == 400


async def restarts_by_worker(stack) -> dict[str, float]:
    return {
        labels[0]: value
        for (name, *labels), value in (await stack.metrics()).items()
        if name == "headrace_worker_restarts_total"
    }


def assert_counters_never_fell(told: list[Counter]) -> None:
    for before, after in itertools.pairwise(told):
        for key, value in before.items():
            if key[0].endswith(("_total", "_bucket", "_count")) and key[0].startswith(
                "headrace_router_"
            ):
                assert after[key] >= value, key
