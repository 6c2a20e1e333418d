"""Ends that come from the access log: whichever is first settles, once; nothing waits for ever."""

import pytest
from builders import chat, make_fleet, make_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from fleet.snapshot import SnapshotHolder
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.metering.completions import LogEntry
from router.metering.metering import Metering, MeteringSettings

LIMIT_SECONDS = 60.0
FLEET = make_fleet({"H100": 2})
ADDRESSES = [replica.address for replica in FLEET.replicas()]


class TurnedClock:
    seconds = 0.0

    def monotonic_seconds(self):
        return self.seconds

    def epoch_seconds(self):
        return self.seconds


class Bench:
    def __init__(self):
        self.clock, self.records = TurnedClock(), []
        self.picker = Picker(FLEET, DecideSettings())
        self.metering = Metering(
            self.picker,
            MeteringSettings(awaits_access_log=True, completion_limit_seconds=LIMIT_SECONDS),
            policy="dispatch",
            snapshots=SnapshotHolder(make_snapshot(FLEET)),
            clock=self.clock,
            registry=CollectorRegistry(),
            sinks=(lambda record, _: self.records.append(record),),
        )
        self.completions = self.metering.completions

    def pick(self, request_id="r-1"):
        headers = {} if request_id is None else {"x-request-id": request_id}
        pick = self.metering.decider.pick(chat(), now_seconds=self.clock.seconds, draw=0.5)
        self.metering.recorder.routed(pick.ticket, headers)
        return pick.ticket

    def see_headers(self, ticket):
        self.metering.recorder.response_started(
            ticket, status=200, content_type="", content_encoding="", now_seconds=0.0
        )

    def stream_ends(self, ticket):
        return self.metering.decider.settle(ticket, now_seconds=self.clock.seconds)

    def logged(self, request_id="r-1", **told):
        entry = {"status": 200, "upstream_address": None, "ttfb_seconds": 0.25} | told
        return self.completions.logged(
            LogEntry(request_id, **entry), now_seconds=self.clock.seconds
        )


def test_a_stream_that_ends_after_the_headers_leaves_the_request_to_the_access_log():
    bench = Bench()
    ticket = bench.pick()
    bench.see_headers(ticket)
    assert bench.stream_ends(ticket)
    assert not ticket.settled
    assert bench.picker.ledger.running() == 1
    bench.clock.seconds = 9.0
    assert bench.logged()
    assert ticket.settled
    [record] = bench.records
    assert record.duration_seconds == 9.0
    assert (record.status, record.response_seen) == (200, "access-log")
    assert not bench.logged()
    assert (bench.completions.matched, bench.completions.unmatched) == (1, 1)


def test_a_stream_that_ends_before_any_headers_is_the_end():
    bench = Bench()
    ticket = bench.pick()
    assert bench.stream_ends(ticket)
    assert ticket.settled
    assert not bench.logged()
    assert len(bench.records) == 1


def test_a_stream_that_shows_the_body_is_the_end():
    bench = Bench()
    ticket = bench.pick()
    bench.see_headers(ticket)
    bench.metering.recorder.response_chunk(ticket, b"{}", now_seconds=1.0)
    assert bench.stream_ends(ticket)
    assert ticket.settled


def test_the_access_log_may_come_before_the_end_of_the_stream():
    bench = Bench()
    ticket = bench.pick()
    assert bench.logged(status=503)
    assert ticket.settled
    assert not bench.stream_ends(ticket)
    [record] = bench.records
    assert (record.status, record.ttfb_seconds) == (503, 0.25)


def test_without_a_request_id_the_end_of_the_stream_is_the_end():
    bench = Bench()
    ticket = bench.pick(request_id=None)
    bench.see_headers(ticket)
    bench.stream_ends(ticket)
    assert ticket.settled


def test_the_log_says_who_served_if_it_is_one_of_the_fleet():
    bench = Bench()
    for address, served in ((ADDRESSES[1], ADDRESSES[1]), ("192.0.2.1:1", ADDRESSES[0])):
        ticket = bench.pick()
        assert ticket.address == ADDRESSES[0]
        bench.logged(upstream_address=address)
        assert bench.records[-1].replica == served


def test_an_entry_that_never_comes_is_not_awaited_for_ever():
    bench = Bench()
    tickets = []
    for _ in range(3):
        tickets.append(bench.pick(f"r-{len(tickets)}"))
        bench.see_headers(tickets[-1])
        bench.stream_ends(tickets[-1])
        bench.clock.seconds += 10.0
    bench.clock.seconds = LIMIT_SECONDS + 15.0
    bench.metering.tick()
    assert [ticket.settled for ticket in tickets] == [True, True, False]
    assert (bench.completions.expired, bench.completions.awaited) == (2, 1)


steps = st.lists(
    st.tuples(
        st.sampled_from(["pick", "headers", "body", "stream ends", "logged", "wait"]),
        st.integers(0, 9),
    ),
    max_size=60,
)


def play(bench, tickets, what, number):
    """One step; those of requests that were never picked do nothing."""
    ticket, now_seconds = tickets.get(number), bench.clock.seconds
    if what == "pick" and number not in tickets:
        tickets[number] = bench.pick(f"r-{number}")
    elif what == "wait":
        bench.clock.seconds += number
        bench.metering.tick()
    elif what == "logged":
        bench.logged(f"r-{number}")
    elif ticket is not None:
        {
            "pick": lambda: None,
            "headers": lambda: bench.see_headers(ticket),
            "body": lambda: bench.metering.recorder.response_chunk(
                ticket, b"x", now_seconds=now_seconds
            ),
            "stream ends": lambda: bench.stream_ends(ticket),
        }[what]()


@settings(deadline=None)
@given(steps)
def test_in_any_order_every_request_ends_once_and_none_is_left(played):
    bench, tickets = Bench(), {}
    recorder = bench.metering.recorder
    for what, number in played:
        play(bench, tickets, what, number)
    for ticket in tickets.values():
        bench.stream_ends(ticket)
    bench.clock.seconds += LIMIT_SECONDS
    bench.metering.tick()
    assert all(ticket.settled for ticket in tickets.values())
    assert len(bench.records) == len(tickets)
    assert bench.picker.ledger.running() == recorder.open == bench.metering.meter.open == 0
    assert bench.completions.awaited == 0
    assert recorder._by_request_id == {}  # no leak: nothing public shows it
    energies = sum(record.joules for record in bench.records)
    own_joules = sum(t.own_joules for t in bench.metering.meter.totals.values())
    assert energies == pytest.approx(own_joules, rel=1e-9, abs=1e-6)
