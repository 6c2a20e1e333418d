"""Records, series and carbon figures of requests that go through picker, meter and recorder."""

import json
from dataclasses import replace

import pytest
from builders import chat, make_fleet, make_snapshot
from prometheus_client import CollectorRegistry

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from fleet.snapshot import SnapshotHolder
from fleet.topology import Fleet
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.metering.intensity import StaticIntensity
from router.metering.journey import read_caller
from router.metering.meter import MeterSettings
from router.metering.metering import Metering, MeteringSettings
from router.metering.series import OVERFLOW, BoundedLabels, Histogram

WATTS = 300.0
TOKENS_PER_SECOND = 100.0
SSE = b'data: {"usage":{"prompt_tokens":12,"completion_tokens":40}}\n\ndata: [DONE]\n\n'


class TurnedClock:
    def __init__(self):
        self.seconds = 0.0

    def monotonic_seconds(self):
        return self.seconds

    def epoch_seconds(self):
        return 1_700_000_000.0 + self.seconds


class Bench:
    """One fleet whose replicas all draw 300 W and write 100 tokens a second."""

    def __init__(self, *, grams_per_kwh=None, watts=WATTS, **settings):
        self.clock, self.registry, self.records = TurnedClock(), CollectorRegistry(), []
        self.fleet = make_fleet({"H100": 2})
        self.holder = SnapshotHolder(make_snapshot(self.fleet))
        self.picker = Picker(self.fleet, DecideSettings())
        self.watts = watts
        self.metering = Metering(
            self.picker,
            MeteringSettings(meter=MeterSettings(model_watts=False), **settings),
            policy="dispatch",
            snapshots=self.holder,
            clock=self.clock,
            registry=self.registry,
            intensity=StaticIntensity(default_grams_per_kwh=grams_per_kwh),
            sinks=(lambda record, _: self.records.append(record),),
        )
        self.observe()

    def observe(self):
        readings = {SignalKind.GENERATION_TOKENS_PER_SECOND: TOKENS_PER_SECOND}
        if self.watts is not None:
            readings[SignalKind.POWER_WATTS] = self.watts
        now_seconds = self.clock.seconds
        self.holder.current = make_snapshot(
            self.fleet,
            {replica.address: readings for replica in self.fleet.replicas()},
            at_seconds=now_seconds,
        )
        self.picker.observe(self.holder.current, PriceBoard(), now_seconds=now_seconds)
        self.metering.observe(self.holder.current)

    def pick(self, headers=None, **facts):
        pick = self.metering.decider.pick(
            chat()._replace(**facts), now_seconds=self.clock.seconds, draw=0.5
        )
        self.metering.recorder.routed(pick.ticket, headers or {})
        return pick.ticket

    def respond(self, ticket, *chunks, status=200, encoding=""):
        self.metering.recorder.response_started(
            ticket,
            status=status,
            content_type="text/event-stream",
            content_encoding=encoding,
            now_seconds=self.clock.seconds,
        )
        for chunk in chunks:
            self.metering.recorder.response_chunk(ticket, chunk, now_seconds=self.clock.seconds)

    def settle(self, ticket):
        return self.metering.decider.settle(ticket, now_seconds=self.clock.seconds)

    def value(self, name, **labels):
        return self.registry.get_sample_value(f"headrace_router_{name}", labels or None)


def test_a_record_tells_who_what_where_and_how_much():
    bench = Bench(grams_per_kwh=360.0)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    ticket = bench.pick(
        {
            "x-request-id": "r-1",
            "x-headrace-tenant": "team-a",
            "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
        },
        stream=True,
    )
    bench.clock.seconds = 0.5
    bench.respond(ticket)
    bench.clock.seconds = 1.0
    bench.metering.recorder.response_chunk(ticket, SSE[:20], now_seconds=1.0)
    bench.metering.recorder.response_chunk(ticket, SSE[20:], now_seconds=2.0)
    bench.clock.seconds = 4.0
    assert bench.settle(ticket)
    [record] = bench.records
    told = json.loads(record.to_line())
    assert told["schema"] == 1
    assert told["request_id"] == "r-1"
    assert told["trace_id"] == trace
    assert told["tenant"] == "team-a"
    assert told["ended_epoch_seconds"] == 1_700_000_004.0
    assert (told["status"], told["response_seen"]) == (200, "body")
    assert (told["ttfb_seconds"], told["ttft_seconds"], told["duration_seconds"]) == (0.5, 1, 4)
    assert (told["prompt_tokens"], told["output_tokens"]) == (12, 40)
    assert told["tokens_source"] == "response"
    assert told["joules"] == pytest.approx(4 * WATTS)
    assert told["grams_co2e"] == pytest.approx(4 * WATTS * 1e-4)
    assert told["method"] == "prorated-measured"
    assert told["coverage_ratio"] == told["measured_ratio"] == 1.0
    assert told["counterfactual_policy"] == "least-request"
    assert told["counterfactual_replica"] in {r.address for r in bench.fleet.replicas()}
    assert told["predicted_dynamic_joules"] > 0.0
    assert record.to_line().count(b"\n") == 1


def test_two_at_once_share_and_without_a_body_the_engine_tells_the_tokens():
    bench = Bench()
    tickets = [bench.pick(), bench.pick()]
    assert tickets[0].address == tickets[1].address  # packed
    bench.clock.seconds = 4.0
    for ticket in tickets:
        bench.settle(ticket)
    for record in bench.records:
        assert record.joules == pytest.approx(4 * WATTS / 2)
        assert record.output_tokens == pytest.approx(4 * TOKENS_PER_SECOND / 2)
        assert record.tokens_source == "engine-prorated"
        assert record.grams_co2e is None


def test_unknown_watts_are_none_and_counted_apart_and_gaps_lower_the_coverage():
    bench = Bench(watts=None)
    ticket = bench.pick()
    bench.clock.seconds = 2.0
    bench.settle(ticket)
    assert (bench.records[0].joules, bench.records[0].method) == (None, "unknown")
    assert bench.records[0].coverage_ratio == 0.0
    assert bench.value("unknown_seconds_total", backend="h100") == 2.0
    ticket = bench.pick()
    bench.clock.seconds = 4.0
    bench.watts = WATTS
    bench.observe()
    bench.clock.seconds = 8.0
    bench.settle(ticket)
    record = bench.records[1]
    assert record.joules == pytest.approx(4 * WATTS)
    assert record.coverage_ratio == pytest.approx(4 / 6)
    who = {"model": "llama", "backend": "h100", "tenant": "none"}
    assert bench.value("requests_ended_total", method="unknown", **who) == 1
    assert bench.value("request_joules_count", **who) == 1


def test_compressed_bodies_are_not_looked_into():
    bench = Bench()
    ticket = bench.pick()
    bench.respond(ticket, SSE, encoding="gzip")
    bench.clock.seconds = 1.0
    bench.settle(ticket)
    assert bench.records[0].tokens_source == "engine-prorated"


def test_what_the_proxy_is_told_is_what_was_taken_so_far():
    bench = Bench()
    ticket = bench.pick()
    bench.clock.seconds = 3.0
    told = bench.metering.recorder.metadata(ticket, now_seconds=3.0)
    assert told["joules"] == pytest.approx(3 * WATTS)
    assert told["method"] == "prorated-measured"
    assert told["replica"] == ticket.address
    assert "grams_co2e" not in told
    bench.settle(ticket)
    assert bench.metering.recorder.metadata(ticket, now_seconds=3.0) is None


def test_a_move_changes_the_backend_of_the_record_and_loses_no_joule():
    bench = Bench()
    ticket = bench.pick()
    bench.clock.seconds = 1.0
    [other] = {r.address for r in bench.fleet.replicas()} - {ticket.address}
    bench.picker.ledger.move(ticket, other, now_seconds=1.0)
    bench.clock.seconds = 2.0
    bench.settle(ticket)
    assert bench.records[0].replica == other
    assert bench.records[0].joules == pytest.approx(2 * WATTS)


def test_a_replica_that_leaves_with_a_request_on_it_is_metered_to_the_end_and_then_forgotten():
    bench = Bench()
    ticket = bench.pick()
    bench.clock.seconds = 2.0
    [backend] = bench.fleet.backends
    left = tuple(r for r in backend.replicas if r.address != ticket.address)
    bench.fleet = Fleet((replace(backend, replicas=left),))
    bench.observe()
    assert ticket.address in bench.metering.meter._replicas  # nothing public shows it
    bench.clock.seconds = 4.0
    bench.settle(ticket)
    [record] = bench.records
    assert (record.backend, record.replica) == ("h100", ticket.address)
    assert record.joules == pytest.approx(4 * WATTS)
    assert list(bench.metering.meter._replicas) == [left[0].address]
    assert bench.value("busy_joules_total", backend="h100") == pytest.approx(4 * WATTS)


def test_carbon_intensity_of_software_is_the_sum_over_the_unit():
    bench = Bench(grams_per_kwh=360.0, embodied_grams_per_replica_hour=36.0)
    for _ in range(2):
        ticket = bench.pick()
        bench.respond(ticket, SSE)
        bench.clock.seconds += 2.0
        bench.settle(ticket)
    figures = bench.metering.to_dict()["software_carbon_intensity"]["llama"]
    grams = 2 * WATTS * 1e-4 + 2 * 36.0 / 3600
    assert figures["grams_per_request"] == pytest.approx(grams)
    assert figures["grams_per_1k_output_tokens"] == pytest.approx(grams / 0.04)
    assert figures["embodied"] == "included"
    assert bench.value("sci_grams_per_request", model="llama", embodied="included") == (
        pytest.approx(grams)
    )
    assert bench.value("carbon_intensity_grams_per_kwh", domain="default") == pytest.approx(360.0)


def test_without_a_declaration_embodied_carbon_is_excluded_and_the_figure_says_so():
    bench = Bench(grams_per_kwh=360.0)
    ticket = bench.pick()
    bench.clock.seconds = 2.0
    bench.settle(ticket)
    assert bench.value("sci_grams_per_request", model="llama", embodied="excluded") == (
        pytest.approx(2 * WATTS * 1e-4)
    )


def test_tenants_beyond_the_bound_are_counted_as_other():
    bench = Bench(max_tenants=2)
    for number in range(50):
        bench.settle(bench.pick({"x-headrace-tenant": f"tenant-{number % 10}"}))
    labels = {
        sample.labels["tenant"]
        for family in bench.registry.collect()
        for sample in family.samples
        if "tenant" in sample.labels
    }
    assert labels == {"tenant-0", "tenant-1", OVERFLOW}
    who = {"model": "llama", "backend": "h100", "tenant": OVERFLOW}
    assert bench.value("request_duration_seconds_count", **who) == 40


def test_the_account_sums_requests_in_flight_too():
    bench = Bench()
    bench.settle(bench.pick())
    bench.pick()
    bench.clock.seconds = 3.0
    account = bench.metering.to_dict()
    assert account["requests_in_flight"] == 1
    assert account["request_joules"] == pytest.approx(3 * WATTS)
    assert account["difference_ratio"] == pytest.approx(0.0, abs=1e-12)


def test_histogram_bounds_are_inclusive_as_prometheus_has_them():
    histogram = Histogram((1.0, 10.0))
    for value in (0.5, 1.0, 1.1, 10.0, 11.0):
        histogram.add(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == pytest.approx(23.6)


def test_a_label_once_admitted_stays():
    labels = BoundedLabels(1)
    assert [labels.admit(name) for name in ("a", "b", "a")] == ["a", OVERFLOW, "a"]


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ({}, None),
        ({"x-headrace-tenant": ""}, None),
        ({"x-llm-d-inference-fairness-id": "b"}, "b"),
        ({"x-headrace-tenant": "a", "x-gateway-inference-fairness-id": "b"}, "a"),
        ({"x-headrace-tenant": "x" * 1000}, "x" * 128),
    ],
)
def test_the_tenant_is_ours_first_then_the_fairness_id(headers, tenant):
    assert read_caller(headers).tenant == tenant


@pytest.mark.parametrize("text", ["", "00-12-34-01", "garbage", "00-" + "a" * 31 + "-b-01"])
def test_a_malformed_traceparent_has_no_trace(text):
    assert read_caller({"traceparent": text}).trace_id is None
