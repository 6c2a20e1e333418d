"""What is read of a body, and what is said of a bad one."""

import msgspec
import pytest

from router.decide.request_facts import Api, BadRequest, RequestFacts, read_request


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/chat/completions", Api.CHAT),
        ("/v1/completions?x=1", Api.COMPLETIONS),
        ("/v1/responses", Api.RESPONSES),
        ("/openai/v1/embeddings/", Api.EMBEDDINGS),
        ("/tokenize", Api.OTHER),
    ],
)
def test_the_path_names_the_api(path, api):
    facts = read_request(path, b'{"model":"m","prompt":"x","input":"y"}')

    assert facts.api is api


def test_a_chat_body_gives_its_facts_without_decoding_the_prompt():
    body = (
        b'{"model":"m","stream":true,"max_tokens":7,"n":2,"unknown":{"a":[1,2]},'
        b'"messages":[{"role":"user","content":"hi"}]}'
    )

    facts = read_request("/v1/chat/completions", body)

    assert facts == RequestFacts(
        model="m",
        api=Api.CHAT,
        stream=True,
        prompt_bytes=len(b'[{"role":"user","content":"hi"}]'),
        max_output_tokens=7,
        choices=2,
        body_bytes=len(body),
    )


def test_the_newer_name_of_the_token_limit_wins():
    facts = read_request(
        "/v1/chat/completions", b'{"model":"m","max_tokens":1,"max_completion_tokens":9}'
    )

    assert facts.max_output_tokens == 9


def test_token_ids_are_counted_exactly():
    facts = read_request("/v1/completions", b'{"model":"m","prompt":[ 1, 22, 333]}')

    assert facts.prompt_tokens == 3


def test_an_image_counts_as_a_declared_size_and_not_as_its_base64():
    image = b"data:image/png;base64," + b"A" * 200_000
    body = (
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"what?"},'
        b'{"type":"image_url","image_url":{"url":"' + image + b'"}}]}]}'
    )

    facts = read_request("/v1/chat/completions", body)

    assert facts.prompt_bytes == len("what?") + 4096


@pytest.mark.parametrize(
    ("body", "param", "code", "says"),
    [
        (b"", None, "invalid_json", "not valid JSON"),
        (b"{", None, "invalid_json", "not valid JSON"),
        (b"\xff\xfe", None, "invalid_json", "not valid JSON"),
        (b"[]", None, "invalid_type", "object"),
        (b"{}", "model", "missing_required_parameter", "model: is required."),
        (b'{"model":""}', "model", "invalid_value", "empty"),
        (b'{"model":3}', "model", "invalid_type", "model: expected `str`, got `int`."),
        (b'{"model":null}', "model", "invalid_type", "model: expected `str`"),
        (b'{"model":"m","max_tokens":"9"}', "max_tokens", "invalid_type", "max_tokens: expected"),
        (b'{"model":"m","max_tokens":-1}', "max_tokens", "invalid_value", "0 or more"),
    ],
)
def test_a_bad_body_gets_one_sentence_that_names_the_field(body, param, code, says):
    problem = read_request("/v1/chat/completions", body)

    assert isinstance(problem, BadRequest)
    assert (problem.param, problem.code) == (param, code)
    assert says in problem.message


def test_a_prompt_of_any_size_is_read_whole():
    content = "x" * 300_000
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": content}]})

    facts = read_request("/v1/chat/completions", body)

    assert facts.prompt_bytes > 300_000
