"""Token usage is the same however a body is cut, and the scanner's memory is bounded."""

import json

from hypothesis import given
from hypothesis import strategies as st

from router.metering.usage import TAIL_BYTES, Usage, UsageScanner

counts = st.integers(0, 10**6)
# Text that would like to be taken for the key.
texts = st.text(max_size=200) | st.sampled_from(
    ['"usage":{"prompt_tokens":1,"completion_tokens":1}', '\\"usage":{', "usage", "data: [DONE]"]
)


def scanned(body: bytes, cuts: list[int]) -> UsageScanner:
    scanner = UsageScanner()
    places = sorted(cut % (len(body) + 1) for cut in cuts)
    for start, end in zip([0, *places], [*places, len(body)], strict=True):
        scanner.feed(body[start:end])
        assert scanner.held_bytes <= 3 * TAIL_BYTES
    assert scanner.body_bytes == len(body)
    return scanner


def usage_object(prompt: int, output: int, cached: int) -> dict:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + output,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


@given(texts, counts, counts, counts, st.lists(st.integers(0, 10**6), max_size=20), st.booleans())
def test_a_whole_body_in_any_pieces_tells_its_usage(text, prompt, output, cached, cuts, ascii_only):
    body = json.dumps(
        {
            "choices": [{"message": {"content": text}}],
            "usage": usage_object(prompt, output, cached),
            "prompt_logprobs": None,
        },
        ensure_ascii=ascii_only,
    ).encode()
    assert scanned(body, cuts).usage() == Usage(prompt, cached, output)


@given(st.lists(texts, max_size=30), counts, counts, st.lists(st.integers(0, 10**6), max_size=20))
def test_a_stream_in_any_pieces_tells_the_usage_of_its_last_chunk(deltas, prompt, output, cuts):
    chunks = [{"choices": [{"delta": {"content": text}}], "usage": None} for text in deltas]
    chunks.append({"choices": [], "usage": usage_object(prompt, output, 0)})
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    assert scanned(body + b"data: [DONE]\n\n", cuts).usage() == Usage(prompt, 0, output)


@given(texts, st.lists(st.integers(0, 10**6), max_size=20))
def test_a_body_without_usage_tells_none_whatever_its_text_says(text, cuts):
    assert scanned(json.dumps({"choices": [{"text": text}]}).encode(), cuts).usage() is None


@given(st.binary(max_size=3000), st.lists(st.integers(0, 10**6), max_size=5))
def test_bytes_of_any_kind_are_taken(body, cuts):
    scanned(body + b'"usage":{' + body, cuts).usage()


def test_ten_thousand_chunks_leave_a_bounded_tail_and_the_usage_at_the_end():
    scanner = UsageScanner()
    chunk = b'data: {"choices":[{"delta":{"content":"' + b"x" * 300 + b'"}}],"usage":null}\n\n'
    for _ in range(10_000):
        scanner.feed(chunk)
        assert scanner.held_bytes <= 3 * TAIL_BYTES
    scanner.feed(b'data: {"usage":{"input_tokens":7,"output_tokens":9}}\n\ndata: [DONE]\n\n')
    assert scanner.usage() == Usage(7, None, 9)


def test_usage_of_another_shape_is_none():
    for odd in ("{}", '{"prompt_tokens": "many"}', '{"prompt_tokens": -4}', "{" * 5000):
        scanner = UsageScanner()
        scanner.feed(b'{"usage": ' + odd.encode() + b"}")
        assert scanner.usage() is None
