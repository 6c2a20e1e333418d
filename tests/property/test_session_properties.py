"""Properties of the ext_proc session over all pairs of state and event, and over any sequence."""

import json
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ResponsePart,
    Route,
    StreamEnded,
    Unrecognized,
)
from router.extproc.session import Session, State

BODY = json.dumps({"model": "llama", "prompt": "hello"}).encode()
POST = RequestHeaders(
    method="POST",
    path="/v1/completions",
    hints={},
    subset=None,
    request_body_mode=BodyMode.BUFFERED,
    response_body_mode=BodyMode.NONE,
    end_of_stream=False,
)
PASSING = POST._replace(method="DELETE")

WAYS_INTO = {
    State.AWAITING_HEADERS: [],
    State.AWAITING_BODY: [POST],
    State.ROUTED: [POST, RequestBody(BODY)],
    State.PASSED: [PASSING],
    State.CLOSED: [POST, RequestBody(b"")],
}
EVENTS = [
    POST,
    PASSING,
    POST._replace(method="GET", path="/v1/models", end_of_stream=True),
    POST._replace(end_of_stream=True),
    POST._replace(request_body_mode=BodyMode.STREAMED),
    POST._replace(hints={"x-headrace-priority": "x"}),
    POST._replace(subset=frozenset()),
    RequestBody(BODY),
    RequestBody(b"not json"),
    RequestBody(b'{"model": "gpt-9"}'),
    RequestTrailers(),
    ResponsePart(Phase.RESPONSE_HEADERS),
    ResponsePart(Phase.RESPONSE_BODY),
    ResponsePart(Phase.RESPONSE_TRAILERS),
    Unrecognized(),
    StreamEnded(),
]


class CountingPicker(Picker):
    """The picker, counting how often each ticket is handed back."""

    def __init__(self, fleet, settings):
        super().__init__(fleet, settings)
        self.settlements = []

    def settle(self, ticket, *, now_seconds):
        self.settlements.append(ticket)
        return super().settle(ticket, now_seconds=now_seconds)


def make_picker():
    replicas = tuple(
        Replica(address=f"10.0.0.{n}:8000", backend="h100", models=("llama",)) for n in (1, 2)
    )
    backend = Backend(
        name="h100",
        accelerator="H100",
        parameters=8.03e9,
        profile=prior_profile("H100", parameters=8.03e9),
        replicas=replicas,
    )
    return CountingPicker(Fleet((backend,)), DecideSettings())


def in_state(state, picker):
    session = Session(picker, created_epoch_seconds=0)
    for event in WAYS_INTO[state]:
        session.receive(event, now_seconds=1.0, draw=0.5)
    assert session.state is state
    return session


def phase_of(event):
    if isinstance(event, RequestHeaders):
        return Phase.REQUEST_HEADERS
    if isinstance(event, RequestBody):
        return Phase.REQUEST_BODY
    return Phase.REQUEST_TRAILERS if isinstance(event, RequestTrailers) else event.phase


def check_legal(state, event, replies):
    """What Envoy accepts in answer to `event` on a stream that stood in `state`."""
    if state is State.CLOSED or isinstance(event, StreamEnded):
        assert replies == ()
        return
    match replies:
        case (Continue(phase),):
            assert phase is phase_of(event)
        case (Route(),):
            assert isinstance(event, RequestBody)
            assert state is State.AWAITING_BODY
        case (Immediate(status=status, body=body), End(None)):
            assert status == 200 or set(json.loads(body)) == {"error"}
            assert state in {State.AWAITING_HEADERS, State.AWAITING_BODY}
        case (End(error),):
            assert error
        case _:
            pytest.fail(f"{replies} is no answer to {event} in {state}")


@pytest.mark.parametrize(
    ("state", "event"),
    list(product(State, EVENTS)),
    ids=lambda value: value.name if isinstance(value, State) else type(value).__name__,
)
def test_every_event_in_every_state_gets_a_legal_reply_or_a_clean_close(state, event):
    picker = make_picker()
    session = in_state(state, picker)
    replies = session.receive(event, now_seconds=2.0, draw=0.5)
    check_legal(state, event, replies)
    if any(isinstance(reply, End) for reply in replies) or isinstance(event, StreamEnded):
        assert session.state is State.CLOSED
        assert picker.ledger.running() == 0


@given(events=st.lists(st.sampled_from(EVENTS), max_size=12), ends=st.integers(1, 3))
def test_any_sequence_is_answered_legally_and_settles_each_ticket_once(events, ends):
    picker = make_picker()
    session = Session(picker, created_epoch_seconds=0)
    for number, event in enumerate([*events, *[StreamEnded()] * ends]):
        state = session.state
        replies = session.receive(event, now_seconds=float(number), draw=0.5)
        check_legal(state, event, replies)
        assert picker.ledger.running() == (session.state is State.ROUTED)
    assert session.state is State.CLOSED
    assert picker.ledger.running() == 0
    assert len(picker.settlements) == picker.ledger.entered_total <= 1


@given(
    streams=st.lists(st.lists(st.sampled_from(EVENTS), max_size=6), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_interleaved_streams_never_settle_each_others_tickets(streams, order):
    picker = make_picker()
    sessions = [Session(picker, created_epoch_seconds=0) for _ in streams]
    steps = [number for number, events in enumerate(streams) for _ in events]
    order.shuffle(steps)
    waiting = [iter(events) for events in streams]
    for now_seconds, number in enumerate(steps):
        sessions[number].receive(next(waiting[number]), now_seconds=float(now_seconds), draw=0.5)
        assert picker.ledger.running() == sum(s.state is State.ROUTED for s in sessions)
    for session in sessions:
        session.receive(StreamEnded(), now_seconds=float(len(steps)), draw=0.5)
    assert picker.ledger.running() == 0
    assert len(picker.settlements) == picker.ledger.entered_total
