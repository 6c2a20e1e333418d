"""Metering behind a real Envoy: ends by access log, usage from bodies, metadata in Envoy's log."""

import asyncio
import contextlib
import json

import aiohttp
import pytest
import yaml
from extproc_harness import until
from sim_vllm_harness import running_fleet
from stack_files import exporter_urls, write_fleet
from stack_harness import CHAT, TIMEOUTS, chat_body, three_h100

from headrace.envoy_command import endpoints
from headrace.envoy_config import EnvoyPlan, render_bootstrap
from headrace.envoy_plan import EnvoyBodyMode
from headrace.envoy_process import EnvoyOptions, EnvoyProcess
from headrace.serve_file import load_serve
from headrace.service import Service

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Bench:
    def __init__(self, folder, service, client):
        self.folder, self.service, self.client = folder, service, client

    async def ask(self, **fields):
        headers = {"x-request-id": "mine", "x-headrace-tenant": "team-a", "traceparent": TRACE}
        async with self.client.post(CHAT, json=chat_body(**fields), headers=headers) as answer:
            assert answer.status == 200
            return await answer.read()

    async def until_routed(self):
        """Envoy's workers have heard that the router is healthy: it is the router that refuses."""
        for _ in range(200):
            async with self.client.post(CHAT, data=b"{") as answer:
                if (await answer.json())["error"]["code"] == "invalid_json":
                    return
            await asyncio.sleep(0.05)
        raise AssertionError("requests do not reach the router")

    async def records(self, count):
        """The access records, once there are that many; refusals have none."""
        path = self.folder / "records.jsonl"

        def are_written():
            self.service.metering.tick()
            return path.exists() and path.read_bytes().count(b"\n") >= count

        await until(are_written)
        return [json.loads(line) for line in path.read_text().splitlines()]


def envoy_log(folder):
    """The routed requests in Envoy's own log, which it writes at its end at the latest."""
    lines = (folder / "envoy-access.json").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["status"] == 200]


@contextlib.asynccontextmanager
async def running(folder, *, body_mode=EnvoyBodyMode.BUFFERED, with_access_log=False):
    """Simulated replicas and the service in this process, Envoy beside it."""
    async with contextlib.AsyncExitStack() as stack:
        sim = await stack.enter_async_context(running_fleet(*three_h100()))
        write_fleet(folder, sim)
        config = {
            "fleet": "fleet.yaml",
            "ext_proc": {"unix_socket": str(folder / "x.sock"), "drain_seconds": 1.0},
            "admin": {"port": 0},
            "telemetry": {"scrape": {"interval_seconds": 0.2, "exporter_urls": exporter_urls(sim)}},
            "metering": {
                "access_record_path": str(folder / "records.jsonl"),
                "carbon_intensity_grams_per_kwh": 400.0,
            },
        } | ({"access_log": {"port": 0}} if with_access_log else {})
        (folder / "serve.yaml").write_text(yaml.safe_dump(config))
        section, fleet = load_serve(folder / "serve.yaml")
        service = await stack.enter_async_context(Service(section, fleet))
        target = f"127.0.0.1:{service.access_log.port}" if with_access_log else None
        plan = EnvoyPlan(
            endpoints=endpoints(fleet),
            ext_proc_targets=(f"unix:{folder / 'x.sock'}",),
            access_log_path=str(folder / "envoy-access.json"),
            access_log_target=target,
            body_mode=body_mode,
            timeouts=TIMEOUTS,
        )
        envoy = await stack.enter_async_context(
            EnvoyProcess(render_bootstrap(plan), EnvoyOptions(log_path=folder / "envoy.log"))
        )
        client = await stack.enter_async_context(
            aiohttp.ClientSession("http://{}:{}".format(*envoy.listener_address()))
        )
        bench = Bench(folder, service, client)
        await until(lambda: watts_known(service))
        await bench.until_routed()
        yield bench


def watts_known(service):
    snapshot = service.snapshots.current
    signals = [snapshot.of(replica.address) for replica in snapshot.fleet.replicas()]
    return all("power_watts" in {kind.value for kind in found} for found in signals)


async def test_the_access_log_ends_requests_whose_stream_ended_at_the_headers(tmp_path):
    async with running(tmp_path, with_access_log=True) as bench:
        ledger, completions = bench.service.picker.ledger, bench.service.metering.completions
        answer = asyncio.create_task(bench.ask(stream=True, max_tokens=400))
        await until(lambda: completions.awaited == 1)
        assert ledger.running() == 1  # the stream is over, the request is not
        await answer
        [record] = await bench.records(1)
        assert ledger.running() == 0
        assert (completions.matched, completions.expired) == (1, 0)
    [line] = envoy_log(tmp_path)
    assert record["response_seen"] == "access-log"
    assert record["status"] == 200
    assert 0.0 < record["ttfb_seconds"] < record["duration_seconds"]
    assert (record["request_id"], record["tenant"]) == ("mine", "team-a")
    assert record["trace_id"] == TRACE.split("-")[1]
    assert record["replica"] == line["upstream_host"]
    assert record["joules"] > line["energy_joules"] >= 0.0  # told at the headers, hence less


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_is_read_from_bodies_and_energy_told_to_envoys_log(tmp_path, stream):
    async with running(tmp_path, body_mode=EnvoyBodyMode.FULL_DUPLEX) as bench:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        answer = await bench.ask(stream=stream, max_tokens=60, **options)
        [record] = await bench.records(1)
    [line] = envoy_log(tmp_path)
    usage = last_usage(answer) if stream else json.loads(answer)["usage"]
    assert record["tokens_source"] == "response"
    assert record["prompt_tokens"] == usage["prompt_tokens"]
    assert record["output_tokens"] == usage["completion_tokens"]
    assert (record["ttft_seconds"] is not None) == stream
    assert record["response_seen"] == "body"
    assert line["energy_method"] == record["method"] == "prorated-measured"
    assert line["energy_joules"] == pytest.approx(record["joules"], rel=0.5)
    assert line["energy_grams_co2e"] == pytest.approx(line["energy_joules"] * 400.0 / 3.6e6)


async def test_without_bodies_or_access_log_the_end_of_the_stream_is_the_end(tmp_path):
    async with running(tmp_path) as bench:
        await asyncio.gather(*(bench.ask(max_tokens=40) for _ in range(6)))
        records = await bench.records(6)
        account = bench.service.metering.to_dict()
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{bench.service.admin.port}/debug/energy") as answer,
        ):
            shown = await answer.json()
    assert {record["response_seen"] for record in records} == {"nothing"}
    assert account["requests_in_flight"] == 0
    assert sum(record["joules"] for record in records) == pytest.approx(
        account["own_busy_joules"], rel=1e-9
    )
    assert shown["request_joules"] == pytest.approx(account["request_joules"])


def last_usage(stream):
    chunks = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: {")]
    return json.loads(chunks[-1])["usage"]
