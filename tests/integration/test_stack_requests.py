"""Requests through the whole product: what clients get, what the ledger keeps, who decides."""

import asyncio
import io
import json
from collections import Counter

import openai
import pytest
import pytest_asyncio
from multidict import CIMultiDict
from stack_files import MODEL, OTHER_MODEL
from stack_harness import CHAT, DEADLINE_SECONDS, chat_body, error_of, replica, running_stack
from telemetry_harness import until

from loadtest.arrivals import azure_like
from loadtest.client import ReplayOptions, replay
from loadtest.outcome import summarise

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

MIXED = (
    replica("a100-0", "A100"),
    replica("h100-0", "H100", (MODEL, OTHER_MODEL)),
    replica("h100-1", "H100"),
    replica("b200-0", "B200", (OTHER_MODEL,)),
)
DESTINATION = "x-gateway-destination-endpoint"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory):
    async with running_stack(tmp_path_factory.mktemp("stack"), MIXED) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def client(stack):
    async with stack.openai() as client:
        yield client


def messages(text="Why do turbines need a headrace?"):
    return [{"role": "user", "content": text}]


# What clients get


async def test_the_openai_client_chats_in_one_piece_and_as_a_stream(client, stack):
    options = {
        "model": MODEL,
        "messages": messages(),
        "max_tokens": 24,
        "extra_body": {"ignore_eos": True},
    }
    whole = await client.chat.completions.create(**options)
    stream = await client.chat.completions.create(
        **options, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert whole.usage.completion_tokens == 24
    assert chunks[-1].usage.completion_tokens == 24
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 8
    await stack.settled()


async def test_every_openai_endpoint_is_routed(client, stack):
    before = await stack.picks_total()
    completion = await client.completions.create(model=MODEL, prompt="Water", max_tokens=5)
    response = await client.responses.create(model=MODEL, input="Water", max_output_tokens=5)
    embeddings = await client.embeddings.create(model=MODEL, input=["Water", "Wheel"])

    assert completion.usage.completion_tokens <= 5
    assert response.usage.output_tokens <= 5
    assert len(embeddings.data) == 2
    assert await stack.picks_total() == before + 3
    await stack.settled()


async def test_models_are_the_union_of_what_the_replicas_serve(client):
    assert [model.id async for model in client.models.list()] == [MODEL, OTHER_MODEL]
    assert (await client.models.retrieve(OTHER_MODEL)).id == OTHER_MODEL
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


async def test_each_model_is_served_by_its_own_replicas(stack):
    before = stack.finished()
    answers = await asyncio.gather(
        *(stack.ask(chat_body(model=(MODEL, OTHER_MODEL)[k % 2], salt=f"{k} ")) for k in range(40))
    )

    assert [status for status, _, _ in answers] == [200] * 40
    assert Counter(content["model"] for *_, content in answers) == {MODEL: 20, OTHER_MODEL: 20}
    served = {name: now - before[name] for name, now in stack.finished().items()}
    assert sum(served.values()) == 40
    assert served["a100-0"] + served["h100-1"] <= 20
    assert served["b200-0"] <= 20


# Bad input


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"{not json", None, "invalid_json"),
        (b"", None, "invalid_json"),
        (b'"a string"', None, "invalid_type"),
        (b"[1, 2]", None, "invalid_type"),
        (b'{"model": "\xff"}', None, "invalid_json"),
        ({"messages": []}, "model", "missing_required_parameter"),
        ({"model": "", "messages": []}, "model", "invalid_value"),
        ({"model": 7, "messages": []}, "model", "invalid_type"),
        ({"model": None, "messages": []}, "model", "invalid_type"),
        ({"model": MODEL, "max_tokens": "many"}, "max_tokens", "invalid_type"),
        ({"model": MODEL, "max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"model": MODEL, "stream": "yes"}, "stream", "invalid_type"),
    ],
    ids=repr,
)
async def test_a_body_that_is_no_request_is_400_in_openais_form(stack, body, param, code):
    before = stack.finished()
    status, headers, content = await stack.ask(body, headers={"content-type": "application/json"})

    assert status == 400
    assert "retry-after" not in headers
    error = error_of(content)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert stack.finished() == before


@pytest.mark.parametrize(
    "wrong", [{"model": 7}, {"max_tokens": "many"}, {"stream": "yes"}], ids=repr
)
async def test_a_bad_body_is_the_openai_clients_bad_request_error(client, wrong):
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=MODEL, messages=messages(), extra_body=wrong)
    assert caught.value.param == next(iter(wrong))


async def test_an_unknown_model_is_404_and_tells_none_of_the_internals(client, stack):
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-9", messages=messages())
    status, headers, content = await stack.ask(chat_body(model="gpt-9"))

    assert (status, caught.value.code, error_of(content)["code"]) == (404, *["model_not_found"] * 2)
    assert error_of(content)["param"] == "model"
    told = json.dumps([content, dict(headers)]).lower()
    internals = [*stack.fleet.addresses.values(), *stack.names, MODEL, "127.0.0.1", "backend"]
    assert [word for word in internals if word in told] == []


async def test_a_body_above_64_mebibytes_is_413_and_reaches_no_engine(stack):
    before = stack.finished()
    head, tail = b'{"model":"llama","messages":[{"role":"user","content":"', b'"}]}'
    body = head + b"x" * (64 * 2**20 + 1 - len(head) - len(tail)) + tail
    async with (
        asyncio.timeout(DEADLINE_SECONDS),
        stack.client.post(CHAT, data=io.BytesIO(body)) as answer,
    ):
        assert answer.status == 413
        assert error_of(await answer.json())["code"] == "request_too_large"
    assert stack.finished() == before
    await stack.settled()


# Clients that hang up


async def test_a_client_that_hangs_up_mid_stream_frees_ledger_and_engine(stack):
    before = stack.fleet.totals().fleet.aborted_requests
    answers = [await stack.open_stream(max_tokens=6000, salt=f"{k} ") for k in range(3)]
    assert sum((await stack.in_flight()).values()) == 3

    for answer in answers:
        answer.close()

    await stack.settled()
    assert stack.fleet.totals().fleet.aborted_requests == before + 3


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_before_the_first_byte_frees_ledger_and_engine(stack, stream):
    # Frozen engines take requests and answer headers of streams, but never give a token.
    engines = [stack.fleet.server(name).replica for name in stack.names]
    before = stack.fleet.totals().fleet.aborted_requests
    for engine in engines:
        engine.freeze()
    try:
        asking = [
            asyncio.create_task(stack.ask(chat_body(stream=stream, salt=f"{k} "))) for k in range(3)
        ]
        await stack.until_in_flight(3)

        async def all_have_arrived():
            return stack.engines_busy() == 3

        await until(all_have_arrived)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

        await stack.settled()
    finally:
        for engine in engines:
            engine.thaw()
    assert stack.fleet.totals().fleet.aborted_requests == before + 3


# Clients that try to steer


def steering_headers(address):
    """Every way to name a destination that a client has."""
    pairs = [
        (DESTINATION, address),
        (DESTINATION.title(), address),
        (DESTINATION.upper(), address),
        (f"{DESTINATION}-subset", address),
        (f"{DESTINATION}-served", address),
        ("X-Envoy-Original-Dst-Host", address),
        ("x-envoy-upstream-alt-stat-name", address),
        ("envoy.lb", json.dumps({DESTINATION: address})),
        ("envoy.lb.subset_hint", json.dumps({f"{DESTINATION}-subset": [address]})),
    ]
    return CIMultiDict(pairs)


async def test_a_client_does_not_steer_while_the_router_decides(stack):
    """Asked one after the other, an idle fleet is packed; the client wants one that is left out."""
    asked = 30
    for _ in range(3):
        await stack.ask()
    packed = await stack.last_picks(3)
    wanted = next(name for name in ("a100-0", "h100-0", "h100-1") if packed[name] == 0)
    before = stack.finished()
    for _ in range(asked):
        status, headers, _ = await stack.ask(
            headers=steering_headers(stack.fleet.addresses[wanted])
        )
        assert status == 200
        assert not [name for name in headers if name.lower().startswith(DESTINATION)]

    served = {name: now - before[name] for name, now in stack.finished().items()}
    assert served[wanted] < asked / 2
    assert +Counter(served) == await stack.last_picks(asked)


async def test_a_client_does_not_steer_while_the_router_is_away(stack):
    asked = 60
    wanted = "a100-0"
    before = stack.finished()
    await stack.kill_router()
    try:
        await stack.until_envoy_sees(healthy_replicas=len(MIXED), routers=0)
        for _ in range(asked):
            status, *_ = await stack.ask(headers=steering_headers(stack.fleet.addresses[wanted]))
            assert status == 200
    finally:
        await stack.lane.start_router()
        await stack.until_envoy_sees(healthy_replicas=len(MIXED))

    served = {name: now - before[name] for name, now in stack.finished().items()}
    # Two random choices of three equal replicas: a third each. Steered it would be all.
    assert 0 < served[wanted] < asked / 2
    assert sum(served.values()) == asked


# Who decides


async def arm(folder, policy):
    """The same light load under a policy; where its tokens came from, and at what energy."""
    arrivals = azure_like(50, requests_per_second=8.0, seed=3, models={MODEL: 1.0})
    short = [it._replace(output_tokens=min(it.output_tokens, 120)) for it in arrivals]
    folder.mkdir()
    replicas = [
        replica(f"{accelerator.lower()}-{index}", accelerator)
        for accelerator in ("A100", "H100", "B200")
        for index in range(2)
    ]
    async with running_stack(folder, replicas, policy=policy, time_scale=1.0) as stack:
        before = stack.fleet.totals()
        outcomes = await replay(
            short,
            base_url=stack.lane.base_url,
            options=ReplayOptions(max_tokens=512),
        )
        await stack.settled()
        spent = stack.fleet.totals() - before
        picks = await stack.last_picks(len(short))
    return summarise(outcomes), spent, picks


async def test_dispatch_packs_and_saves_joules_where_least_request_spreads(tmp_path):
    ours, theirs = await asyncio.gather(
        arm(tmp_path / "ours", "dispatch"), arm(tmp_path / "theirs", "least-request")
    )

    for summary, spent, picks in (ours, theirs):
        assert (summary.failed, summary.completed) == (0, 50)
        served = {name: totals.finished_requests for name, totals in spent.replicas.items()}
        assert +Counter(served) == picks  # every pick was followed, to the letter
    packed, spread = ([count for _, count in picks.most_common()] for _, _, picks in (ours, theirs))
    assert sum(packed[:2]) >= 0.9 * 50
    assert len(spread) == 6
    assert max(spread) <= 0.4 * 50
    our_spent, their_spent = ours[1].fleet, theirs[1].fleet
    assert our_spent.generation_tokens == their_spent.generation_tokens
    assert our_spent.dynamic_joules < 0.7 * their_spent.dynamic_joules


async def test_a_request_for_a_path_of_no_endpoint_gets_the_replicas_own_answer(stack):
    async with stack.client.get("/version") as answer:
        assert answer.status == 200
    async with stack.client.post("/v1/nothing", json=chat_body()) as answer:
        assert answer.status == 404
    await stack.settled()
