"""Prompts, replies, sensors and clock of the simulated fleet, whatever goes in."""

import itertools
import json
import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from loadtest.exposition import Family, Histogram, label_set
from loadtest.gpu_sensor import GpuSensor, board_gain
from loadtest.kv_blocks import BlockPool
from loadtest.openai_replies import ChatStream, CompletionStream, Reply, ResponsesStream, Usage
from loadtest.openai_wire import (
    WireError,
    parse_chat,
    parse_completion,
    parse_embeddings,
    parse_responses,
)
from loadtest.prompts import (
    block_hashes,
    chat_content_of_tokens,
    output_length,
    text_of_tokens,
    text_prompt,
    token_count,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "messages", "prompt", "input", "role", "content", "stream"])
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(tokens=st.integers(2, 20_000), salt=st.text(st.characters(codec="ascii"), max_size=50))
def test_a_made_prompt_counts_exactly_the_wanted_tokens(tokens, salt):
    assert token_count(text_of_tokens(tokens, salt=salt).encode()) == tokens
    if tokens > 2:
        messages = [{"role": "user", "content": chat_content_of_tokens(tokens, salt=salt)}]
        assert parse_chat(json.dumps({"messages": messages}).encode()).prompt.tokens == tokens


@given(shared=st.text(max_size=600), left=st.text(max_size=300), right=st.text(max_size=300))
def test_prompts_share_the_hashes_of_their_common_blocks_and_no_others(shared, left, right):
    prompts = [text_prompt(shared + rest) for rest in (left, right)]
    hashes = [block_hashes(prompt, block_tokens=16) for prompt in prompts]
    for prompt, found in zip(prompts, hashes, strict=True):
        assert len(found) == prompt.tokens // 16
        assert len(set(found)) == len(found)
    contents = [prompt.content for prompt in prompts]
    for index, pair in enumerate(zip(*hashes, strict=False)):
        end = (index + 1) * 16 * 42 // 10
        assert (pair[0] == pair[1]) == (contents[0][:end] == contents[1][:end])


@given(
    text=st.text(max_size=50),
    limit=st.integers(1, 5000),
    min_tokens=st.integers(0, 5000),
    ignore_eos=st.booleans(),
)
def test_an_answer_is_never_longer_than_its_limit_nor_empty(text, limit, min_tokens, ignore_eos):
    length, reason = output_length(
        text_prompt(text), limit_tokens=limit, min_tokens=min_tokens, ignore_eos=ignore_eos
    )
    assert min(limit, max(min_tokens, 1)) <= length <= limit
    assert (reason == "length") == (length == limit)
    assert not ignore_eos or length == limit


def test_drawn_answers_have_the_declared_mean():
    lengths = [
        output_length(text_prompt(f"{n}"), limit_tokens=10**6, min_tokens=0, ignore_eos=False)[0]
        for n in range(4000)
    ]
    assert abs(sum(lengths) / len(lengths) - 211) < 15


PARSERS = (parse_chat, parse_completion, parse_responses, parse_embeddings)


def refusals(body):
    """What each parser refuses a body with; any other exception fails the test."""
    for parse in PARSERS:
        try:
            parse(body)
        except WireError as error:
            yield error


@given(value=json_values | st.dictionaries(st.text(max_size=3), json_values))
def test_any_json_is_a_job_or_a_400(value):
    for error in refusals(json.dumps(value).encode()):
        assert error.status == json.loads(error.body())["error"]["code"] == 400


@given(body=st.binary(max_size=60))
def test_any_bytes_are_a_job_or_a_400(body):
    assert all(error.status == 400 for error in refusals(body))


@given(
    stream=st.sampled_from([ChatStream, CompletionStream, ResponsesStream]),
    cuts=st.sets(st.integers(1, 39)),
    request_id=st.text(max_size=12),
    model=st.text(max_size=12) | st.just("@TEXT@"),
    include_usage=st.booleans(),
)
def test_any_split_of_an_answer_gives_valid_events_with_the_same_text(
    stream, cuts, request_id, model, include_usage
):
    reply = Reply(request_id, model, 1_700_000_000, include_usage)
    writer = stream(reply)
    edges = [0, *sorted(cuts), 40]
    body = writer.opening()
    for first, last in itertools.pairwise(edges[:-1]):
        body += writer.tokens(first + 1, last)
    body += writer.closing(edges[-2] + 1, 40, "stop", Usage(3, 40, 0))
    payloads = [
        json.loads(line.removeprefix("data: "))
        for line in body.decode().split("\n")
        if line.startswith("data: ") and line != "data: [DONE]"
    ]
    text = "".join(_delta(payload) for payload in payloads)
    assert text == "".join(f" {index}" for index in range(1, 41))
    if stream is not ResponsesStream:
        assert all(payload["model"] == model for payload in payloads)
        assert ("usage" in payloads[-1]) == include_usage
        assert body.endswith(b"data: [DONE]\n\n")


def _delta(payload):
    if payload.get("type") == "response.output_text.delta":
        return payload["delta"]
    for choice in payload.get("choices", []):
        return choice["text"] if "text" in choice else choice["delta"].get("content", "")
    return ""


@given(
    steps=st.lists(
        st.tuples(st.floats(0.01, 3.0), st.floats(50.0, 700.0)), min_size=1, max_size=60
    ),
    gain=st.floats(0.95, 1.05),
)
def test_a_sensor_reports_a_mean_of_the_true_watts_and_all_of_the_joules(steps, gain):
    sensor = GpuSensor(idle_watts=100, full_watts=700, gain=gain, now_seconds=0.0, joules=0.0)
    now = joules = 0.0
    for seconds, watts in steps:
        now += seconds
        joules += seconds * watts
        sensor.sample(now_seconds=now, joules=joules)
        assert 30.0 < sensor.temperature_celsius <= 75.0 + 1e-9
    true_watts = [watts for _, watts in steps]
    assert min(true_watts) * gain <= sensor.power_watts * (1 + 1e-9)
    assert sensor.power_watts <= max(true_watts) * gain * (1 + 1e-9)
    assert math.isclose(sensor.energy_joules, joules * gain)


def test_a_sensor_forgets_what_is_older_than_its_window_and_warms_slowly():
    sensor = GpuSensor(idle_watts=100, full_watts=700, gain=1.0, now_seconds=0.0, joules=0.0)
    cold = sensor.temperature_celsius
    joules = 0.0
    for tick in range(1, 1001):
        joules += 0.1 * (700 if tick > 20 else 100)
        sensor.sample(now_seconds=tick / 10, joules=joules)
        if tick == 25:
            assert sensor.power_watts == (5 * 700 + 5 * 100) / 10
            assert cold < sensor.temperature_celsius < cold + 5
        if tick == 40:
            assert math.isclose(sensor.power_watts, 700)
    assert 74 < sensor.temperature_celsius <= 75


@given(uuid=st.text(max_size=40), seed=st.integers(), spread=st.floats(0.0, 0.05))
def test_a_board_has_one_gain_within_the_spread(uuid, seed, spread):
    gain = board_gain(uuid, seed=seed, spread_ratio=spread)
    assert gain == board_gain(uuid, seed=seed, spread_ratio=spread)
    assert 1 - spread <= gain <= 1 + spread


@given(
    values=st.lists(st.tuples(st.floats(0, 1e4), st.integers(1, 50)), max_size=30),
    label=st.text(max_size=10),
)
def test_a_histogram_reads_back_as_it_was_filled_whatever_its_labels(values, label):
    histogram = Histogram((0.5, 10.0, 100.0))
    for value, times in values:
        histogram.observe(value, times=times)
    family = Family("x_seconds", "histogram", "Text.")
    text = family.header() + family.histogram(label_set({"label": label}), histogram)
    (parsed,) = text_string_to_metric_families(text)
    found = {
        (sample.name, sample.labels.get("le")): sample.value
        for sample in parsed.samples
        if sample.labels["label"] == label
    }
    count = sum(times for _, times in values)
    assert found["x_seconds_count", None] == found["x_seconds_bucket", "+Inf"] == count
    for edge in (0.5, 10.0, 100.0):
        within = sum(times for value, times in values if value <= edge)
        assert found["x_seconds_bucket", str(edge)] == within


@given(
    takes=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=40),
    total=st.integers(1, 20),
)
def test_a_pool_never_promises_more_blocks_than_it_has(takes, total):
    pool = BlockPool(total)
    requests = []
    for blocks, family in takes:
        hashes = [family * 100 + index for index in range(blocks)]
        matching = pool.matching_blocks(hashes)
        assert matching <= blocks
        pool.hold(hashes[:matching])
        held = hashes[:matching]
        if pool.take(blocks - matching):
            plain = blocks - matching
            for block_hash in hashes[matching:]:
                if pool.remember(block_hash):
                    plain -= 1
                    held.append(block_hash)
            requests.append((plain, held))
        else:
            pool.release(plain_blocks=0, held=held)
            if requests:
                plain, old = requests.pop(0)
                pool.release(plain_blocks=plain, held=old)
        assert 0 <= pool.used_blocks <= total
        assert pool.plain_blocks + pool.cached_blocks <= total
    for plain, held in requests:
        pool.release(plain_blocks=plain, held=held)
    assert pool.used_blocks == 0
    pool.forget()
    assert pool.cached_blocks == 0
