import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from loadtest.stream_scan import StreamScan, Usage, readable, usage_of

TRICKS = ['"content":"x', '"usage":{"completion_tokens": 7}', 'data: {"error":1}', "data: [DONE]"]
texts = st.one_of(st.text(max_size=30), st.sampled_from(TRICKS))
separators = st.sampled_from([(",", ":"), (", ", ": ")])


def event(body, separators):
    return b"data: " + json.dumps(body, separators=separators).encode() + b"\n\n"


def delta(text, separators):
    return event({"choices": [{"index": 0, "delta": {"content": text}}]}, separators)


def usage(prompt, output, separators):
    counts = {"prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output}
    return event({"choices": [], "usage": counts}, separators)


def pieces(body, cuts):
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def scan_of(body, cuts=()):
    scan = StreamScan()
    for piece in pieces(body, cuts):
        scan.feed(piece)
    return scan


@given(
    words=st.lists(texts, max_size=40),
    counts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    cuts=st.lists(st.integers(0, 10**5), max_size=20),
    separators=separators,
)
def test_text_usage_and_end_are_found_wherever_the_body_is_cut(words, counts, cuts, separators):
    body = b"".join(delta(word, separators) for word in ["", *words])
    body += usage(*counts, separators) + b"data: [DONE]\n\n"
    scan = scan_of(body, cuts)
    assert scan.has_content == any(words)
    assert scan.usage == Usage(*counts)
    assert scan.is_done
    assert scan.error_text is None


@given(text=texts, separators=separators)
def test_the_text_of_an_answer_is_never_taken_for_a_field(text, separators):
    scan = scan_of(delta(text, separators))
    assert scan.usage == Usage(None, None)
    assert scan.error_text is None


@given(message=st.text(max_size=600), cuts=st.lists(st.integers(0, 10**5), max_size=9))
def test_an_error_event_is_told_on_one_short_line(message, cuts):
    error = {"error": {"message": message, "code": 500}}
    body = delta("a", (",", ":")) + event(error, (",", ":")) + b"data: [DONE]\n\n"
    scan = scan_of(body, cuts)
    assert scan.error_text is not None
    assert scan.error_text.startswith('{"error"')
    assert len(scan.error_text) <= 300
    assert "\n" not in scan.error_text


def test_a_stream_that_breaks_off_is_not_done():
    scan = scan_of(delta("a", (",", ":")) + b"data: [DON")
    assert scan.has_content
    assert not scan.is_done


def test_a_long_stream_is_not_kept():
    scan = StreamScan()
    for _ in range(1000):
        scan.feed(delta("word", (",", ":")) * 10)
    assert len(scan._tail) <= 4096  # the bound itself is what this test is about


def test_usage_is_read_from_a_whole_body():
    body = json.dumps({"usage": {"prompt_tokens": 4, "completion_tokens": 5}}).encode()
    assert usage_of(body) == Usage(4, 5)
    assert usage_of(b"[]") == Usage(None, None)


@given(st.binary(max_size=2000))
def test_any_bytes_become_a_short_line(body):
    line = readable(body)
    assert len(line) <= 300
    assert "\n" not in line
