"""Envoy set up as an inference gateway: bodies streamed both ways through the real router."""

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from envoy_harness import QUICK, eventually, eventually_stat
from extproc_harness import sample, serving

from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, render_bootstrap
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyProcess
from router.extproc.tls import TlsSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLETIONS = "/v1/completions"
DEAD = "127.0.0.1:1"  # nothing listens on tcpmux


class Engine:
    """An HTTP server that digests what it gets and answers in as many chunks as it is asked to."""

    def __init__(self):
        self.requests = []
        self.address = ""

    async def start(self):
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = "{}:{}".format(*self._runner.addresses[0][:2])

    async def _health(self, _request):
        return web.Response()

    async def _answer(self, request):
        body = await request.read()
        self.requests.append((request.path, dict(request.headers), body))
        response = web.StreamResponse(headers={"x-served-by": self.address})
        await response.prepare(request)
        for number in range(int(request.headers.get("x-chunks", "1"))):
            await response.write(piece(number))
        await response.write_eof()
        return response

    async def stop(self):
        await self._runner.cleanup()


def piece(number):
    return f"data: chunk {number} {'é' * (number % 7)}\n\n".encode()


@asynccontextmanager
async def gateway(
    *, tls=False, timeouts=QUICK, extra=(), body_mode=EnvoyBodyMode.FULL_DUPLEX, **settings
):
    """Client -> Envoy, in full duplex unless told otherwise -> router and three engines."""
    engines = [Engine() for _ in range(3)]
    for engine in engines:
        await engine.start()
    addresses = [*extra, *(engine.address for engine in engines)]
    secured = {"tls": TlsSettings()} if tls else {}
    try:
        async with serving(addresses=addresses, **secured, **settings) as router:
            plan = EnvoyPlan(
                endpoints=tuple(EnvoyEndpoint(address=a, models=("llama",)) for a in addresses),
                ext_proc_targets=(f"127.0.0.1:{router.server.port}",),
                ext_proc_tls=tls,
                body_mode=body_mode,
                timeouts=timeouts,
            )
            async with EnvoyProcess(render_bootstrap(plan)) as envoy:
                await eventually_stat(envoy, "cluster.ext_proc.membership_healthy", 1)
                host, port = envoy.listener_address()
                async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
                    yield SimpleNamespace(
                        client=client, router=router, envoy=envoy, engines=engines
                    )
    finally:
        for engine in engines:
            await engine.stop()


def prompt_of(size):
    return json.dumps({"model": "llama", "prompt": "p" * size}).encode()


def requests_of(stack):
    return [request for engine in stack.engines for request in engine.requests]


async def settled(stack):
    await eventually(lambda: stack.router.server.open_streams == 0)
    assert stack.router.ledger.running() == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_megabyte_prompts_and_ten_thousand_chunks_arrive_unharmed(tls):
    async with gateway(tls=tls) as stack:

        async def exchange(number):
            body = prompt_of(1_000_000 + number)
            headers = {"x-chunks": "10000", "content-type": "application/json"}
            async with stack.client.post(COMPLETIONS, data=body, headers=headers) as answer:
                content = await answer.read()
            assert answer.status == 200
            return hashlib.sha256(body).hexdigest(), content

        sent = await asyncio.gather(*(exchange(number) for number in range(3)))
        arrived = {hashlib.sha256(body).hexdigest() for _, _, body in requests_of(stack)}
        assert arrived == {digest for digest, _ in sent}
        expected = b"".join(piece(number) for number in range(10_000))
        assert all(content == expected for _, content in sent)
        stats = await stack.envoy.stats("ext_proc")
        for name in ("spurious_msgs_received", "streams_failed", "rejected_header_mutations"):
            assert stats[f"http.openai.ext_proc.headrace.{name}"] == 0
        await settled(stack)
        assert stack.router.ledger.entered_total == 3


async def test_the_pick_is_followed_and_the_served_endpoint_comes_back():
    async with gateway() as stack:
        for _ in range(5):
            async with stack.client.post(COMPLETIONS, data=prompt_of(10)) as answer:
                assert answer.status == 200
        for _, headers, _ in requests_of(stack):
            first = headers["x-gateway-destination-endpoint"].split(",")
            assert len(first) == 3
        for engine in stack.engines:
            for _, headers, _ in engine.requests:
                assert headers["x-gateway-destination-endpoint"].split(",")[0] == engine.address
        assert not stack.router.picker.outliers.avoided(now_seconds=0.0)
        await settled(stack)


async def test_a_dead_first_choice_is_served_by_the_fallback_and_then_avoided():
    async with gateway(extra=[DEAD]) as stack:
        picker = stack.router.picker
        for _ in range(12):
            async with stack.client.post(COMPLETIONS, data=prompt_of(10)) as answer:
                assert answer.status == 200
                assert answer.headers["x-served-by"] != DEAD
        await settled(stack)
        now_seconds = asyncio.get_running_loop().time()
        assert picker.outliers.avoided(now_seconds=now_seconds) == {DEAD}
        named = [headers["x-gateway-destination-endpoint"] for _, headers, _ in requests_of(stack)]
        assert any(destination.startswith(DEAD) for destination in named)
        assert not named[-1].startswith(DEAD)


@pytest.mark.parametrize("body_mode", EnvoyBodyMode)
async def test_requests_without_a_body_go_to_a_replica_or_are_answered_here(body_mode):
    async with gateway(body_mode=body_mode) as stack:
        async with stack.client.get("/version") as answer:
            assert answer.status == 200
        async with stack.client.get("/v1/models") as answer:
            assert [model["id"] for model in (await answer.json())["data"]] == ["llama"]
        [(path, headers, _)] = requests_of(stack)
        assert path == "/version"
        assert headers["x-gateway-destination-endpoint"]


async def test_a_body_that_is_no_prompt_is_streamed_through():
    async with gateway() as stack:
        body = bytes(range(256)) * 2_000
        async with stack.client.put("/files/1", data=body) as answer:
            assert answer.status == 200
        assert requests_of(stack)[0][2] == body


async def test_refusals_come_in_openai_terms():
    async with gateway(max_body_bytes=200_000) as stack:
        cases = [
            (b"not json", 400, "invalid_json"),
            (b"\xff\xfe\x00", 400, "invalid_json"),
            (b"[" * 100_000, 400, "invalid_type"),
            (b'{"model": "llama", "prompt": ' + b"[" * 50_000, 400, "invalid_json"),
            (b'{"model": "gpt-9"}', 404, "model_not_found"),
            (prompt_of(300_000), 413, "request_too_large"),
        ]
        for body, status, code in cases:
            async with stack.client.post(COMPLETIONS, data=body) as answer:
                error = (await answer.json(content_type="application/json"))["error"]
                assert (answer.status, error["code"]) == (status, code)
        await settled(stack)
        assert stack.router.ledger.entered_total == 0
        assert sample(stack.router.registry, "streams_total", outcome="rejected") == len(cases)


@pytest.mark.parametrize("body_mode", EnvoyBodyMode)
async def test_a_rewritten_model_reaches_the_replica_with_the_right_length(body_mode):
    async with gateway(body_mode=body_mode) as stack:
        headers = {"x-llm-d-model-name-rewrite": "llama", "content-type": "application/json"}
        body = json.dumps({"model": "a-much-longer-alias", "prompt": "é" * 70_000}).encode()
        async with stack.client.post(COMPLETIONS, data=body, headers=headers) as answer:
            assert answer.status == 200
        [(_, _, arrived)] = requests_of(stack)
        assert json.loads(arrived) == {"model": "llama", "prompt": "é" * 70_000}
        rejected = await stack.envoy.stats("ext_proc.headrace.rejected_header_mutations")
        assert set(rejected.values()) == {0}


async def test_a_client_that_leaves_frees_its_place():
    async with gateway() as stack:

        async def slowly():
            yield prompt_of(100)[:20]
            await asyncio.sleep(30)

        upload = asyncio.create_task(stack.client.post(COMPLETIONS, data=slowly()))
        await eventually(lambda: stack.router.server.open_streams == 1)
        upload.cancel()
        await settled(stack)
        assert stack.router.ledger.entered_total == 0


async def test_neither_a_slow_upload_nor_a_wait_for_admission_runs_into_the_message_timeout():
    hasty = replace(QUICK, ext_proc_message_seconds=0.3)
    async with gateway(timeouts=hasty) as stack:
        body = json.dumps({"model": "held", "prompt": "p" * 1_000}).encode()

        async def slowly():
            yield body[:500]
            await asyncio.sleep(0.6)
            yield body[500:]

        asked = asyncio.create_task(stack.client.post(COMPLETIONS, data=slowly()))
        await eventually(lambda: stack.router.picker.held == 1)
        await asyncio.sleep(0.6)
        stack.router.picker.queue[0].decide()
        async with await asked as answer:
            assert answer.status == 200
        [(_, headers, arrived)] = requests_of(stack)
        assert arrived == body
        assert headers["x-gateway-destination-endpoint"]
        stats = await stack.envoy.stats("ext_proc.headrace.message_timeouts")
        assert set(stats.values()) == {0}
        await settled(stack)


async def test_a_client_that_leaves_while_it_waits_leaves_the_queue():
    async with gateway() as stack:
        body = json.dumps({"model": "held", "prompt": "p"}).encode()
        asked = asyncio.create_task(stack.client.post(COMPLETIONS, data=body))
        await eventually(lambda: stack.router.picker.held == 1)
        asked.cancel()
        await settled(stack)
        assert stack.router.picker.held == 0
