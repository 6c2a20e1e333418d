"""Properties of the ext_proc session over all pairs of state and event, and over any sequence."""

import json
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from session_events import (
    BODY,
    DUPLEX,
    EVENTS,
    HELD,
    PASSING,
    POST,
    HoldingPicker,
    make_picker,
    phase_of,
)

from router.extproc.bodies import CHUNK_BYTES
from router.extproc.events import (
    Await,
    Chunk,
    Continue,
    Decided,
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
from router.extproc.states import State

WAYS_INTO = {
    State.AWAITING_HEADERS: [[]],
    State.AWAITING_BODY: [[POST]],
    State.COLLECTING: [[DUPLEX], [DUPLEX, RequestBody(BODY[:9], False)]],
    State.DECIDING: [[POST, RequestBody(HELD)], [DUPLEX, RequestBody(HELD)]],
    State.ROUTED: [[POST, RequestBody(BODY)], [DUPLEX, RequestBody(BODY)]],
    State.PASSED: [[PASSING], [DUPLEX._replace(method="PUT")]],
    State.CLOSED: [[POST, RequestBody(b"")]],
}


def run(session, picker, events):
    """Feed events; what a wait was for comes as Decided when the events hold one."""
    replies = ()
    for number, event in enumerate(events):
        told = picker.decide() if isinstance(event, Decided) else event
        replies = session.receive(told, now_seconds=float(number), draw=0.5)
    return replies


def check_legal(session, state, event, replies):
    """What Envoy accepts in answer to `event` on a stream that stood in `state`."""
    if state is State.CLOSED or isinstance(event, StreamEnded):
        assert replies == ()
        return
    match replies:
        case (Immediate(status=status, body=body), End(None)):
            assert status == 200 or set(json.loads(body)) == {"error"}
            assert state not in {State.ROUTED, State.PASSED}
        case (End(error),):
            assert error
        case (Await(),):
            assert session.state is State.DECIDING
        case (Continue(phase),):
            assert phase is phase_of(event)
        case (Route(phase=phase), *rest):
            assert state not in {State.ROUTED, State.PASSED}
            check_burst(phase, rest)
        case () | (Chunk(), *_):
            assert all(isinstance(reply, Chunk) for reply in replies)
        case _:
            pytest.fail(f"{replies} is no answer to {event} in {state}")


def check_burst(phase, rest):
    """Headers, then chunks of which the last ends the body unless trailers follow."""
    if phase is Phase.REQUEST_BODY:
        assert rest == []
        return
    parts = [reply for reply in rest if isinstance(reply, Chunk)]
    trailers = rest[len(parts) :]
    assert trailers in ([], [Continue(Phase.REQUEST_TRAILERS)])
    assert not any(part.end_of_stream for part in parts[:-1])
    assert all(part.phase is Phase.REQUEST_BODY for part in parts)


@pytest.mark.parametrize(
    ("state", "event"),
    list(product(State, EVENTS)),
    ids=lambda value: value.name if isinstance(value, State) else type(value).__name__,
)
def test_every_event_in_every_state_gets_a_legal_reply_or_a_clean_close(state, event):
    for way in WAYS_INTO[state]:
        picker = make_picker()
        session = Session(
            picker, created_epoch_seconds=0, settings=SessionSettings(max_body_bytes=200)
        )
        run(session, picker, way)
        assert session.state is state
        replies = run(session, picker, [event])
        check_legal(session, state, event, replies)
        if any(isinstance(reply, End) for reply in replies) or isinstance(event, StreamEnded):
            assert session.state is State.CLOSED
        if session.state is not State.ROUTED:
            assert picker.ledger.running() == 0
        session.receive(StreamEnded(), now_seconds=9.0, draw=0.5)
        assert picker.ledger.running() == picker.held == 0


@given(events=st.lists(st.sampled_from(EVENTS), max_size=12), ends=st.integers(1, 3))
def test_any_sequence_is_answered_legally_and_settles_each_ticket_once(events, ends):
    picker = make_picker()
    session = Session(picker, created_epoch_seconds=0, settings=SessionSettings(max_body_bytes=200))
    for number, event in enumerate([*events, *[StreamEnded()] * ends]):
        state = session.state
        told = picker.decide() if isinstance(event, Decided) else event
        replies = session.receive(told, now_seconds=float(number), draw=0.5)
        check_legal(session, state, event, replies)
        assert picker.ledger.running() == (session.state is State.ROUTED)
        assert picker.held == (session.state is State.DECIDING)
    assert session.state is State.CLOSED
    assert picker.ledger.running() == 0
    assert len(picker.settlements) == picker.ledger.entered_total <= 1


@given(
    streams=st.lists(st.lists(st.sampled_from(EVENTS), max_size=6), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
)
def test_interleaved_streams_never_settle_each_others_tickets(streams, order):
    pickers = [make_picker()] * len(streams)
    picker = pickers[0]
    sessions = [Session(picker, created_epoch_seconds=0) for _ in streams]
    steps = [number for number, events in enumerate(streams) for _ in events]
    order.shuffle(steps)
    waiting = [iter(events) for events in streams]
    for now_seconds, number in enumerate(steps):
        event = next(waiting[number])
        if isinstance(event, Decided):  # what one stream waits for is no other stream's business
            continue
        sessions[number].receive(event, now_seconds=float(now_seconds), draw=0.5)
        assert picker.ledger.running() == sum(s.state is State.ROUTED for s in sessions)
    for session in sessions:
        session.receive(StreamEnded(), now_seconds=float(len(steps)), draw=0.5)
    assert picker.ledger.running() == picker.held == 0
    assert len(picker.settlements) == picker.ledger.entered_total


@given(
    filler=st.integers(0, 3 * CHUNK_BYTES),
    cuts=st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=8),
    by_trailers=st.booleans(),
    held=st.booleans(),
)
def test_a_streamed_prompt_comes_back_as_it_went_in(filler, cuts, by_trailers, held):
    model = HoldingPicker.HELD_MODEL if held else "llama"
    body = json.dumps({"model": model, "prompt": "x" * filler}).encode()
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    parts = [body[start:end] for start, end in pairwise(edges)]
    picker = make_picker()
    session = Session(picker, created_epoch_seconds=0)
    events = [DUPLEX, *(RequestBody(part, False) for part in parts)]
    events.append(RequestTrailers() if by_trailers else RequestBody(b"", True))
    replies = run(session, picker, events)
    if held:
        assert isinstance(replies[0], Await)
        replies = run(session, picker, [Decided(None)])
    route, *rest = replies
    chunks = [reply for reply in rest if isinstance(reply, Chunk)]
    assert route.phase is Phase.REQUEST_HEADERS
    assert b"".join(chunk.body for chunk in chunks) == body
    assert max(len(chunk.body) for chunk in chunks) <= CHUNK_BYTES
    assert [chunk.end_of_stream for chunk in chunks] == [False] * (len(chunks) - 1) + [
        not by_trailers
    ]
    assert (rest[-1] == Continue(Phase.REQUEST_TRAILERS)) == by_trailers


@given(parts=st.lists(st.binary(max_size=2 * CHUNK_BYTES), max_size=5), trailers=st.booleans())
def test_a_streamed_answer_comes_back_as_it_went_in(parts, trailers):
    picker = make_picker()
    session = Session(picker, created_epoch_seconds=0)
    run(session, picker, [DUPLEX, RequestBody(BODY), ResponseHeaders(200)])
    echoed = [
        reply
        for part in parts
        for reply in session.receive(ResponseBody(part), now_seconds=1.0, draw=0.5)
    ]
    echoed += session.receive(ResponseBody(b"", not trailers), now_seconds=1.0, draw=0.5)
    assert b"".join(chunk.body for chunk in echoed) == b"".join(parts)
    assert all(len(chunk.body) <= CHUNK_BYTES for chunk in echoed)
    assert [chunk.end_of_stream for chunk in echoed].count(True) == (not trailers)


def test_every_kind_of_event_and_every_state_is_in_the_tables():
    assert set(WAYS_INTO) == set(State)
    assert {type(event) for event in EVENTS} >= {RequestHeaders, Decided, StreamEnded}
