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
from router.extproc.codec import decode
from router.extproc.encoder import Encoder
from router.extproc.events import (
    BodyMode,
    Chunk,
    Continue,
    Immediate,
    Phase,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
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


def route_to(*endpoints, phase=Phase.REQUEST_BODY, **changes):
    ticket = Ledger().enter(endpoints[0], resident_tokens=1.0, prefill_seconds=0.0, now_seconds=0.0)
    pick = Pick(endpoints[0], PickReason.COMMITTED, ticket, 1.0, fallbacks=endpoints[1:])
    return Route(endpoints, phase, "llama", pick, **changes)


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


def test_without_an_announcement_body_modes_are_unknown():
    event = decode(headers_message())
    assert event.request_body_mode is None
    assert event.response_body_mode is None


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
        ({f"{DESTINATION}-subset": ["10.0.0.1:80, 10.0.0.2"]}, {"10.0.0.1:80", "10.0.0.2"}),
        ({f"{DESTINATION}-subset": ["", 3, None]}, set()),
        ({f"{DESTINATION}-subset": []}, set()),
        ({f"{DESTINATION}-subset": 7}, set()),
    ],
)
def test_a_subset_hint_is_read_and_an_unreadable_one_allows_nothing(hint, subset):
    assert decode(with_subset(hint)).subset == subset


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (ProcessingRequest(request_body=HttpBody(body=b"{}")), RequestBody(b"{}", False)),
        (ProcessingRequest(request_body=HttpBody(end_of_stream=True)), RequestBody(b"", True)),
        (ProcessingRequest(request_trailers=HttpTrailers()), RequestTrailers()),
        (
            ProcessingRequest(response_headers=HttpHeaders()),
            ResponseHeaders(),
        ),
        (ProcessingRequest(response_body=HttpBody(body=b"x")), ResponseBody(b"x", False)),
        (
            ProcessingRequest(response_trailers=HttpTrailers()),
            ResponseTrailers(),
        ),
        (ProcessingRequest(), Unrecognized()),
    ],
)
def test_every_kind_of_message_has_an_event(message, event):
    assert decode(message) == event


def test_the_response_says_how_it_went_and_who_served():
    headers = [(":status", "200"), ("content-type", "text/event-stream"), ("x-secret", "no")]
    message = ProcessingRequest(
        response_headers=HttpHeaders(
            headers=HeaderMap(
                headers=[HeaderValue(key=k, raw_value=v.encode()) for k, v in headers]
            )
        )
    )
    served = Struct()
    served.update({f"{DESTINATION}-served": "10.0.0.2:8000"})
    message.metadata_context.filter_metadata["envoy.lb"].CopyFrom(served)
    assert decode(message) == ResponseHeaders(200, "10.0.0.2:8000", "text/event-stream")


@pytest.mark.parametrize("status", ["", "abc", "-1", "\uff12"])
def test_a_status_that_is_no_number_is_unknown(status):
    message = ProcessingRequest(response_headers=HttpHeaders())
    message.response_headers.headers.headers.add(key=":status", raw_value=status.encode())
    assert decode(message).status == 0


def test_ten_thousand_headers_are_read_for_the_few_that_matter():
    many = [(f"x-filler-{number}", "y" * 20) for number in range(10_000)]
    event = decode(headers_message(*many, (":path", "/v1"), ("x-headrace-priority", "2")))
    assert (event.path, event.hints) == ("/v1", {"x-headrace-priority": "2"})


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


def test_fallbacks_follow_the_pick_in_both_places():
    response = encoded(route_to("10.0.0.1:8000", "10.0.0.2:8000", phase=Phase.REQUEST_HEADERS))
    common = response.request_headers.response
    [header] = common.header_mutation.set_headers
    assert header.header.raw_value == b"10.0.0.1:8000,10.0.0.2:8000"
    assert response.dynamic_metadata["envoy.lb"][DESTINATION] == "10.0.0.1:8000,10.0.0.2:8000"
    assert common.clear_route_cache


def test_a_rewritten_body_comes_with_its_length():
    response = encoded(route_to("10.0.0.1:8000", body=b"{}", content_length=2))
    common = response.request_body.response
    sent = {h.header.key: h.header.raw_value for h in common.header_mutation.set_headers}
    assert sent == {DESTINATION: b"10.0.0.1:8000", "content-length": b"2"}
    assert common.body_mutation.body == b"{}"


def test_a_route_without_a_model_names_none():
    response = encoded(Route(("10.0.0.1:8000",), Phase.REQUEST_HEADERS))
    assert set(response.dynamic_metadata["envoy.lb"]) == {DESTINATION}


@pytest.mark.parametrize("phase", [Phase.REQUEST_BODY, Phase.RESPONSE_BODY])
def test_a_chunk_is_sent_as_a_streamed_part(phase):
    response = encoded(Chunk(phase, b"abc", end_of_stream=True))
    streamed = getattr(response, phase.value).response.body_mutation.streamed_response
    assert (streamed.body, streamed.end_of_stream) == (b"abc", True)


@pytest.mark.parametrize(
    "reply",
    [
        Continue(Phase.RESPONSE_TRAILERS, {"joules": 1.5}),
        Chunk(Phase.RESPONSE_BODY, b"", end_of_stream=True, metadata={"joules": 1.5}),
    ],
)
def test_metadata_for_the_access_log_has_its_own_namespace(reply):
    response = encoded(reply)
    assert response.dynamic_metadata["headrace.metering"]["joules"] == 1.5
    assert response.WhichOneof("response") == reply.phase.value


def test_an_immediate_answer_is_json_and_carries_its_headers():
    answer = Immediate(429, b"{}", (("retry-after", "3"),), "headrace_shed")
    response = encoded(answer).immediate_response
    sent = {h.header.key: h.header.raw_value for h in response.headers.set_headers}
    assert sent == {"content-type": b"application/json", "retry-after": b"3"}
    assert (response.status.code, response.body) == (429, b"{}")
    assert response.details == "headrace_shed"
