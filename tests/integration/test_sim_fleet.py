"""The simulated fleet: its faults, its process, its totals."""

import asyncio
import json
import math
import signal
import sys

import aiohttp
import pytest
from sim_vllm_harness import (
    CHAT,
    chat,
    events,
    eventually,
    fleet_of,
    post,
    replica,
    samples,
    url,
    value,
)

from loadtest.prompts import chat_content_of_tokens, text_of_tokens
from loadtest.sim_fleet import SimFleet, SpecError


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def fleet():
    async with fleet_of(replica()) as fleet:
        yield fleet


async def test_a_killed_replica_cuts_its_streams_and_only_those(session):
    async with fleet_of(replica("a"), replica("b"), time_scale=1.0) as fleet:
        body = chat(max_tokens=60, ignore_eos=True, stream=True)
        other = asyncio.create_task(events(session, fleet, body, name="b"))
        long = body | {"max_tokens": 5000}
        async with session.post(url(fleet, CHAT, "a"), json=long) as response:
            await response.content.readany()
            await fleet.server("a").kill()
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url(fleet, "/health", "a"))
        assert len(await other) == 62
        assert fleet.totals().replicas["a"].aborted_requests == 1
        assert fleet.totals().replicas["b"].finished_requests == 1


async def test_a_restarted_replica_keeps_its_port_and_totals_but_not_its_counters(fleet, session):
    server = fleet.server("a")
    address = fleet.addresses["a"]
    await post(session, fleet, CHAT, chat(max_tokens=4, ignore_eos=True))
    await server.kill()
    await server.kill()
    watts, _ = await samples(session, fleet.exporter_addresses["node-0"])
    before = fleet.totals()
    await server.start()
    assert fleet.addresses["a"] == address
    assert value(watts, "DCGM_FI_DEV_SM_CLOCK") == 345
    values, _ = await samples(session, address)
    assert value(values, "vllm:generation_tokens_total") == 0
    _, answer, _ = await post(session, fleet, CHAT, chat(max_tokens=4, ignore_eos=True))
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    totals = fleet.totals()
    assert totals.fleet.generation_tokens == 8
    assert totals.fleet.joules > before.fleet.joules


async def test_a_wedged_replica_accepts_and_never_answers_until_it_goes_on(session):
    async with fleet_of(replica(), time_scale=1.0) as fleet:
        server = fleet.server("a")
        body = chat(max_tokens=50, ignore_eos=True, stream=True)
        streaming = asyncio.create_task(events(session, fleet, body))
        await eventually(lambda: server.replica.engine.counters.generation_tokens > 3)
        server.wedge()
        mark = fleet.totals()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.get(url(fleet, "/health"))
        late = asyncio.create_task(post(session, fleet, CHAT, chat(max_tokens=2)))
        await asyncio.sleep(0.1)
        stalled = fleet.totals() - mark
        assert stalled.fleet.generation_tokens == 0
        assert stalled.fleet.busy_seconds < 0.02
        server.unwedge()
        assert len(await streaming) == 52
        assert (await late)[0] == 200
        # The pause of 0.3 s was the replica's, not a lag of this process to be taken back.
        assert (fleet.totals() - mark).slipped_seconds < 0.25


async def test_a_sleeping_replica_draws_less_and_answers_after_it_wakes(fleet, session):
    async with session.post(url(fleet, "/sleep?level=1")) as response:
        assert response.status == 200
    values, _ = await samples(session, fleet.addresses["a"])
    assert value(values, "vllm:engine_sleep_state", sleep_state="awake") == 0
    assert value(values, "vllm:engine_sleep_state", sleep_state="weights_offloaded") == 1
    mark = fleet.totals()
    asking = asyncio.create_task(post(session, fleet, CHAT, chat(max_tokens=2)))
    await eventually(lambda: fleet.server("a").replica.engine.waiting == 1)
    slept = fleet.totals() - mark
    assert slept.fleet.joules == pytest.approx(71.8 * slept.simulated_seconds, rel=0.05)
    await session.post(url(fleet, "/wake_up"))
    assert (await asking)[0] == 200
    async with session.get(url(fleet, "/is_sleeping")) as response:
        assert await response.json() == {"is_sleeping": False}


async def test_a_replica_with_work_refuses_to_sleep(session):
    async with fleet_of(replica(), time_scale=1.0) as fleet:
        body = chat(max_tokens=5000, ignore_eos=True, stream=True)
        async with session.post(url(fleet, CHAT), json=body) as response:
            await response.content.readany()
            status, answer = await _status_of(session, url(fleet, "/sleep"))
    assert status == 400
    assert "unfinished" in answer["error"]["message"]


async def _status_of(session, address):
    async with session.post(address) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("replicas", "words"),
    [
        ((), "at least one"),
        ((replica("a"), replica("a")), "name must be unique"),
        ((replica(accelerator="H9"),), r"replicas\[0\].accelerator: 'H9' is not one of A100"),
        ((replica(physics="gpt"),), r"replicas\[0\].physics"),
        ((replica(models=()),), "at least one model"),
        ((replica(max_num_seqs=0),), "max_num_seqs must be in"),
    ],
)
def test_an_impossible_fleet_is_refused_naming_the_field(replicas, words):
    with pytest.raises(SpecError, match=words):
        SimFleet(replicas)


async def test_a_taken_port_leaves_nothing_listening(fleet):
    taken = int(fleet.addresses["a"].split(":")[1])
    second = SimFleet([replica("free"), replica("taken", port=taken)])
    with pytest.raises(OSError, match="address"):
        await second.start()
    assert not second.server("free").running


async def start_process(tmp_path, spec):
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest.fleet_control"),
        *("--spec", str(tmp_path / "spec.json"), "--ready-file", str(tmp_path / "ready.json")),
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_fleet_process_serves_totals_takes_faults_and_stops_on_sigterm(tmp_path, session):
    spec = {
        "time_scale": 20,
        "replicas": [
            {"name": "a", "accelerator": "H100", "models": ["llama"]},
            {"name": "b", "accelerator": "A100", "models": ["small"], "physics": "llama-3.2-3b"},
        ],
    }
    process = await start_process(tmp_path, spec)
    try:
        async with asyncio.timeout(20):
            while not (tmp_path / "ready.json").exists():
                assert process.returncode is None
                await asyncio.sleep(0.05)
        ready = json.loads((tmp_path / "ready.json").read_text())
        address, control = ready["replicas"]["a"], f"http://{ready['control']}"
        async with session.post(f"http://{address}{CHAT}", json=chat(max_tokens=2)) as response:
            assert response.status == 200
        async with session.get(f"{control}/totals") as response:
            totals = await response.json()
        assert totals["schema"] == 1
        assert totals["fleet"]["generation_tokens"] == 2
        assert totals["replicas"]["b"]["dynamic_joules"] == 0
        assert totals["fleet"]["joules"] > 0
        async with session.post(f"{control}/replicas/a/kill") as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{address}/health")
        async with session.post(f"{control}/replicas/b/metrics-nan") as response:
            assert response.status == 200
        values, _ = await samples(session, ready["replicas"]["b"])
        running = value(values, "vllm:num_requests_running")
        assert math.isnan(running)
        async with session.post(f"{control}/replicas/c/kill") as response:
            assert response.status == 404
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"replicas": []}, "at least one"),
        ({"replicas": [], "tempo": 3}, "tempo"),
        ({"replicas": [{"name": "a", "accelerator": "H100", "models": 3}]}, "$.replicas[0].models"),
    ],
)
async def test_the_fleet_process_refuses_a_bad_spec_with_one_sentence(tmp_path, spec, words):
    process = await start_process(tmp_path, spec)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert words in errors.decode()
    assert errors.count(b"\n") == 1


def test_a_prompt_of_n_tokens_counts_n_tokens():
    assert len(text_of_tokens(1000)) == 4200
    with pytest.raises(ValueError, match="at least"):
        chat_content_of_tokens(1)
