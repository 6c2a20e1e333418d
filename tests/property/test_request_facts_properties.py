"""No bytes whatsoever make the reader raise."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router.decide.request_facts import BadRequest, RequestFacts, read_request

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
keys = st.sampled_from(
    ["model", "messages", "prompt", "input", "tools", "stream", "max_tokens", "n", "other"]
)


@given(st.binary(max_size=200))
def test_any_bytes_are_facts_or_a_bad_request(body):
    assert isinstance(read_request("/v1/completions", body), RequestFacts | BadRequest)


@given(st.dictionaries(keys, json_values))
def test_any_object_is_facts_or_a_bad_request(fields):
    answer = read_request("/v1/chat/completions", msgspec.json.encode(fields))

    if isinstance(answer, BadRequest):
        assert answer.message.endswith(".")
    else:
        assert answer.model == fields["model"]
        assert answer.prompt_bytes >= 0
        assert answer.choices >= 1


@given(st.lists(st.integers(min_value=0, max_value=10**6), min_size=1))
def test_token_ids_are_counted_exactly(ids):
    body = msgspec.json.encode({"model": "m", "prompt": ids})

    assert read_request("/v1/completions", body).prompt_tokens == len(ids)
