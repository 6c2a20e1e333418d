"""Whatever a proxy or client puts into messages, a stream answers it with messages, or ends."""

import json

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
)
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from session_events import make_picker

from router.extproc.codec import decode
from router.extproc.encoder import Encoder
from router.extproc.events import Await, End, StreamEnded
from router.extproc.hints import READ_HEADERS
from router.extproc.session import Session
from router.extproc.states import State

DESTINATION = "x-gateway-destination-endpoint"
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(sorted(READ_HEADERS | {":path", ":status", "content-type"}))
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=6)
BODIES = st.binary(max_size=60) | st.builds(
    lambda model, prompt: json.dumps({"model": model, "prompt": prompt}).encode(),
    st.sampled_from(["llama", "gpt", "\ud800", "é" * 50, ""]) | JSON,
    JSON,
)


def head(kind, headers, mode, metadata):
    message = ProcessingRequest(**{kind: HttpHeaders()})
    fields = getattr(message, kind).headers.headers
    fields.add(key=":method", raw_value=b"POST")
    for name, value in headers:
        fields.add(key=name, raw_value=value)
    message.protocol_config.request_body_mode = mode
    message.protocol_config.response_body_mode = mode
    for namespace, key in (("envoy.lb.subset_hint", "-subset"), ("envoy.lb", "-served")):
        if metadata is not None:
            struct = message.metadata_context.filter_metadata[namespace]
            struct.update({DESTINATION + key: metadata})
    return message


def converse(messages):
    """Everything that is sent back, parsed again; nothing is held afterwards."""
    picker, encoder = make_picker(), Encoder()
    session = Session(picker, created_epoch_seconds=0)
    sent = []
    for message in messages:
        replies = session.receive(decode(message), now_seconds=1.0, draw=0.5)
        sent += [encoder.encode(reply) for reply in replies if not isinstance(reply, (End, Await))]
    session.receive(StreamEnded(), now_seconds=2.0, draw=0.5)
    assert session.state is State.CLOSED
    assert picker.ledger.running() == picker.held == 0
    return [ProcessingResponse.FromString(encoded) for encoded in sent]


@given(
    headers=HEADERS,
    mode=st.sampled_from([0, 1, 2, 3, 4, 5, 99]),
    metadata=JSON,
    body=BODIES,
    answer=HEADERS,
)
def test_any_content_is_answered(headers, mode, metadata, body, answer):
    messages = [
        head("request_headers", headers, mode, metadata),
        ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True)),
        head("response_headers", answer, mode, metadata),
        ProcessingRequest(response_body=HttpBody(body=body, end_of_stream=True)),
    ]
    for reply in converse(messages):
        assert reply.WhichOneof("response") is not None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_none(content):
    try:
        message = ProcessingRequest.FromString(content)
    except DecodeError:
        return
    converse([message])


@pytest.mark.parametrize("mode", [2, 4])
def test_a_name_that_is_no_unicode_is_refused(mode):
    body = b'{"model": "\\ud800"}'
    [*_, last] = converse(
        [
            head("request_headers", [(":path", b"/v1/completions")], mode, None),
            ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True)),
        ]
    )
    assert last.immediate_response.status.code in {400, 404}
