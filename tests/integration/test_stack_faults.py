"""What breaks and what goes on: router, replicas and all of them die, hang and come back."""

import asyncio
import signal
from collections import Counter

import openai
import pytest
from stack_files import MODEL, OTHER_MODEL
from stack_harness import (
    SteadyLoad,
    chat_body,
    error_of,
    replica,
    running_stack,
    steady,
    three_h100,
)
from telemetry_harness import until

from loadtest.client import ReplayOptions, replay
from loadtest.outcome import FailureKind

pytestmark = pytest.mark.envoy

WHOLE_STREAM_TOKENS = 20


async def sent(stack, arrivals, **options):
    return await replay(arrivals, base_url=stack.lane.base_url, options=ReplayOptions(**options))


def failures(outcomes):
    return Counter((it.failure, it.status) for it in outcomes if it.failure is not None)


# Nobody left


async def test_without_a_replica_clients_get_503_from_the_router_and_then_from_envoy(tmp_path):
    nobody_waits = running_stack(tmp_path, three_h100(), may_wait=False)
    async with nobody_waits as stack, stack.openai() as client:
        for name in stack.names:
            await stack.fleet.server(name).kill()
        for name in stack.names:
            await stack.until_health(name, 0.0)
        by_router = await stack.ask()
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=MODEL, messages=[])
        models = [model.id async for model in client.models.list()]

        await stack.kill_router()
        by_envoy = []

        async def nobody_is_asked_any_more():
            by_envoy.append(await stack.ask())
            return by_envoy[-1][2]["error"]["code"] == "no_healthy_replica"

        await until(nobody_is_asked_any_more)

        await stack.lane.start_router()
        for name in stack.names:
            await stack.fleet.server(name).start()
        for name in stack.names:
            await stack.until_health(name, 1.0)
        await stack.until_envoy_sees(healthy_replicas=3)
        afterwards, *_ = await stack.ask()

    for status, headers, content in (by_router, *by_envoy):
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        assert error_of(content)["type"] == "server_error"
        told = str(content)
        assert [word for word in (*stack.names, "127.0.0.1", "h100") if word in told] == []
    assert by_router[2]["error"]["code"] == "service_unavailable"
    assert caught.value.status_code == 503
    assert models == [MODEL]
    assert afterwards == 200


@pytest.mark.parametrize("router_is_up", [True, False])
async def test_a_model_without_replicas_is_refused_and_never_answered_by_another(
    tmp_path, router_is_up
):
    fleet = (
        replica("a", models=(MODEL,)),
        replica("b", models=(MODEL,)),
        replica("c", models=(OTHER_MODEL,)),
    )
    async with running_stack(tmp_path, fleet, may_wait=False) as stack:
        await stack.fleet.server("c").kill()
        await stack.until_health("c", 0.0)
        if not router_is_up:
            await stack.kill_router()
        await stack.until_envoy_sees(healthy_replicas=2, routers=int(router_is_up))
        refused = [await stack.ask(chat_body(model=OTHER_MODEL)) for _ in range(10)]
        served = [await stack.ask(chat_body(model=MODEL)) for _ in range(10)]

    assert [status for status, _, _ in refused] == [503] * 10
    assert all("retry-after" in headers for _, headers, _ in refused)
    assert [status for status, _, _ in served] == [200] * 10


# The router


@pytest.mark.parametrize(
    ("number", "exit_status"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)],
    ids=["killed", "ended"],
)
async def test_a_router_that_goes_under_load_costs_no_request_and_comes_back(
    tmp_path, number, exit_status
):
    """200 requests run and more arrive; meanwhile each model must still find its replicas."""
    fleet = (
        replica("both", models=(MODEL, OTHER_MODEL), stream_interval=WHOLE_STREAM_TOKENS),
        replica("one", models=(MODEL,), stream_interval=WHOLE_STREAM_TOKENS),
        replica("other", models=(OTHER_MODEL,), stream_interval=WHOLE_STREAM_TOKENS),
    )

    def body_of(sent):
        model = (MODEL, OTHER_MODEL)[sent % 2]
        return chat_body(60, model=model, max_tokens=220, stream=sent % 3 > 0, salt=f"{sent} ")

    async with running_stack(tmp_path, fleet, time_scale=1.0) as stack:
        async with SteadyLoad(stack, requests_per_second=100.0, body_of=body_of) as load:

            async def two_hundred_run():
                return sum((await stack.in_flight()).values()) >= 200

            await until(two_hundred_run, seconds=30)
            stack.lane.router.send_signal(number)
            assert await stack.lane.router.wait() == exit_status
            await stack.until_envoy_sees(healthy_replicas=3, routers=0)
            sent = load.sent

            async def a_hundred_were_sent_without_it():
                return load.sent >= sent + 100

            await until(a_hundred_were_sent_without_it)
            await stack.lane.start_router()

            async def picks_resume():
                return await stack.picks_total() >= 20

            await until(picks_resume, seconds=30)
        await stack.settled()
        finished = stack.finished()

    assert load.results == {"whole": load.sent}
    assert sum(finished.values()) == load.sent
    assert min(finished.values()) > 0


# Replicas


async def test_a_killed_replica_costs_only_the_requests_that_ran_on_it(tmp_path):
    """With room for eight per replica, twenty requests are on all three."""
    fleet = three_h100(stream_interval=WHOLE_STREAM_TOKENS)
    async with running_stack(tmp_path, fleet, time_scale=1.0, max_running_requests=8) as stack:
        first = asyncio.create_task(
            sent(
                stack,
                steady(20, requests_per_second=200.0, output_tokens=500),
                non_streamed_ratio=0.4,
            )
        )

        async def all_run():
            return stack.engines_busy() == 20

        await until(all_run)
        running = await stack.in_flight()
        assert running == {name: stack.engine_requests(name) for name in stack.names}
        dead = max(running, key=running.get)
        await stack.fleet.server(dead).kill()
        second = await sent(stack, steady(30, requests_per_second=60.0, output_tokens=40))
        first = await first

        await stack.until_health(dead, 0.0)
        avoiding = await sent(stack, steady(20, requests_per_second=100.0))
        picks = await stack.last_picks(20)

        await stack.fleet.server(dead).start()
        await stack.until_health(dead, 1.0)
        await stack.until_envoy_sees(healthy_replicas=3)
        before = stack.finished()
        burst = await sent(stack, steady(24, requests_per_second=1000.0, output_tokens=100))
        await stack.settled()
        again = stack.finished()[dead] - before[dead]

    assert len([it for it in first if it.failure is not None]) == running[dead]
    assert set(failures(first)) <= {(FailureKind.TRUNCATED, 200), (FailureKind.STATUS, 503)}
    assert len(failures(first)) == 2
    assert failures(second) == {}
    assert failures(avoiding) == {}
    assert picks[dead] == 0
    assert failures(burst) == {}
    assert again > 0


async def test_a_wedged_replica_holds_up_only_what_it_has_accepted(tmp_path):
    async with running_stack(tmp_path, three_h100()) as stack:
        for _ in range(3):
            await stack.ask()
        [(wedged, _)] = (await stack.last_picks(3)).most_common(1)
        stack.fleet.server(wedged).wedge()
        held = []

        async def nothing_is_sent_there_any_more():
            asking = [asyncio.create_task(stack.ask()) for _ in range(10)]
            _, unanswered = await asyncio.wait(asking, timeout=2.0)
            held.extend(unanswered)
            return not unanswered

        await until(nothing_is_sent_there_any_more, seconds=30)
        others = await sent(stack, steady(40, requests_per_second=100.0))
        assert failures(others) == {}
        assert held
        await stack.until_in_flight(len(held))
        assert (await stack.in_flight())[wedged] == len(held)

        stack.fleet.server(wedged).unwedge()
        answers = await asyncio.gather(*held)
        await stack.until_envoy_sees(healthy_replicas=3)
        await stack.settled()
    assert [status for status, *_ in answers] == [200] * len(held)
