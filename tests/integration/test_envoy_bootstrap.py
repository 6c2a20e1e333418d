"""What the rendered Envoy does, with a real Envoy, real replicas and a real ext_proc server."""

import asyncio
import io
import json
import resource

import pytest
from envoy_harness import (
    DESTINATION,
    ask,
    eventually,
    eventually_stat,
    gateway,
    immediate,
    pick,
    replicas,
    router,
)

from headrace.envoy_config import EnvoyLimits, EnvoyTimeouts

PATIENT = EnvoyTimeouts(
    health_interval_seconds=2.0, health_timeout_seconds=20.0, ext_proc_message_seconds=30.0
)

pytestmark = pytest.mark.envoy

ONE_MODEL = (("m",),) * 3
REQUESTS = 20


@pytest.mark.parametrize(
    "how", [{"header": True, "metadata": True}, {"metadata": False}, {"header": False}], ids=str
)
async def test_every_request_reaches_the_replica_that_the_router_picks(tmp_path, how):
    async with replicas(*ONE_MODEL) as fleet:
        chosen = fleet[1]
        async with (
            router(tmp_path, lambda _: pick(chosen.address, **how)) as (_, target),
            gateway(fleet, target) as (_, client),
        ):
            answers = [await ask(client) for _ in range(REQUESTS)]
    assert {answer["served_by"] for answer in answers} == {chosen.address}


async def test_an_address_outside_the_fleet_is_skipped_for_the_next_of_the_list(tmp_path):
    async with replicas(("m",)) as [stranger], replicas(*ONE_MODEL) as fleet:
        listed = f"{stranger.address},{fleet[2].address}"
        async with (
            router(tmp_path, lambda _: pick(listed)) as (_, target),
            gateway(fleet, target) as (_, client),
        ):
            answers = [await ask(client) for _ in range(REQUESTS)]
    assert {answer["served_by"] for answer in answers} == {fleet[2].address}
    assert stranger.served == 0


async def test_a_client_cannot_steer_while_the_router_is_up(tmp_path):
    async with replicas(*ONE_MODEL) as fleet:
        wanted, chosen = fleet[0], fleet[1]
        sent = {DESTINATION: wanted.address, f"{DESTINATION}-subset": wanted.address}
        async with (
            router(tmp_path, lambda _: pick(chosen.address)) as (server, target),
            gateway(fleet, target) as (_, client),
        ):
            for _ in range(REQUESTS):
                await ask(client, headers=sent)
    assert chosen.served == REQUESTS
    assert not [name for seen in server.headers for name in seen if name.startswith(DESTINATION)]


async def test_a_client_cannot_steer_while_the_router_is_away():
    async with replicas(*ONE_MODEL) as fleet, gateway(fleet) as (_, client):
        headers = {DESTINATION: fleet[0].address, "x-envoy-retry-on": "5xx"}
        for _ in range(REQUESTS):
            await ask(client, headers=headers)
    assert fleet[0].served < REQUESTS
    assert not any(DESTINATION in seen for replica in fleet for seen in replica.headers)
    assert not any("x-envoy-retry-on" in seen for replica in fleet for seen in replica.headers)


async def test_the_router_never_sees_credentials_but_the_replica_does(tmp_path):
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda _: None) as (server, target),
        gateway(fleet, target) as (_, client),
    ):
        await ask(client, headers={"Authorization": "Bearer secret", "x-tenant": "t"})
    assert fleet[0].headers[0]["authorization"] == "Bearer secret"
    assert "authorization" not in server.headers[0]
    assert server.headers[0]["x-tenant"] == "t"


async def test_a_body_at_the_limit_passes_and_one_above_gets_413(tmp_path):
    limits = EnvoyLimits(max_body_bytes=3_000_000)
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda _: None) as (_, target),
        gateway(fleet, target, limits=limits) as (_, client),
    ):
        async with client.post("/v1/completions", data=io.BytesIO(bytes(3_000_000))) as below:
            assert (await below.json())["body_bytes"] == 3_000_000
        async with client.post("/v1/completions", data=io.BytesIO(bytes(3_000_001))) as above:
            assert above.status == 413
            assert above.content_type == "application/json"
            error = (await above.json())["error"]
    assert error == {
        "message": "The request body is larger than the limit of 3000000 bytes.",
        "type": "invalid_request_error",
        "param": None,
        "code": "request_too_large",
    }
    assert fleet[0].served == 1


async def test_a_body_of_63_mebibytes_passes_the_router_under_the_default_limits(tmp_path):
    body_bytes = 63 * 1024 * 1024
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda body: pick(fleet[0].address) if body else None) as (_, target),
        gateway(fleet, target, timeouts=EnvoyTimeouts()) as (envoy, client),
    ):
        async with client.post("/v1/completions", data=io.BytesIO(bytes(body_bytes))) as response:
            assert (await response.json())["body_bytes"] == body_bytes
        stats = await envoy.stats("ext_proc")
    assert stats["http.openai.ext_proc.headrace.failure_mode_allowed"] == 0


async def test_without_a_healthy_replica_clients_get_503_and_when_to_retry():
    async with replicas(("m",)) as fleet:
        pass
    async with gateway(fleet) as (_, client):
        answer = await ask(client)
    assert answer["status"] == 503
    assert answer["error"]["code"] == "no_healthy_replica"
    assert answer["error"]["type"] == "server_error"
    assert answer["retry_after"] == "2"


async def test_the_answers_of_the_router_itself_keep_their_words(tmp_path):
    error = {"error": {"message": "Over budget.", "type": "overloaded", "code": "shed"}}
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda _: immediate(503, error, retry_after="7")) as (_, target),
        gateway(fleet, target) as (_, client),
    ):
        answer = await ask(client)
    assert answer == {**error, "status": 503, "retry_after": "7"}


async def test_a_dead_replica_is_replaced_before_the_request_reached_it(tmp_path):
    slow_checks = EnvoyTimeouts(health_interval_seconds=60.0)
    async with replicas(*ONE_MODEL) as fleet:
        dead = fleet[0]
        async with (
            router(tmp_path, lambda _: pick(dead.address)) as (_, target),
            gateway(fleet, target, timeouts=slow_checks) as (_, client),
        ):
            await dead.stop()
            answers = [await ask(client) for _ in range(REQUESTS)]
    assert {answer["status"] for answer in answers} == {200}


async def test_a_dead_replica_does_not_attract_retries_by_being_idle(tmp_path):
    unnoticed = EnvoyTimeouts(health_interval_seconds=60.0)
    never_ejects = EnvoyLimits(outlier_consecutive_failures=1_000_000)
    async with replicas(("m",), ("m",)) as fleet:
        dead, busy = fleet
        async with (
            router(tmp_path, lambda _: pick(dead.address)) as (_, target),
            gateway(fleet, target, timeouts=unnoticed, limits=never_ejects) as (_, client),
        ):
            await dead.stop()
            busy.gate.clear()
            requests = [asyncio.create_task(ask(client)) for _ in range(10 * REQUESTS)]
            await eventually(lambda: busy.running == len(requests))
            busy.gate.set()
            answers = await asyncio.gather(*requests)
    assert {answer["served_by"] for answer in answers} == {busy.address}


async def test_a_request_that_a_replica_may_have_started_is_never_replayed(tmp_path):
    async with replicas(*ONE_MODEL) as fleet:
        fleet[0].dies_when_asked = True
        async with (
            router(tmp_path, lambda _: pick(fleet[0].address)) as (_, target),
            gateway(fleet, target) as (_, client),
        ):
            answer = await ask(client)
    assert (answer["status"], answer["error"]["code"]) == (503, "replica_failed")
    assert [replica.served for replica in fleet] == [1, 0, 0]


async def test_a_router_killed_under_load_costs_no_request(tmp_path):
    async with (
        replicas(*ONE_MODEL) as fleet,
        router(tmp_path, lambda _: pick(fleet[0].address)) as (server, target),
        gateway(fleet, target) as (envoy, client),
    ):
        for replica in fleet:
            replica.gate.clear()
        before = [asyncio.create_task(ask(client)) for _ in range(REQUESTS)]
        await eventually(lambda: fleet[0].running == REQUESTS)
        await server.stop()
        for replica in fleet:
            replica.gate.set()
        after = [await ask(client) for _ in range(REQUESTS)]
        answers = [*await asyncio.gather(*before), *after]
        stats = await envoy.stats("ext_proc")
    assert {answer["status"] for answer in answers} == {200}
    assert stats["http.openai.ext_proc.headrace.failure_mode_allowed"] >= REQUESTS
    assert fleet[0].served < 2 * REQUESTS


async def test_a_router_that_hangs_delays_requests_by_the_message_timeout_only(tmp_path):
    impatient = EnvoyTimeouts(ext_proc_message_seconds=0.2)
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda _: None) as (server, target),
        gateway(fleet, target, timeouts=impatient) as (envoy, client),
    ):
        server.hangs = True
        answer = await ask(client)
        stats = await envoy.stats("message_timeouts")
    assert answer["status"] == 200
    assert stats == {"http.openai.ext_proc.headrace.message_timeouts": 1}


async def test_several_routers_share_the_streams_and_survive_each_other(tmp_path):
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda _: None, "a") as (first, first_target),
        router(tmp_path, lambda _: None, "b") as (second, second_target),
        gateway(fleet, first_target, second_target) as (envoy, client),
    ):
        await asyncio.gather(*(ask(client) for _ in range(REQUESTS)))
        assert first.opened > 0
        assert second.opened > 0
        await first.stop()
        await eventually_stat(envoy, "cluster.ext_proc.membership_healthy", 1)
        answers = [await ask(client) for _ in range(REQUESTS)]
    assert first.opened + second.opened == 2 * REQUESTS
    assert {answer["status"] for answer in answers} == {200}


async def test_the_stream_ends_when_the_request_ends(tmp_path):
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda _: None) as (server, target),
        gateway(fleet, target) as (_, client),
    ):
        fleet[0].gate.clear()
        request = asyncio.create_task(ask(client))
        await eventually(lambda: fleet[0].running == 1)
        assert (server.opened, server.ended) == (1, 0)
        fleet[0].gate.set()
        await request
        await eventually(lambda: server.ended == 1)


async def test_the_stream_ends_when_the_client_disconnects(tmp_path):
    async with (
        replicas(("m",)) as fleet,
        router(tmp_path, lambda _: None) as (server, target),
        gateway(fleet, target) as (_, client),
    ):
        fleet[0].gate.clear()
        request = asyncio.create_task(ask(client))
        await eventually(lambda: fleet[0].running == 1)
        request.cancel()
        await eventually(lambda: server.ended == 1)
        await eventually(lambda: fleet[0].running == 0)


@pytest.fixture
def many_open_files():
    """Client, replicas and router are this process: two sockets per request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_open_files")
async def test_three_thousand_slow_requests_at_once_meet_no_circuit_breaker(tmp_path):
    count = 3_000
    async with (
        replicas(*ONE_MODEL) as fleet,
        router(tmp_path, lambda _: None) as (server, target),
        # Clients, replicas and router share this process: its health checks may be slow.
        gateway(fleet, target, timeouts=PATIENT) as (envoy, client),
    ):
        for replica in fleet:
            replica.gate.clear()
        requests = [asyncio.create_task(ask(client)) for _ in range(count)]
        await eventually(lambda: sum(replica.running for replica in fleet) == count)
        assert server.opened - server.ended == count
        for replica in fleet:
            replica.gate.set()
        answers = await asyncio.gather(*requests)
        overflows = await envoy.stats("overflow")
        failed_open = await envoy.stats("failure_mode_allowed")
        await eventually(lambda: server.ended == count)
    assert {answer["status"] for answer in answers} == {200}
    assert len(overflows) > 10
    assert not any(overflows.values())
    assert not any(failed_open.values())


async def test_without_a_router_each_model_reaches_only_its_replicas():
    async with (
        replicas(("a",), ("b",), ("a", "b"), ("b",)) as fleet,
        gateway(fleet) as (_, client),
    ):
        serving = {replica.address: set(replica.models) for replica in fleet}
        for model in ("a", "b"):
            answers = [await ask(client, model) for _ in range(2 * REQUESTS)]
            reached = {answer["served_by"] for answer in answers}
            assert reached == {address for address, models in serving.items() if model in models}


@pytest.mark.parametrize("body", [b'{"model":"unknown"}', b"not json", b"{}", b'{"model":7}'])
async def test_without_a_router_a_body_without_a_known_model_reaches_some_replica(body):
    async with (
        replicas(("a",), ("b",)) as fleet,
        gateway(fleet) as (_, client),
        client.post("/v1/completions", data=body) as response,
    ):
        assert response.status == 200


async def test_a_model_all_of_whose_replicas_are_dead_gets_503_not_another_model():
    async with replicas(("a",)) as gone:
        pass
    async with replicas(("b",)) as alive, gateway([*gone, *alive]) as (_, client):
        answer = await ask(client, "a")
        assert (await ask(client, "b"))["status"] == 200
    assert (answer["status"], answer["error"]["code"]) == (503, "no_healthy_replica")


async def test_the_replacement_of_a_dead_pick_serves_the_model_that_the_router_named(tmp_path):
    slow_checks = EnvoyTimeouts(health_interval_seconds=60.0)
    async with replicas(("a",), ("b",), ("b",), ("a",)) as fleet:
        dead, heir = fleet[0], fleet[3]
        async with (
            router(tmp_path, lambda _: pick(dead.address, model="a")) as (_, target),
            gateway(fleet, target, timeouts=slow_checks) as (_, client),
        ):
            await dead.stop()
            answers = [await ask(client, "a") for _ in range(REQUESTS)]
    assert {answer["served_by"] for answer in answers} == {heir.address}


async def test_envoy_parses_a_prompt_only_while_the_router_is_away(tmp_path):
    parsed = "json_to_metadata.rq.success"
    async with (
        replicas(("a",), ("b",)) as fleet,
        router(tmp_path, lambda _: pick(fleet[0].address)) as (server, target),
        gateway(fleet, target) as (envoy, client),
    ):
        await ask(client, "a")
        while_up = await envoy.stats(parsed)
        await server.stop()
        await ask(client, "a")
        while_away = await envoy.stats(parsed)
    assert (while_up[parsed], while_away[parsed]) == (0, 1)


async def test_the_access_log_tells_pick_server_bytes_and_router_latency(tmp_path):
    log_path = tmp_path / "access.json"
    async with replicas(*ONE_MODEL) as fleet:
        chosen = fleet[1].address
        async with (
            router(tmp_path, lambda _: pick(chosen, model="m")) as (_, target),
            gateway(fleet, target, access_log_path=str(log_path)) as (_, client),
        ):
            headers = {"x-request-id": "mine", "authorization": "Bearer secret"}
            async with client.post(
                "/v1/completions?key=secret", json={"model": "m"}, headers=headers
            ) as response:
                assert response.headers["x-request-id"] == "mine"
    [line] = log_path.read_text().splitlines()
    entry = json.loads(line)
    assert "secret" not in line
    assert entry["destination"] == entry["destination_served"] == entry["upstream_host"] == chosen
    assert (entry["request_id"], entry["status"], entry["model"]) == ("mine", 200, "m")
    assert entry["path"] == "/v1/completions"
    assert entry["request_body_bytes"] == len(b'{"model": "m"}')
    assert int(entry["ext_proc_request_header_latency_us"]) > 0
    assert int(entry["ext_proc_request_body_total_latency_us"]) > 0
    assert entry["upstream_attempts"] == 1
