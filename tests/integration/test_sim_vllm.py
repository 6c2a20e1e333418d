"""The simulated vLLM over real sockets: what a client, a scraper and a fault test see of it."""

import asyncio
import json
import math
import signal
import sys
import time
from contextlib import asynccontextmanager

import aiohttp
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from loadtest.exposition import SENTINEL, MetricsFault
from loadtest.prompts import chat_content_of_tokens, text_of_tokens
from loadtest.sim_fleet import FleetSpec, ReplicaSpec, SimFleet, SpecError

CHAT = "/v1/chat/completions"


@asynccontextmanager
async def fleet_of(*replicas, time_scale=20.0, sensor_gain_spread_ratio=0.0, **shared):
    """A running fleet with exact sensors, twenty times faster than life."""
    spec = FleetSpec(
        replicas=replicas,
        time_scale=time_scale,
        sensor_gain_spread_ratio=sensor_gain_spread_ratio,
        **shared,
    )
    fleet = SimFleet(spec)
    await fleet.start()
    try:
        yield fleet
    finally:
        await fleet.stop()


def replica(name="a", accelerator="H100", models=("llama",), **settings):
    return ReplicaSpec(name=name, accelerator=accelerator, models=models, **settings)


def url(fleet, path, name="a"):
    return f"http://{fleet.addresses[name]}{path}"


def chat(tokens=100, *, salt="", max_tokens=20, **fields):
    content = chat_content_of_tokens(tokens, salt=salt)
    message = {"role": "user", "content": content}
    return {"model": "llama", "messages": [message], "max_tokens": max_tokens, **fields}


def openai_client(fleet, name="a"):
    return openai.AsyncOpenAI(base_url=url(fleet, "/v1", name), api_key="none", max_retries=0)


async def post(session, fleet, path, body, name="a", **kwargs):
    async with session.post(url(fleet, path, name), json=body, **kwargs) as response:
        return response.status, await response.json(), response.headers


async def events(session, fleet, body, path=CHAT, name="a"):
    """The `data:` payloads of a stream, [DONE] as None."""
    async with session.post(url(fleet, path, name), json=body) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = (await response.text()).split("\n\n")
    assert lines.pop() == ""
    payloads = [line.removeprefix("data: ") for line in lines]
    return [None if payload == "[DONE]" else json.loads(payload) for payload in payloads]


async def samples(session, address):
    """{(name, labels): value} and {family: type} of an exposition."""
    async with session.get(f"http://{address}/metrics") as response:
        text = await response.text()
    families = list(text_string_to_metric_families(text))
    values = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    return values, {family.name: family.type for family in families}


def value(values, name, **labels):
    """The one sample of that name whose labels include the given ones."""
    wanted = set(labels.items())
    found = [number for (key, having), number in values.items() if key == name and wanted <= having]
    assert len(found) == 1, (name, labels, found)
    return found[0]


async def eventually(condition):
    """Wait for a condition that another party must bring about; fails after 5 s."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def fleet():
    async with fleet_of(replica()) as fleet:
        yield fleet


# --- OpenAI ---


async def test_a_streamed_chat_has_role_tokens_in_order_finish_usage_and_done(fleet, session):
    body = chat(max_tokens=5, ignore_eos=True, stream=True, stream_options={"include_usage": True})
    *chunks, usage, done = await events(session, fleet, body)
    assert done is None
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    deltas = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:]]
    assert deltas == [" 1", " 2", " 3", " 4", " 5"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * 5 + ["length"]
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "total_tokens": 105,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_a_stream_without_usage_ends_with_its_last_token(fleet, session):
    *_, last, done = await events(session, fleet, chat(max_tokens=3, ignore_eos=True, stream=True))
    assert done is None
    assert last["choices"][0]["delta"]["content"] == " 3"


async def test_stream_interval_sends_the_first_token_at_once_then_every_nth_and_the_last(session):
    async with fleet_of(replica(stream_interval=4)) as fleet:
        body = chat(max_tokens=10, ignore_eos=True, stream=True)
        *chunks, _done = await events(session, fleet, body)
    deltas = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:]]
    assert deltas == [" 1", " 2 3 4 5", " 6 7 8 9", " 10"]


async def test_the_openai_client_chats_both_ways(fleet):
    messages = [{"role": "user", "content": "Where does the water go?"}]
    async with openai_client(fleet) as client:
        whole = await client.chat.completions.create(
            model="llama",
            messages=messages,
            max_completion_tokens=7,
            extra_body={"ignore_eos": True},
        )
        stream = await client.chat.completions.create(
            model="llama",
            messages=messages,
            max_tokens=7,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == " 1 2 3 4 5 6 7"
    assert whole.usage.completion_tokens == 7
    text = "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


async def test_the_openai_client_uses_the_other_routes(fleet):
    async with openai_client(fleet) as client:
        models = await client.models.list()
        completion = await client.completions.create(
            model="llama", prompt=[1, 2, 3], max_tokens=2, extra_body={"ignore_eos": True}
        )
        pieces = await client.completions.create(
            model="llama", prompt="a", max_tokens=2, stream=True, extra_body={"ignore_eos": True}
        )
        texts = [piece.choices[0].text async for piece in pieces]
        embedded = await client.embeddings.create(model="llama", input=["one", "two", "one"])
        floats = await client.embeddings.create(model="llama", input="one", encoding_format="float")
    assert [model.id for model in models.data] == ["llama"]
    assert completion.choices[0].text == " 1 2"
    assert completion.usage.prompt_tokens == 3
    assert texts == [" 1", " 2"]
    vectors = [item.embedding for item in embedded.data]
    assert vectors[0] == vectors[2] == floats.data[0].embedding
    assert vectors[0] != vectors[1]
    assert embedded.usage.prompt_tokens == 3


async def test_the_openai_client_uses_responses_both_ways(fleet):
    async with openai_client(fleet) as client:
        whole = await client.responses.create(
            model="llama", input="Count.", instructions="Be brief.", max_output_tokens=3
        )
        stream = await client.responses.create(
            model="llama",
            input=[{"role": "user", "content": [{"type": "input_text", "text": "Count."}]}],
            max_output_tokens=3,
            stream=True,
        )
        seen = [event async for event in stream]
    assert whole.output_text == " 1 2 3"
    assert whole.status == "incomplete"
    assert whole.usage.output_tokens == 3
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    deltas = [event.delta for event in seen if event.type == "response.output_text.delta"]
    assert deltas == [" 1", " 2", " 3"]
    assert seen[0].type == "response.created"
    assert seen[-1].response.output_text == " 1 2 3"


async def test_without_ignore_eos_the_same_prompt_is_answered_at_the_same_length(fleet, session):
    lengths = []
    for salt in ("x", "y", "x"):
        body = chat(salt=salt, max_tokens=2000)
        _, answer, _ = await post(session, fleet, CHAT, body)
        assert answer["choices"][0]["finish_reason"] == "stop"
        lengths.append(answer["usage"]["completion_tokens"])
    assert lengths[0] == lengths[2] != lengths[1]


async def test_min_tokens_is_a_floor_and_max_tokens_a_ceiling(fleet, session):
    body = chat(max_tokens=400, min_tokens=400)
    _, answer, _ = await post(session, fleet, CHAT, body)
    assert answer["usage"]["completion_tokens"] == 400
    assert answer["choices"][0]["finish_reason"] == "length"


async def test_a_repeated_prompt_reports_its_cached_tokens(fleet, session):
    cached = []
    for _ in range(2):
        _, answer, _ = await post(session, fleet, CHAT, chat(100, max_tokens=1))
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == [0, 96]


async def test_a_longer_chat_finds_the_shorter_one_in_the_cache(fleet, session):
    body = chat(160, max_tokens=1)
    await post(session, fleet, CHAT, body)
    body["messages"] += [
        {"role": "assistant", "content": " 1"},
        {"role": "user", "content": "and then?"},
    ]
    _, answer, _ = await post(session, fleet, CHAT, body)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 160


async def test_every_served_name_and_adapter_is_answered_by_that_name(session):
    async with fleet_of(replica(models=("llama", "alias"), adapters=("lora",))) as fleet:
        for name in ("llama", "alias", "lora"):
            status, answer, _ = await post(session, fleet, CHAT, chat(model=name) | {"model": name})
            assert (status, answer["model"]) == (200, name)
        async with session.get(url(fleet, "/v1/models")) as response:
            cards = (await response.json())["data"]
    assert [card["id"] for card in cards] == ["llama", "alias", "lora"]
    assert [card["parent"] for card in cards] == [None, None, "llama"]


@pytest.mark.parametrize("path", ["/health", "/ping"])
async def test_liveness_routes_answer_nothing_with_200(fleet, session, path):
    async with session.get(url(fleet, path)) as response:
        assert response.status == 200
        assert await response.read() == b""


async def test_version_and_load_are_json(fleet, session):
    async with session.get(url(fleet, "/version")) as response:
        assert "simulated" in (await response.json())["version"]
    async with session.get(url(fleet, "/load")) as response:
        assert await response.json() == {"server_load": 0}


async def test_the_request_id_is_echoed_or_made_up(fleet, session):
    _, answer, headers = await post(
        session, fleet, CHAT, chat(max_tokens=1), headers={"X-Request-Id": "@TEXT@ 7"}
    )
    assert headers["X-Request-Id"] == "@TEXT@ 7"
    assert answer["id"] == "chatcmpl-@TEXT@ 7"
    async with session.get(url(fleet, "/health")) as response:
        assert response.headers["X-Request-Id"]


async def raw_exchange(fleet, request):
    """Send bytes, read until the server closes."""
    host, port = fleet.addresses["a"].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_request_id_that_is_no_text_does_no_harm(fleet):
    body = json.dumps(chat(max_tokens=1)).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}"
    answer = await raw_exchange(fleet, head.encode() + b"\r\nX-Request-Id: \xff\xfe\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_an_http_1_0_client_gets_an_unframed_stream(fleet):
    body = json.dumps(chat(max_tokens=2, ignore_eos=True, stream=True)).encode()
    answer = await raw_exchange(
        fleet, f"POST {CHAT} HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    _head, content = answer.split(b"\r\n\r\n", 1)
    assert content.startswith(b"data: {")
    assert content.endswith(b"data: [DONE]\n\n")


# --- refusals ---


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (CHAT, chat() | {"model": "gpt"}, 404, "`gpt` does not exist"),
        ("/v1/embeddings", {"model": "gpt", "input": "a"}, 404, "`gpt` does not exist"),
        (CHAT, {"model": "llama"}, 400, "messages"),
        (CHAT, chat() | {"messages": []}, 400, "must not be empty"),
        (CHAT, chat(max_tokens=0), 400, "max_tokens must be at least 1"),
        (CHAT, chat(n=2), 400, "n must be 1"),
        (CHAT, chat(17_000), 400, "maximum context length is 16384"),
        ("/v1/completions", {"prompt": ["a", "b"]}, 400, "one text or one list"),
        ("/v1/responses", {"input": "a", "max_output_tokens": -1}, 400, "max_output_tokens"),
        ("/v1/embeddings", {"input": []}, 400, "input must not be empty"),
    ],
)
async def test_a_bad_request_is_refused_in_vllms_error_form(
    fleet, session, path, body, status, words
):
    got, answer, _ = await post(session, fleet, path, body)
    assert got == status
    assert answer["error"]["code"] == status
    assert words in answer["error"]["message"]
    assert answer["error"]["type"] == {400: "BadRequestError", 404: "NotFoundError"}[status]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b""])
async def test_a_body_that_is_no_request_is_a_400(fleet, session, body):
    async with session.post(url(fleet, CHAT), data=body) as response:
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "BadRequestError"


async def test_an_unknown_route_is_a_json_404(fleet, session):
    async with session.get(url(fleet, "/nothing")) as response:
        assert response.status == 404
        assert await response.json() == {"detail": "Not Found"}


async def test_a_full_queue_answers_503_and_counts(session):
    async with fleet_of(replica(max_num_queued_reqs=3), time_scale=1.0) as fleet:
        bodies = [chat(salt=str(number), max_tokens=200, ignore_eos=True) for number in range(8)]
        answers = await asyncio.gather(*(post(session, fleet, CHAT, body) for body in bodies))
        statuses = sorted(status for status, _, _ in answers)
        values, _ = await samples(session, fleet.addresses["a"])
    assert statuses == [200] * 3 + [503] * 5
    assert value(values, "vllm:admission_rejections_total", reason="max_num_queued_reqs") == 5


# --- aborts ---


async def test_a_client_that_hangs_up_aborts_its_request_and_frees_its_blocks(session):
    async with fleet_of(replica(), time_scale=1.0) as fleet:
        engine = fleet.server("a").replica.engine
        body = chat(max_tokens=5000, ignore_eos=True, stream=True)
        async with session.post(url(fleet, CHAT), json=body) as response:
            await response.content.readany()
            assert engine.running == 1
            response.close()
        await eventually(lambda: engine.running == 0)
        totals = fleet.totals().replicas["a"]
        values, _ = await samples(session, fleet.addresses["a"])
    assert totals.aborted_requests == 1
    assert 1 <= totals.generation_tokens < 5000
    assert engine.kv_used_tokens == 0
    assert value(values, "vllm:num_requests_running") == 0
    assert value(values, "vllm:kv_cache_usage_perc") == 0


async def test_a_client_that_hangs_up_on_an_unstreamed_answer_aborts_it_too(session):
    async with fleet_of(replica(), time_scale=1.0) as fleet:
        engine = fleet.server("a").replica.engine
        asking = asyncio.create_task(
            post(session, fleet, CHAT, chat(max_tokens=5000, ignore_eos=True))
        )
        await eventually(lambda: engine.running == 1)
        asking.cancel()
        await eventually(lambda: engine.running == 0)
        assert fleet.totals().fleet.aborted_requests == 1


# --- metrics ---

EXPECTED_TYPES = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:num_requests_waiting_by_reason": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:engine_sleep_state": "gauge",
    "vllm:cache_config_info": "gauge",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:request_success": "counter",
    "vllm:admission_rejections": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:request_prefill_time_seconds": "histogram",
    "vllm:request_decode_time_seconds": "histogram",
    "vllm:request_prompt_tokens": "histogram",
    "vllm:request_generation_tokens": "histogram",
    "vllm:iteration_tokens_total": "histogram",
}


async def test_the_metrics_have_vllms_names_types_and_labels(fleet, session):
    values, types = await samples(session, fleet.addresses["a"])
    assert EXPECTED_TYPES.items() <= types.items()
    value(values, "vllm:num_requests_running", engine="0", model_name="llama")
    ttft_edges = [
        dict(labels)["le"]
        for name, labels in values
        if name == "vllm:time_to_first_token_seconds_bucket"
    ]
    assert len(ttft_edges) == 23
    assert {"0.001", "0.25", "2560.0", "+Inf"} <= set(ttft_edges)


async def test_the_metrics_add_up_to_what_was_served(fleet, session):
    for number in range(4):
        body = chat(100, salt=str(number % 2), max_tokens=10, ignore_eos=True)
        await post(session, fleet, CHAT, body)
    values, _ = await samples(session, fleet.addresses["a"])
    totals = fleet.totals().replicas["a"]
    assert totals.finished_requests == 4
    assert value(values, "vllm:prompt_tokens_total") == totals.prompt_tokens == 400
    assert value(values, "vllm:generation_tokens_total") == totals.generation_tokens == 40
    assert value(values, "vllm:prefix_cache_queries_total") == 400
    assert value(values, "vllm:prefix_cache_hits_total") == totals.cached_prompt_tokens == 192
    assert value(values, "vllm:request_success_total", finished_reason="length") == 4
    assert value(values, "vllm:request_success_total", finished_reason="abort") == 0
    for name, count in {
        "time_to_first_token_seconds": 4,
        "inter_token_latency_seconds": 36,
        "e2e_request_latency_seconds": 4,
        "request_prompt_tokens": 4,
    }.items():
        assert value(values, f"vllm:{name}_count") == count
        assert value(values, f"vllm:{name}_bucket", le="+Inf") == count
    assert value(values, "vllm:request_generation_tokens_sum") == 40
    assert value(values, "vllm:iteration_tokens_total_sum") == 400 - 192 + 40
    # Ten tokens of an otherwise idle H100: the latencies are those of the truth, not of this host.
    gap_seconds = value(values, "vllm:inter_token_latency_seconds_sum") / 36
    assert gap_seconds == pytest.approx(0.00676, rel=0.01)
    assert value(values, "vllm:request_decode_time_seconds_sum") == pytest.approx(36 * gap_seconds)


async def test_running_adapters_are_named_while_they_run(session):
    async with fleet_of(replica(adapters=("lora",)), time_scale=1.0) as fleet:
        engine = fleet.server("a").replica.engine
        body = chat(max_tokens=5000, ignore_eos=True, stream=True) | {"model": "lora"}
        async with session.post(url(fleet, CHAT), json=body):
            await eventually(lambda: engine.running == 1)
            values, _ = await samples(session, fleet.addresses["a"])
    assert value(values, "vllm:lora_requests_info", running_lora_adapters="lora", max_lora="1") > 0


@pytest.mark.parametrize("fault", MetricsFault)
async def test_metrics_can_be_broken_and_mended(fleet, session, fault):
    server = fleet.server("a")
    board = fleet.spec.replicas[0].board_uuid
    exporter = fleet.exporter("node-0")
    server.metrics_fault = exporter.faults[board] = fault
    values, _ = await samples(session, fleet.addresses["a"])
    watts, _ = await samples(session, fleet.exporter_addresses["node-0"])
    found = [number for (name, _), number in values.items() if name == "vllm:num_requests_running"]
    found += [number for (name, _), number in watts.items() if name == "DCGM_FI_DEV_POWER_USAGE"]
    expected = {
        MetricsFault.NAN: lambda: len(found) == 2 and all(map(math.isnan, found)),
        MetricsFault.NEGATIVE: lambda: len(found) == 2 and max(found) < 0,
        MetricsFault.MISSING: lambda: found == [],
        MetricsFault.SENTINEL: lambda: found == [SENTINEL] * 2,
    }
    assert expected[fault](), found
    server.metrics_fault = None
    values, _ = await samples(session, fleet.addresses["a"])
    assert value(values, "vllm:num_requests_running") == 0


# --- energy ---


def energy_joules(fleet, uuid):
    """What the exporter shows right now, without a network in between."""
    name = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
    for family in text_string_to_metric_families(fleet.exporter("node-0").render().decode()):
        for sample in family.samples:
            if family.name == name and sample.labels["UUID"] == uuid:
                return sample.value / 1e3
    raise AssertionError(uuid)


async def test_the_energy_counter_agrees_with_the_ground_truth(session):
    async with fleet_of(replica(), replica("b", "B200"), time_scale=1.0) as fleet:
        uuids = {spec.name: spec.board_uuid for spec in fleet.spec.replicas}
        before = {name: energy_joules(fleet, uuid) for name, uuid in uuids.items()}
        mark = fleet.totals()
        bodies = [chat(salt=str(n), max_tokens=100, ignore_eos=True) for n in range(10)]
        await asyncio.gather(*(post(session, fleet, CHAT, body) for body in bodies))
        after = {name: energy_joules(fleet, uuid) for name, uuid in uuids.items()}
        spent = fleet.totals() - mark
    for name, truth in spent.replicas.items():
        assert after[name] - before[name] == pytest.approx(truth.joules, rel=0.05)
    busy, idle = spent.replicas["a"], spent.replicas["b"]
    assert idle.dynamic_joules == idle.busy_seconds == 0
    assert busy.generation_tokens == 1000
    assert busy.dynamic_joules > busy.busy_seconds * (486.4 - 121.7)
    assert spent.fleet.joules == pytest.approx(busy.joules + idle.joules)
    assert idle.idle_joules == pytest.approx(140.0 * spent.simulated_seconds, rel=0.01, abs=5.0)


async def test_the_exporter_has_dcgms_names_and_labels_for_every_board_of_its_node(session):
    specs = (
        replica("a", "A100", pod="pod-a", namespace="llm", gpu_uuid="GPU-a", node="n1"),
        replica("b", "L40S", node="n1"),
        replica("c", "H200", node="n2"),
    )
    async with fleet_of(*specs) as fleet:
        assert set(fleet.exporter_addresses) == {"n1", "n2"}
        values, types = await samples(session, fleet.exporter_addresses["n1"])
    assert types["DCGM_FI_DEV_POWER_USAGE"] == "gauge"
    assert types["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == "counter"
    assert len([name for name, _ in values if name == "DCGM_FI_DEV_POWER_USAGE"]) == 2
    labels = {
        "UUID": "GPU-a",
        "gpu": "0",
        "device": "nvidia0",
        "pci_bus_id": "00000000:01:00.0",
        "modelName": "NVIDIA A100-SXM4-80GB",
        "Hostname": "n1",
        "pod": "pod-a",
        "namespace": "llm",
        "container": "vllm",
    }
    assert value(values, "DCGM_FI_DEV_SM_CLOCK", **labels) == 1410
    assert value(values, "DCGM_FI_DEV_POWER_USAGE", UUID="GPU-a") == pytest.approx(83.0, rel=0.01)
    assert 30 < value(values, "DCGM_FI_DEV_GPU_TEMP", UUID="GPU-a") < 50


async def test_sensor_gains_differ_by_board_within_five_per_cent(session):
    specs = [replica(f"r{number}") for number in range(6)]
    async with fleet_of(*specs, sensor_gain_spread_ratio=0.05) as fleet:
        values, _ = await samples(session, fleet.exporter_addresses["node-0"])
    watts = [number for (name, _), number in values.items() if name == "DCGM_FI_DEV_POWER_USAGE"]
    gains = [number / 121.7 for number in watts]
    assert all(0.949 < gain < 1.051 for gain in gains)
    assert max(gains) - min(gains) > 0.01


async def test_simulated_durations_do_not_depend_on_the_time_scale(session):
    busy_seconds = []
    for scale in (1.0, 40.0):
        async with fleet_of(replica("a", "B200"), time_scale=scale) as fleet:
            await post(session, fleet, CHAT, chat(max_tokens=60, ignore_eos=True))
            busy_seconds.append(fleet.totals().fleet.busy_seconds)
    assert busy_seconds[0] == pytest.approx(busy_seconds[1])


async def test_a_starved_process_slips_simulated_time_instead_of_running_away(session):
    async with fleet_of(replica(), time_scale=1.0) as fleet:
        asking = asyncio.create_task(
            post(session, fleet, CHAT, chat(max_tokens=100, ignore_eos=True))
        )
        await eventually(lambda: fleet.totals().fleet.generation_tokens > 5)
        time.sleep(0.5)  # noqa: ASYNC251 (starving the loop is the point)
        await asking
        totals = fleet.totals()
    assert totals.slipped_seconds > 0.3
    assert totals.fleet.busy_seconds == pytest.approx(100 * 0.00676, rel=0.05)


# --- faults ---


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


# --- the fleet ---


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
