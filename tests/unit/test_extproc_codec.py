"""Envoy's messages to events and replies to bytes."""

import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from google.protobuf.struct_pb2 import Struct

from router.decide.ledger import Ledger
from router.decide.outcome import Pick, PickReason
from router.extproc.codec import Encoder, decode
from router.extproc.events import (
    BodyMode,
    Continue,
    Immediate,
    Phase,
    RequestBody,
    RequestTrailers,
    ResponsePart,
    Route,
    Unrecognized,
)

DESTINATION = "x-gateway-destination-endpoint"


def headers_message(*pairs, raw=True, end=False):
    headers = [
        HeaderValue(key=key, raw_value=value.encode()) if raw else HeaderValue(key=key, value=value)
        for key, value in pairs
    ]
    return ProcessingRequest(
        request_headers=HttpHeaders(headers=HeaderMap(headers=headers), end_of_stream=end)
    )


def with_subset(value):
    message = headers_message((":method", "POST"), (":path", "/"))
    hint = Struct()
    hint.update(value)
    message.metadata_context.filter_metadata["envoy.lb.subset_hint"].CopyFrom(hint)
    return message


def route_to(address):
    ticket = Ledger().enter(address, resident_tokens=1.0, prefill_seconds=0.0, now_seconds=0.0)
    return Route(Pick(address, PickReason.COMMITTED, ticket, 1.0), "llama")


def encoded(reply):
    return ProcessingResponse.FromString(Encoder().encode(reply))


@pytest.mark.parametrize("raw", [True, False], ids=["raw_value", "value"])
def test_headers_are_read_from_either_field(raw):
    event = decode(
        headers_message(
            (":method", "POST"),
            (":path", "/v1/completions?x=1"),
            ("x-headrace-priority", "-1"),
            ("authorization", "secret"),
            raw=raw,
        )
    )
    assert (event.method, event.path) == ("POST", "/v1/completions?x=1")
    assert event.hints == {"x-headrace-priority": "-1"}
    assert not event.end_of_stream


def test_of_a_repeated_header_the_first_counts():
    event = decode(headers_message(("x-headrace-priority", "1"), ("x-headrace-priority", "2")))
    assert event.hints == {"x-headrace-priority": "1"}


def test_bytes_that_are_no_text_do_not_break_the_stream():
    message = headers_message((":method", "GET"))
    message.request_headers.headers.headers.add(key=":path", raw_value=b"/\xff\xfe")
    assert decode(message).path.startswith("/")


def test_without_an_announcement_bodies_are_taken_to_be_buffered():
    event = decode(headers_message())
    assert event.request_body_mode is BodyMode.BUFFERED
    assert event.response_body_mode is BodyMode.NONE


def test_announced_body_modes_are_passed_on():
    message = headers_message()
    message.protocol_config.CopyFrom(ProtocolConfiguration(request_body_mode=4))
    message.protocol_config.response_body_mode = 2
    event = decode(message)
    assert event.request_body_mode is BodyMode.FULL_DUPLEX_STREAMED
    assert event.response_body_mode is BodyMode.BUFFERED


@pytest.mark.parametrize(
    ("hint", "subset"),
    [
        ({}, None),
        ({"other": "10.0.0.1:80"}, None),
        ({f"{DESTINATION}-subset": ["10.0.0.1:80", "10.0.0.2"]}, {"10.0.0.1:80", "10.0.0.2"}),
        ({f"{DESTINATION}-subset": "10.0.0.1:80,10.0.0.2"}, {"10.0.0.1:80", "10.0.0.2"}),
        ({f"{DESTINATION}-subset": []}, set()),
        ({f"{DESTINATION}-subset": 7}, set()),
    ],
)
def test_a_subset_hint_is_read_and_an_unreadable_one_allows_nothing(hint, subset):
    assert decode(with_subset(hint)).subset == subset


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (ProcessingRequest(request_body=HttpBody(body=b"{}")), RequestBody(b"{}")),
        (ProcessingRequest(request_trailers=HttpTrailers()), RequestTrailers()),
        (
            ProcessingRequest(response_headers=HttpHeaders()),
            ResponsePart(Phase.RESPONSE_HEADERS),
        ),
        (ProcessingRequest(response_body=HttpBody()), ResponsePart(Phase.RESPONSE_BODY)),
        (
            ProcessingRequest(response_trailers=HttpTrailers()),
            ResponsePart(Phase.RESPONSE_TRAILERS),
        ),
        (ProcessingRequest(), Unrecognized()),
    ],
)
def test_every_kind_of_message_has_an_event(message, event):
    assert decode(message) == event


@pytest.mark.parametrize("phase", Phase)
def test_continue_answers_in_kind(phase):
    response = encoded(Continue(phase))
    assert response.WhichOneof("response") == phase.value


def test_a_destination_sent_by_the_client_is_removed():
    response = encoded(Continue(Phase.REQUEST_HEADERS))
    assert response.request_headers.response.header_mutation.remove_headers == [DESTINATION]


def test_a_route_names_its_replica_in_the_header_and_in_the_metadata():
    response = encoded(route_to("10.0.0.1:8000"))
    [header] = response.request_body.response.header_mutation.set_headers
    assert (header.header.key, header.header.raw_value) == (DESTINATION, b"10.0.0.1:8000")
    assert header.append_action == header.OVERWRITE_IF_EXISTS_OR_ADD
    assert response.dynamic_metadata["envoy.lb"][DESTINATION] == "10.0.0.1:8000"
    assert response.dynamic_metadata["envoy.lb"]["model"] == "llama"


def test_routes_are_serialized_once_per_address_and_forgotten_in_bounds():
    encoder = Encoder()
    first = encoder.encode(route_to("10.0.0.1:8000"))
    assert encoder.encode(route_to("10.0.0.1:8000")) is first
    for port in range(5000):
        encoder.encode(route_to(f"10.0.0.2:{port}"))
    assert encoder.encode(route_to("10.0.0.1:8000")) == first


def test_an_immediate_answer_is_json_and_carries_its_headers():
    answer = Immediate(429, b"{}", (("retry-after", "3"),), "headrace_shed")
    response = encoded(answer).immediate_response
    sent = {h.header.key: h.header.raw_value for h in response.headers.set_headers}
    assert sent == {"content-type": b"application/json", "retry-after": b"3"}
    assert (response.status.code, response.body) == (429, b"{}")
    assert response.details == "headrace_shed"
