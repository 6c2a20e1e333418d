"""Requests that wait, through real Envoy: scale from zero, full replicas, clients that leave."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from admission_harness import LONG, admitting
from stack_files import MODEL
from stack_harness import TIMEOUTS, error_of

from headrace.envoy_plan import EnvoyBodyMode
from router.admission.queue import Fate

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")

HASTY = replace(TIMEOUTS, ext_proc_message_seconds=0.5)
DROPPED = "x-llm-d-request-dropped-reason"


@pytest.mark.parametrize("body_mode", EnvoyBodyMode)
async def test_requests_wait_while_a_model_scales_from_zero(tmp_path, body_mode):
    async with admitting(tmp_path, body_mode=body_mode, timeouts=HASTY) as s:
        requests = [s.ask(salt=f"{number} ") for number in range(8)]
        await s.wait_for(8)
        demand = s.service.admission.waiting()[MODEL]
        assert (demand.requests, demand.has_replica) == (8, False)
        await asyncio.sleep(2 * HASTY.ext_proc_message_seconds)  # Envoy has been told to wait
        assert len(s.queue) == 8
        s.scale_to(1)
        answers = await asyncio.gather(*requests)
        assert [status for status, *_ in answers] == [200] * 8
        assert s.service.picker.ledger.entered_total == 8
        assert s.queue.fates == {Fate.ADMITTED: 8}
        assert s.service.admission.waiting() == {}


async def test_whoever_finds_the_queue_full_is_told_when_to_come_back(tmp_path):
    async with admitting(tmp_path, max_waiting_requests=2) as s:
        waiting = [s.ask(), s.ask()]
        await s.wait_for(2)
        status, headers, content = await s.ask()
        assert status == 429
        assert 60 <= int(headers["retry-after"]) <= 75  # no replica: the longest, with jitter
        assert headers[DROPPED] == "rejected-saturated"
        assert error_of(content)["code"] == "rate_limit_exceeded"
        important = s.ask(headers={"x-headrace-priority": "1"})
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result()[0] for task in done] == [429]
        s.scale_to(1)
        answers = await asyncio.gather(important, *waiting)
        assert sorted(status for status, *_ in answers) == [200, 200, 429]
        assert s.queue.fates == {Fate.ADMITTED: 2, Fate.EVICTED: 1, Fate.TURNED_AWAY: 1}


async def test_a_client_that_leaves_frees_its_place(tmp_path):
    async with admitting(tmp_path, max_waiting_requests=1) as s:
        leaving = s.ask()
        await s.wait_for(1)
        leaving.cancel()
        await s.wait_for(0)
        staying = s.ask()
        await s.wait_for(1)
        s.scale_to(1)
        assert (await staying)[0] == 200
        assert s.queue.fates == {Fate.CANCELLED: 1, Fate.ADMITTED: 1}
        assert s.service.picker.ledger.entered_total == 1


async def test_those_who_wait_in_vain_are_told_why(tmp_path):
    async with admitting(tmp_path, max_running_requests=1, max_wait_seconds=0.4) as s:
        status, headers, content = await s.ask()
        assert (status, headers[DROPPED]) == (503, "rejected-ttl-expired")
        assert error_of(content)["code"] == "service_unavailable"
        s.scale_to(1)
        long = s.ask(max_tokens=LONG)
        await s.until_running(1)
        status, headers, content = await s.ask()
        assert (status, headers[DROPPED]) == (429, "rejected-ttl-expired")
        assert int(headers["retry-after"]) >= 1
        assert error_of(content)["code"] == "rate_limit_exceeded"
        long.cancel()
        await s.until_running(0)


async def test_room_goes_to_the_most_important_and_is_shared_by_tenants(tmp_path):
    async with admitting(
        tmp_path,
        scaled_to=1,
        max_running_requests=1,
        time_scale=5.0,
        priorities={"interactive": 5},
        quantum_tokens=1,
    ) as s:
        long = s.ask(max_tokens=LONG)
        await s.until_running(1)
        order = []

        async def served(name, **headers):
            status, *_ = await s.ask(headers=headers)
            assert status == 200
            order.append(name)

        tasks = []
        for name, headers in (
            ("a1", {"x-llm-d-inference-fairness-id": "a"}),
            ("a2", {"x-llm-d-inference-fairness-id": "a"}),
            ("b1", {"x-gateway-inference-fairness-id": "b"}),
            ("urgent", {"x-llm-d-inference-objective": "interactive"}),
        ):
            tasks.append(asyncio.create_task(served(name, **headers)))
            await s.wait_for(len(tasks))
        long.cancel()  # the end of a stream makes room at once
        await asyncio.gather(*tasks)
        assert order[0] == "urgent"
        assert order.index("b1") < order.index("a2")
        assert order.index("a1") < order.index("a2")


async def test_what_may_be_shed_is_not_queued_for_room(tmp_path):
    async with admitting(tmp_path, scaled_to=1, max_running_requests=1) as s:
        long = s.ask(max_tokens=LONG)
        await s.until_running(1)
        status, headers, _ = await s.ask(headers={"x-headrace-priority": "-1"})
        assert (status, headers[DROPPED]) == (429, "rejected-saturated")
        assert not s.queue.fates
        long.cancel()
        await s.until_running(0)


async def test_a_router_that_stops_says_so_to_those_who_wait(tmp_path):
    async with admitting(tmp_path) as s:
        waiting = [s.ask() for _ in range(3)]
        await s.wait_for(3)
        await s.service.stop()
        answers = await asyncio.gather(*waiting)
        assert {(status, headers[DROPPED]) for status, headers, _ in answers} == {
            (503, "rejected-shutting-down")
        }


async def test_what_waits_is_in_the_metrics(tmp_path):
    async with admitting(tmp_path) as s:
        waiting = [s.ask() for _ in range(2)]
        await s.wait_for(2)
        url = f"http://127.0.0.1:{s.service.admin.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            lines = (await answer.text()).splitlines()
        labels = f'{{model="{MODEL}"}}'
        assert f"headrace_router_queue_requests{labels} 2.0" in lines
        s.scale_to(1)
        await asyncio.gather(*waiting)
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            lines = (await answer.text()).splitlines()
        assert 'headrace_router_queue_requests_ended_total{fate="admitted"} 2.0' in lines
        assert "headrace_router_queue_wait_seconds_count 2.0" in lines
        assert f"headrace_router_queue_requests{labels} 0.0" in lines
