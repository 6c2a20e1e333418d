"""The simulated vLLM over real sockets: what an OpenAI client sees of it."""

import asyncio
import json

import aiohttp
import pytest
from sim_vllm_harness import (
    CHAT,
    chat,
    events,
    eventually,
    fleet_of,
    openai_client,
    post,
    replica,
    samples,
    url,
    value,
)


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def fleet():
    async with fleet_of(replica()) as fleet:
        yield fleet


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
