"""Real replicas (aiohttp) and a real, tiny router (grpc.aio) for tests of Envoy's configuration.

Both listen on loopback, count what they see and end with their context.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import grpc
from aiohttp import web
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as pb_grpc
from envoy.type.v3 import http_status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from headrace.envoy_config import EnvoyEndpoint, EnvoyPlan, EnvoyTimeouts, render_bootstrap
from headrace.envoy_process import EnvoyProcess

DESTINATION = "x-gateway-destination-endpoint"
GRPC_MAX_BYTES = 80 * 1024 * 1024
MAX_PENDING_CALLS = 100_000
DEADLINE_SECONDS = 20
QUICK = EnvoyTimeouts(
    health_interval_seconds=0.2, health_timeout_seconds=1.0, ext_proc_message_seconds=5.0
)


class TestReplica:
    """An HTTP server that answers with its own address once `gate` is open."""

    __test__ = False

    def __init__(self, *, models: tuple[str, ...] = ("m",)) -> None:
        self.models = models
        self.address = ""
        self.gate = asyncio.Event()
        self.gate.set()
        self.dies_when_asked = False
        self.headers: list[dict[str, str]] = []
        self.running = 0
        self.peak_running = 0
        self._runner: web.AppRunner | None = None

    @property
    def endpoint(self) -> EnvoyEndpoint:
        return EnvoyEndpoint(address=self.address, models=self.models)

    @property
    def served(self) -> int:
        return len(self.headers)

    async def start(self) -> None:
        app = web.Application(client_max_size=GRPC_MAX_BYTES)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._generate)
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=4096)
        await site.start()
        self.address = "{}:{}".format(*self._runner.addresses[0][:2])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if self.dies_when_asked:
            request.transport.abort()
            return web.Response()
        self.running += 1
        self.peak_running = max(self.peak_running, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        return web.json_response({"served_by": self.address, "body_bytes": len(body)})


class TestRouter(pb_grpc.ExternalProcessorServicer):
    """An endpoint picker whose answer to a body is `answer(body)`; None means no pick."""

    __test__ = False

    def __init__(self, answer: Callable[[bytes], pb.ProcessingResponse | None]) -> None:
        self.answer = answer
        self.opened = 0
        self.ended = 0
        self.headers: list[dict[str, str]] = []
        self.hangs = False
        self._server: grpc.aio.Server | None = None

    async def start(self, target: str) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", GRPC_MAX_BYTES),
                # gRPC refuses calls at random above 1,000 that Python has not taken up yet.
                ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
            ]
        )
        pb_grpc.add_ExternalProcessorServicer_to_server(self, self._server)
        healthy = health.aio.HealthServicer()
        await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(healthy, self._server)
        self._server.add_insecure_port(target)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=None)

    async def Process(self, request_iterator, _context):  # noqa: N802  # the protocol's name
        self.opened += 1
        try:
            async for request in request_iterator:
                if self.hangs:
                    await asyncio.sleep(DEADLINE_SECONDS)
                reply = self._reply(request)
                if reply is not None:
                    yield reply
        finally:
            self.ended += 1

    def _reply(self, request: pb.ProcessingRequest) -> pb.ProcessingResponse | None:
        if request.HasField("request_headers"):
            self.headers.append(
                {h.key: h.raw_value.decode() for h in request.request_headers.headers.headers}
            )
            if not request.request_headers.end_of_stream:
                return pb.ProcessingResponse(request_headers=pb.HeadersResponse())
            return self.answer(b"") or pb.ProcessingResponse(request_headers=pb.HeadersResponse())
        body = request.request_body.body
        return self.answer(body) or pb.ProcessingResponse(request_body=pb.BodyResponse())


def pick(
    destination: str, *, header: bool = True, metadata: bool = True, model: str | None = None
) -> pb.ProcessingResponse:
    """A pick as the Endpoint Picker Protocol words it, in the answer to a body."""
    reply = pb.ProcessingResponse(request_body=pb.BodyResponse())
    if header:
        option = base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=DESTINATION, raw_value=destination.encode()),
            append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        reply.request_body.response.header_mutation.set_headers.append(option)
    if metadata:
        values = {DESTINATION: destination} | ({"model": model} if model else {})
        reply.dynamic_metadata.update({"envoy.lb": values})
    return reply


def immediate(status: int, error: dict, **headers: str) -> pb.ProcessingResponse:
    """An answer in the router's own words."""
    reply = pb.ProcessingResponse(
        immediate_response=pb.ImmediateResponse(
            status=http_status_pb2.HttpStatus(code=status), body=json.dumps(error).encode()
        )
    )
    for name, value in {"content-type": "application/json", **headers}.items():
        reply.immediate_response.headers.set_headers.append(
            base_pb2.HeaderValueOption(
                header=base_pb2.HeaderValue(key=name.replace("_", "-"), raw_value=value.encode())
            )
        )
    return reply


@contextlib.asynccontextmanager
async def replicas(*models: tuple[str, ...]) -> AsyncIterator[list[TestReplica]]:
    """One replica per tuple of models."""
    fleet = [TestReplica(models=names) for names in models]
    try:
        for replica in fleet:
            await replica.start()
        yield fleet
    finally:
        for replica in fleet:
            replica.gate.set()
            await replica.stop()


@contextlib.asynccontextmanager
async def router(
    folder: Path, answer: Callable[[bytes], pb.ProcessingResponse | None], name: str = "router"
) -> AsyncIterator[tuple[TestRouter, str]]:
    """A router on a unix socket, with its target."""
    target = f"unix:{folder}/{name}.sock"
    server = TestRouter(answer)
    await server.start(target)
    try:
        yield server, target
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def gateway(
    fleet: list[TestReplica], *targets: str, **plan: object
) -> AsyncIterator[tuple[EnvoyProcess, aiohttp.ClientSession]]:
    """A running Envoy and a client whose relative URLs go to it."""
    chosen = EnvoyPlan(
        endpoints=tuple(replica.endpoint for replica in fleet),
        ext_proc_targets=targets or ("unix:/nonexistent/router.sock",),
        **{"timeouts": QUICK, **plan},
    )
    async with EnvoyProcess(render_bootstrap(chosen)) as envoy:
        host, port = envoy.listener_address()
        connector = aiohttp.TCPConnector(limit=0)
        if targets:  # a first check that a busy machine made late leaves them out for a while
            await eventually_stat(envoy, "cluster.ext_proc.membership_healthy", len(targets))
        async with aiohttp.ClientSession(f"http://{host}:{port}", connector=connector) as client:
            yield envoy, client


async def ask(client: aiohttp.ClientSession, model: str = "m", **options: object) -> dict:
    """One completion; the status and retry-after join the answer's fields."""
    async with client.post("/v1/completions", json={"model": model}, **options) as response:
        answer = await response.json(content_type="application/json")
        retry_after = response.headers.get("retry-after")
        return {**answer, "status": response.status, "retry_after": retry_after}


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; the test fails when it never does."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # what is waited for happens in Envoy
            await asyncio.sleep(0.01)


async def eventually_stat(envoy: EnvoyProcess, name: str, value: int) -> None:
    """Wait until one of Envoy's counters or gauges has this value."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await envoy.stats(name))[name] != value:  # happens in Envoy
            await asyncio.sleep(0.05)
