"""What metering writes is documented: record fields, metadata keys, account, spans, log lines."""

import json
import logging
import re

import pytest
from builders import chat, make_fleet, make_snapshot
from docs_tables import DOCS, described, rows
from metering_builders import metered
from prometheus_client import CollectorRegistry

from fleet.snapshot import SnapshotHolder
from headrace.log_format import JsonFormatter
from router.decide.explain import CandidateView
from router.extproc.encoder import METERING_NAMESPACE as ENCODED_NAMESPACE
from router.extproc.scored import SCORES_KEY
from router.metering.energy import Method
from router.metering.journey import ResponseSeen, TokensSource
from router.metering.record import UNKNOWN_METHOD, AccessRecord
from router.metering.recorder import METADATA_NAMESPACE
from router.tracing import SPAN_NAME, attributes
from telemetry.system_clock import SystemClock


def documented(page, section):
    return [row.name for row in rows(page) if row.section == section]


@pytest.fixture
def metering():
    clock = SystemClock()
    holder = SnapshotHolder(make_snapshot(make_fleet(), at_seconds=clock.monotonic_seconds()))
    metering = metered(CollectorRegistry(), holder, clock)
    metering.picker_pick = lambda: metering.decider.pick(
        chat(), now_seconds=clock.monotonic_seconds(), draw=0.5
    )
    return metering


def test_every_field_of_the_access_record_is_documented_in_order_and_no_other():
    record = AccessRecord(**dict.fromkeys(AccessRecord._fields))
    assert documented("metering.md", "access_record") == list(json.loads(record.to_line()))
    for row in rows("metering.md"):
        assert all(row.cells), row


def test_every_key_that_the_proxy_is_told_is_documented_and_no_other(metering):
    ticket = metering.picker_pick().ticket
    told = metering.recorder.metadata(ticket, now_seconds=SystemClock().monotonic_seconds() + 1.0)
    assert documented("metering.md", METADATA_NAMESPACE) == list(told)
    assert METADATA_NAMESPACE == ENCODED_NAMESPACE


def test_every_field_of_the_account_is_documented_and_no_other(metering):
    account = metering.to_dict()
    assert documented("metering.md", "/debug/energy") == list(account)
    [text] = [row.cells[1] for row in rows("metering.md") if row.name == "backends"]
    [backend, *_] = account["backends"].values()
    assert re.findall(r"`(\w+)`", text) == list(backend)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("headrace_router_requests_ended_total", [*Method, UNKNOWN_METHOD]),
        ("headrace_router_output_tokens_total", [*TokensSource][:2]),
        ("headrace_router_access_log_entries_total", ["matched", "unmatched", "expired"]),
    ],
)
def test_every_value_of_a_label_is_documented_and_no_other(section, values):
    assert documented("metrics.md", section) == [str(value) for value in values]


def test_sources_and_ways_of_seeing_are_documented():
    text = (DOCS / "metering.md").read_text(encoding="utf-8")
    assert documented("metering.md", "tokens_source") == [str(value) for value in TokensSource]
    assert all(f"`{seen}`" in text for seen in ResponseSeen)


def test_verdicts_are_documented_as_the_explanation_has_them():
    named = re.findall(r'"([a-z ]+)"', CandidateView.__doc__)
    section = "headrace_router_explained_candidates_total"
    assert set(named) <= set(documented("metrics.md", section))


def test_spans_and_scores_are_documented():
    text = (DOCS / "tracing.md").read_text(encoding="utf-8")
    assert f"`{SPAN_NAME}`" in text
    assert SCORES_KEY in text
    record = AccessRecord(**dict.fromkeys(AccessRecord._fields, 1))
    left_out = set(record.to_dict()) - {key.removeprefix("headrace.") for key in attributes(record)}
    assert all(f"`{name}`" in text for name in left_out)


def test_keys_of_a_log_line_are_documented_and_no_other():
    error = ValueError("odd")
    told = (type(error), error, None)
    record = logging.LogRecord("router", logging.WARNING, "", 0, "%d lost", (3,), told)
    line = json.loads(JsonFormatter().format(record))
    assert (line["level"], line["message"]) == ("warning", "3 lost")
    assert "ValueError: odd" in line["exception"]
    assert documented("tracing.md", "log") == list(line)


def test_all_families_of_a_metered_request_have_samples():
    registry, clock = CollectorRegistry(), SystemClock()
    holder = SnapshotHolder(make_snapshot(make_fleet(), at_seconds=clock.monotonic_seconds()))
    metered(registry, holder, clock)
    assert [family.name for family in registry.collect() if not family.samples] == []
    assert len(described(registry)) > 30
