"""The ext_proc stream's state machine, step by step."""

import json

import pytest

from fleet.priors import prior_profile
from fleet.topology import Backend, Fleet, Replica
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.extproc.events import (
    BodyMode,
    Continue,
    End,
    Immediate,
    Phase,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    Route,
    StreamEnded,
)
from router.extproc.session import Session
from router.extproc.session_settings import SessionSettings
from router.extproc.states import State, StreamOutcome

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "llama", "messages": [{"role": "user", "content": "hi"}]}).encode()


def make_picker():
    profile = prior_profile("A100", parameters=8.03e9)
    replicas = tuple(
        Replica(address=f"10.0.0.{n}:8000", backend="a100", models=("llama", "org/llama"))
        for n in (1, 2)
    )
    backend = Backend(
        name="a100", accelerator="A100", parameters=8.03e9, profile=profile, replicas=replicas
    )
    return Picker(Fleet((backend,)), DecideSettings())


@pytest.fixture
def picker():
    return make_picker()


@pytest.fixture
def session(picker):
    return Session(picker, created_epoch_seconds=1_700_000_000)


def headers(method="POST", path=CHAT, **changes):
    usual = RequestHeaders(
        method=method,
        path=path,
        hints={},
        subset=None,
        request_body_mode=BodyMode.BUFFERED,
        response_body_mode=BodyMode.NONE,
        end_of_stream=False,
    )
    return usual._replace(**changes)


def tell(session, *events):
    """Feed events and return the replies to the last."""
    replies = ()
    for number, event in enumerate(events):
        replies = session.receive(event, now_seconds=100.0 + number, draw=0.5)
    return replies


def error_of(answer):
    return json.loads(answer.body)["error"]


def test_a_prompt_is_routed_and_settled_at_the_end_of_the_stream(session, picker):
    assert tell(session, headers()) == (Continue(Phase.REQUEST_HEADERS),)
    [route] = tell(session, RequestBody(BODY))
    assert isinstance(route, Route)
    assert picker.ledger.account(route.pick.address).running == 1
    assert tell(session, StreamEnded()) == ()
    assert picker.ledger.running() == 0
    assert session.outcome is StreamOutcome.ROUTED


def test_the_end_of_a_stream_is_taken_once_however_often_it_is_told(session, picker):
    tell(session, headers(), RequestBody(BODY), StreamEnded(), StreamEnded())
    assert (picker.ledger.entered_total, picker.ledger.settled_total) == (1, 1)


def test_a_stream_that_ends_before_its_body_enters_nothing(session, picker):
    tell(session, headers(), StreamEnded())
    assert picker.ledger.entered_total == 0
    assert session.outcome is StreamOutcome.ABANDONED


def test_a_prompt_on_any_path_is_routed_by_its_model(session):
    [route] = tell(session, headers(path="/v1/rerank"), RequestBody(b'{"model": "llama"}'))
    assert isinstance(route, Route)


def test_trailers_and_the_response_leave_the_pick_alone(session, picker):
    tell(session, headers(), RequestBody(BODY))
    assert tell(session, RequestTrailers()) == (Continue(Phase.REQUEST_TRAILERS),)
    assert tell(session, ResponseHeaders(200)) == (Continue(Phase.RESPONSE_HEADERS),)
    assert picker.ledger.running() == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_models_are_the_union_of_what_is_served(session, method):
    answer, end = tell(session, headers(method, "/v1/models?limit=5", end_of_stream=True))
    listing = json.loads(answer.body)
    assert (answer.status, listing["object"]) == (200, "list")
    assert [model["id"] for model in listing["data"]] == ["llama", "org/llama"]
    assert all(model["created"] == 1_700_000_000 for model in listing["data"])
    assert end == End()
    assert session.outcome is StreamOutcome.ANSWERED


@pytest.mark.parametrize("path", ["/v1/models/org/llama", "/v1/models/org%2Fllama"])
def test_one_model_is_found_by_its_name_quoted_or_not(session, path):
    answer, _end = tell(session, headers("GET", path, end_of_stream=True))
    assert (answer.status, json.loads(answer.body)["id"]) == (200, "org/llama")


def test_a_model_that_is_not_served_is_not_found(session):
    answer, _end = tell(session, headers("GET", "/v1/models/gpt-9", end_of_stream=True))
    assert (answer.status, error_of(answer)["code"]) == (404, "model_not_found")
    assert session.outcome is StreamOutcome.REJECTED


def test_health_is_answered_here(session):
    answer, _end = tell(session, headers("GET", "/health", end_of_stream=True))
    assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/version"), ("DELETE", "/v1/files/1"), ("POST", "/sleep"), ("OPTIONS", CHAT)],
)
def test_a_request_without_a_prompt_goes_anywhere_without_a_ticket(session, picker, method, path):
    [route] = tell(session, headers(method, path, end_of_stream=True))
    assert route == Route(("10.0.0.2:8000", "10.0.0.1:8000"), Phase.REQUEST_HEADERS)
    assert session.state is State.PASSED
    assert picker.ledger.entered_total == 0


def test_a_request_without_a_prompt_keeps_to_its_subset(session):
    [route] = tell(session, headers("GET", "/version", subset=frozenset({"10.0.0.1"})))
    assert route.endpoints == ("10.0.0.1:8000",)


def test_a_request_without_a_prompt_and_without_a_replica_is_refused(session):
    answer, _end = tell(session, headers("GET", "/version", subset=frozenset()))
    assert answer.status == 503


def test_a_body_that_is_not_posted_passes_without_a_pick(session):
    replies = tell(session, headers("PUT"), RequestBody(BODY))
    assert replies == (Continue(Phase.REQUEST_BODY),)


@pytest.mark.parametrize(
    ("body", "param"),
    [(b"not json", None), (b"", None), (b'{"messages": []}', "model"), (b'{"model": 7}', "model")],
)
def test_a_body_that_names_no_model_is_a_bad_request(session, body, param):
    answer, end = tell(session, headers(), RequestBody(body))
    error = error_of(answer)
    assert (answer.status, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert end == End()


@pytest.mark.parametrize(
    "events",
    [[headers(end_of_stream=True)], [headers(), RequestTrailers()]],
    ids=["end", "trailers"],
)
def test_a_prompt_without_a_body_is_a_bad_request(session, events):
    answer, _end = tell(session, *events)
    assert answer.status == 400


def test_an_unknown_model_is_refused_without_naming_the_inside(session):
    answer, _end = tell(session, headers(), RequestBody(b'{"model": "gpt-9"}'))
    assert answer.status == 404
    assert error_of(answer) == {
        "message": "The model 'gpt-9' does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_an_empty_subset_has_no_replica_and_says_when_to_retry(session):
    answer, _end = tell(session, headers(subset=frozenset()), RequestBody(BODY))
    assert answer.status == 503
    assert dict(answer.headers)["retry-after"].isdigit()
    assert dict(answer.headers)["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"


def test_a_subset_limits_the_pick(session):
    [route] = tell(session, headers(subset=frozenset({"10.0.0.2:8000"})), RequestBody(BODY))
    assert route.pick.address == "10.0.0.2:8000"


def test_a_malformed_hint_is_refused_before_the_body_is_awaited(session):
    answer, _end = tell(session, headers(hints={"x-headrace-priority": "high"}))
    assert answer.status == 400
    assert error_of(answer)["param"] == "x-headrace-priority"


@pytest.mark.parametrize("mode", [BodyMode.STREAMED, BodyMode.BUFFERED_PARTIAL, BodyMode.GRPC])
def test_a_request_body_mode_that_is_not_served_is_named(session, mode):
    [end] = tell(session, headers(request_body_mode=mode))
    assert mode.name in end.error
    assert session.outcome is StreamOutcome.PROTOCOL_ERROR


def test_without_bodies_a_prompt_goes_anywhere(session, picker):
    [route] = tell(session, headers(request_body_mode=BodyMode.NONE))
    assert route.pick is None
    assert picker.ledger.entered_total == 0


def test_a_rewritten_model_is_asked_for_and_put_into_the_body(session, picker):
    hints = {"x-llm-d-model-name-rewrite": "org/llama"}
    body = b'{"n": 1, "model": "alias",  "prompt": "a  b"}'
    [route] = tell(session, headers(hints=hints), RequestBody(body))
    assert json.loads(route.body) == {"n": 1, "model": "org/llama", "prompt": "a  b"}
    assert (route.model, route.content_length) == ("org/llama", len(route.body))
    assert picker.ledger.running() == 1


def test_a_model_with_another_name_is_picked_and_asked_for_by_that_name(picker):
    names = {"public": "org/llama"}
    settings = SessionSettings(alias=lambda model, _draw: names.get(model, model))
    session = Session(picker, created_epoch_seconds=0, settings=settings)
    [route] = tell(session, headers(), RequestBody(b'{"model": "public"}'))
    assert (json.loads(route.body), route.model) == ({"model": "org/llama"}, "org/llama")


def test_a_body_whose_model_stays_is_not_touched(session):
    hints = {"x-gateway-model-name-rewrite": "llama"}
    [route] = tell(session, headers(hints=hints), RequestBody(BODY))
    assert (route.body, route.content_length) == (None, None)


def test_a_prompt_that_is_nested_too_deeply_is_a_bad_request(session):
    deep = b'{"model": "llama", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer, _end = tell(session, headers(), RequestBody(deep))
    assert (answer.status, error_of(answer)["code"]) == (400, "invalid_json")


def test_who_really_served_holds_the_ticket(session, picker):
    [route] = tell(session, headers(), RequestBody(BODY))
    first, second = route.endpoints
    tell(session, ResponseHeaders(200, served=second))
    assert picker.ledger.account(first).running == 0
    assert picker.ledger.account(second).running == 1
    assert picker.outliers.score(first, now_seconds=100.0) == 1.0
    tell(session, StreamEnded())
    assert picker.ledger.account(second).running == 0


def test_a_served_endpoint_that_is_no_replica_of_ours_moves_nothing(session, picker):
    [route] = tell(session, headers(), RequestBody(BODY))
    tell(session, ResponseHeaders(200, served="192.0.2.9:1"))
    assert picker.ledger.account(route.pick.address).running == 1
    assert "192.0.2.9:1" not in dict(picker.ledger)


def test_a_response_that_is_not_streamed_back_goes_on_as_it_is(session):
    tell(session, headers(response_body_mode=BodyMode.STREAMED), RequestBody(BODY))
    assert tell(session, ResponseHeaders(200)) == (Continue(Phase.RESPONSE_HEADERS),)
    assert tell(session, ResponseBody(b"x")) == (Continue(Phase.RESPONSE_BODY),)


def test_a_body_without_headers_names_the_setting_that_is_wrong(session):
    [end] = tell(session, RequestBody(BODY))
    assert "request_header_mode must be SEND" in end.error


def test_a_second_body_breaks_the_stream_and_settles_it(session, picker):
    [end] = tell(session, headers(), RequestBody(BODY), RequestBody(BODY))
    assert end.error is not None
    assert (picker.ledger.entered_total, picker.ledger.running()) == (1, 0)


def test_an_answer_of_envoy_itself_ends_the_wait_for_a_body(session):
    replies = tell(session, headers(), ResponseHeaders(200))
    assert replies == (Continue(Phase.RESPONSE_HEADERS),)
    assert tell(session, RequestBody(BODY)) == (Continue(Phase.REQUEST_BODY),)
    assert session.outcome is StreamOutcome.PASSED


def test_nothing_is_said_on_a_closed_stream(session):
    answer, _end = tell(session, headers(), RequestBody(b""))
    assert isinstance(answer, Immediate)
    assert tell(session, headers(), RequestBody(BODY), StreamEnded()) == ()
