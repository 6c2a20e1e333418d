"""Spans of requests, joined to the caller's trace, with the real OpenTelemetry SDK."""

import subprocess
import sys

import pytest
from builders import chat
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from router.decide.ledger import Ledger
from router.decide.outcome import Pick, PickReason
from router.metering.journey import Journey, read_caller
from router.metering.record import AccessRecord
from router.tracing import Tracing, read_traceparent

TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
PARENT_ID = 0x00F067AA0BA902B7
SAMPLED = f"00-{TRACE_ID:032x}-{PARENT_ID:016x}-01"
NOT_SAMPLED = SAMPLED[:-2] + "00"
RECORD = AccessRecord(**dict.fromkeys(AccessRecord._fields))._replace(
    ended_epoch_seconds=1_700_000_010.0,
    duration_seconds=4.0,
    model="llama",
    policy="dispatch",
    replica="10.0.0.1:8000",
    joules=120.5,
    candidates=8,
)


class Bench:
    def __init__(self, *, only_sampled=True):
        self.exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider, only_sampled=only_sampled)

    def spans(self, traceparent):
        ticket = Ledger().enter(
            "10.0.0.1:8000", resident_tokens=1.0, prefill_seconds=0.0, now_seconds=0.0
        )
        pick = Pick("10.0.0.1:8000", PickReason.COMMITTED, ticket, 1.0)
        journey = Journey(chat(), pick, backend="h100", picked_seconds=0.0)
        journey.caller = read_caller({} if traceparent is None else {"traceparent": traceparent})
        self.tracing.add(RECORD, journey)
        return self.exporter.get_finished_spans()


def test_a_span_is_a_child_of_the_callers_and_carries_the_decision_and_the_joules():
    [span] = Bench().spans(SAMPLED)
    assert span.name == "headrace.pick"
    assert span.context.trace_id == TRACE_ID
    assert span.parent.span_id == PARENT_ID
    assert (span.start_time, span.end_time) == (1_700_000_006 * 10**9, 1_700_000_010 * 10**9)
    assert span.attributes["headrace.joules"] == 120.5
    assert span.attributes["headrace.policy"] == "dispatch"
    assert span.attributes["headrace.candidates"] == 8
    assert "headrace.grams_co2e" not in span.attributes  # unknown, and not 0


@pytest.mark.parametrize("traceparent", [None, NOT_SAMPLED, "garbage"])
def test_what_the_caller_does_not_sample_is_left_out(traceparent):
    assert Bench().spans(traceparent) == ()


@pytest.mark.parametrize("traceparent", [None, "garbage"])
def test_all_requests_may_be_traced_with_a_trace_of_their_own(traceparent):
    [span] = Bench(only_sampled=False).spans(traceparent)
    assert span.parent is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "ff" + SAMPLED[2:],
        SAMPLED.replace(f"{TRACE_ID:032x}", "0" * 32),
        SAMPLED.replace(f"{PARENT_ID:016x}", "0" * 16),
        SAMPLED.replace("4bf9", "xyzw"),
        SAMPLED[:-1],
    ],
)
def test_a_malformed_traceparent_is_none(text):
    assert read_traceparent(text) is None


def test_the_library_is_not_loaded_while_tracing_is_off():
    program = "import headrace.service, sys; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", program], check=False).returncode == 0
