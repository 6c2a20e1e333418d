"""`headrace serve --workers 2` on TCP: ports of their own, one port for all, logs to the parent."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import grpc
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from envoy.service.ext_proc.v3.external_processor_pb2 import HttpHeaders, ProcessingRequest
from extproc_harness import SERVING, open_stream, request_body, request_headers
from grpc_health.v1 import health_pb2
from prometheus_client.parser import text_string_to_metric_families
from sim_vllm_harness import running_fleet
from stack_files import LONELY_FLEET, MODEL, write_fleet, written
from stack_harness import replica
from telemetry_harness import free_port, until

from router.metering.als import ACCESS_LOG_SERVICE

HEADRACE = Path(sys.executable).with_name("headrace")
DEADLINE_SECONDS = 30.0
WORKERS = 2


class Served:
    """A router of two workers.

    Attributes:
        ready: The ready file when it was first written.
    """

    def __init__(self, process, folder):
        self.process = process
        self._folder = folder
        self.ready = {}

    def read_ready(self) -> dict:
        return json.loads((self._folder / "ready.json").read_text(encoding="utf-8"))

    async def until_ready(self):
        async def listens() -> bool:
            assert self.process.poll() is None, (self._folder / "serve.log").read_text()
            return (self._folder / "ready.json").exists()

        await until(listens, seconds=DEADLINE_SECONDS)
        self.ready = self.read_ready()

        async def serves() -> bool:
            return all(it["ready"] for it in (await self.admin("/debug/workers"))["workers"])

        await until(serves, seconds=DEADLINE_SECONDS)

    async def admin(self, path: str):
        url = f"http://127.0.0.1:{self.ready['admin_port']}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            if path == "/metrics":
                return await answer.text()
            return await answer.json()

    async def metric(self, name: str, **labels) -> float:
        families = text_string_to_metric_families(await self.admin("/metrics"))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def workers_asked(self) -> set[int]:
        picks = (await self.admin("/debug/picks?last=100"))["picks"]
        return {pick["worker"] for pick in picks}


@contextlib.asynccontextmanager
async def served(folder, **sections):
    """Two simulated replicas, and the router as a process."""
    async with contextlib.AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(running_fleet(replica("a"), replica("b")))
        write_fleet(folder, fleet)
        process = start(folder, sections)
        stack.callback(process.wait)
        stack.callback(process.kill)
        router = Served(process, folder)
        await router.until_ready()
        yield router


def start(folder, sections) -> subprocess.Popen:
    config = {
        "fleet": "fleet.yaml",
        "workers": WORKERS,
        "admin": {"port": 0},
        "telemetry": {"scrape": {"interval_seconds": 0.2}},
    } | sections
    written(folder / "serve.yaml", config)
    with (folder / "serve.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(HEADRACE, "serve", "--config", folder / "serve.yaml"),
                *("--ready-file", folder / "ready.json"),
            ],
            stdout=log,
            stderr=log,
        )


@contextlib.asynccontextmanager
async def connected(target):
    """A channel with a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield channel


async def picked(channel, **headers):
    """A stream up to its pick."""
    stream = open_stream(channel)
    await stream.write(request_headers(**headers))
    await stream.read()
    await stream.write(request_body(model=MODEL))
    reply = await stream.read()
    assert reply.WhichOneof("response") == "request_body", reply
    return stream


async def replaced(router, number):
    """End the first worker; another process takes its place."""
    [victim, other] = router.ready["worker_pids"]
    os.kill(victim, number)

    async def is_replaced() -> bool:
        pids = router.read_ready()["worker_pids"]
        return pids[0] not in (None, victim) and pids[1] == other

    await until(is_replaced, seconds=DEADLINE_SECONDS)


async def test_each_listens_on_a_port_of_its_own_and_keeps_it(tmp_path):
    async with served(tmp_path, ext_proc={"port": 0, "drain_seconds": 0}) as router:
        targets = router.ready["ext_proc"]
        assert len(set(targets)) == WORKERS
        for target in targets:
            async with connected(target) as channel:
                stream = await picked(channel)
                await stream.done_writing()
        assert await router.workers_asked() == {0, 1}

        await replaced(router, signal.SIGTERM)  # one by one, for example to give it other cores
        assert router.read_ready()["ext_proc"] == targets
        assert await router.metric("headrace_router_picks_total") == WORKERS
        async with connected(targets[0]) as channel:
            await picked(channel)
            assert await router.metric("headrace_router_picks_total") == WORKERS + 1

        router.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(router.process.wait, DEADLINE_SECONDS) == 0


async def test_one_port_is_shared_and_the_parent_tells_of_health(tmp_path):
    port, health_port = free_port(), free_port()
    ext_proc = {"port": port, "shared_port": True, "health_port": health_port, "drain_seconds": 0}
    async with served(tmp_path, ext_proc=ext_proc) as router:
        target = f"127.0.0.1:{port}"
        assert router.ready["ext_proc"] == [target]
        for _ in range(64):  # the kernel chooses by a hash of the connection
            async with connected(target) as channel:
                stream = await picked(channel)
                await stream.done_writing()
            if await router.workers_asked() == {0, 1}:
                break
        assert await router.workers_asked() == {0, 1}

        async with connected(f"127.0.0.1:{health_port}") as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            assert (await check(health_pb2.HealthCheckRequest())).status == SERVING
            # The parent has gRPC's threads now, and still starts processes.
            await replaced(router, signal.SIGKILL)
            assert (await check(health_pb2.HealthCheckRequest())).status == SERVING

        second = tmp_path / "second"
        second.mkdir()
        (second / "fleet.yaml").write_bytes((tmp_path / "fleet.yaml").read_bytes())
        process = start(second, {"ext_proc": {"port": port, "shared_port": True}})
        assert await asyncio.to_thread(process.wait, DEADLINE_SECONDS) == 2
        assert (second / "serve.log").read_text(encoding="utf-8") == (
            f"ext_proc: cannot listen on 127.0.0.1:{port}: Address already in use.\n"
        )


async def test_an_address_in_use_of_any_worker_is_one_sentence(tmp_path):
    written(tmp_path / "fleet.yaml", LONELY_FLEET)
    path = tmp_path / "x.sock.1"
    path.write_text("not a socket", encoding="utf-8")
    process = start(tmp_path, {"ext_proc": {"unix_socket": str(tmp_path / "x.sock")}})
    assert await asyncio.to_thread(process.wait, DEADLINE_SECONDS) == 2
    lines = (tmp_path / "serve.log").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == f"ext_proc: {path} exists and is not a socket."
    assert not (tmp_path / "ready.json").exists()


async def test_access_logs_end_the_requests_of_whichever_worker_had_them(tmp_path):
    sections = {"ext_proc": {"port": 0, "drain_seconds": 0}, "access_log": {"port": 0}}
    async with served(tmp_path, **sections) as router:
        for number, target in enumerate(router.ready["ext_proc"]):
            async with connected(target) as channel:
                stream = await picked(channel, **{"x-request-id": f"r-{number}"})
                await stream.write(ProcessingRequest(response_headers=HttpHeaders()))
                await stream.read()
                await stream.done_writing()  # as gateways do that show headers and no body
        in_flight = "headrace_router_requests_in_flight"

        async def both_are_held() -> bool:
            return await router.metric(in_flight) == WORKERS

        await until(both_are_held, seconds=DEADLINE_SECONDS)
        assert await router.metric("headrace_router_streams_open") == 0
        await send_logs(router.ready["access_log_port"], "r-0", "r-1", "nobody's")

        async def all_have_ended() -> bool:
            return await router.metric(in_flight) == 0

        await until(all_have_ended, seconds=DEADLINE_SECONDS)
        entries = "headrace_router_access_log_entries_total"
        assert await router.metric(entries, outcome="matched") == WORKERS
        assert await router.metric(entries, outcome="unmatched") == 1
        assert await router.metric(entries, outcome="expired") == 0


async def send_logs(port: int, *request_ids: str) -> None:
    message = StreamAccessLogsMessage()
    for request_id in request_ids:
        entry = HTTPAccessLogEntry()
        entry.request.request_id = request_id
        entry.response.response_code.value = 200
        message.http_logs.log_entry.append(entry)
    async with connected(f"127.0.0.1:{port}") as channel:
        call = channel.stream_unary(
            f"/{ACCESS_LOG_SERVICE}/StreamAccessLogs",
            request_serializer=StreamAccessLogsMessage.SerializeToString,
            response_deserializer=StreamAccessLogsResponse.FromString,
        )
        await call(iter([message]))
