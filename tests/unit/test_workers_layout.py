"""What each of several workers is set up with, and what is told of bad numbers of them."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from stack_files import LONELY_FLEET, written

from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.config_errors import BadInputError
from headrace.log_format import JsonFormatter
from headrace.routing import Routing
from headrace.routing_plan import routing_plan
from headrace.serve import with_workers
from headrace.serve_file import load_serve
from headrace.worker_targets import targets
from headrace.workers import messages
from headrace.workers.access_logs import LogForwarder
from headrace.workers.families import TOLD_BY_WORKERS
from headrace.workers.layout import plan_of, plan_of_parent, with_certificate
from router.extproc.health import Readiness
from router.extproc.tls import Certificates
from router.metering.completions import LogEntry
from telemetry.fleet_source import FleetView
from telemetry.system_clock import SystemClock

# What one process cannot tell of all: the parent's own view of all requests is told.
TOLD_BY_THE_PARENT = {
    f"headrace_router_{name}"
    for name in (
        *("requests_ended", "output_tokens", "request_joules", "request_duration_seconds"),
        *("time_to_first_byte_seconds", "time_to_first_token_seconds", "dynamic_joules"),
        *("grams_co2e", "prompt_tokens", "cached_prompt_tokens", "replica_seconds"),
        *("metered_seconds", "predicted_joules", "counterfactual_joules", "saved_joules"),
        *("busy_seconds", "unknown_seconds", "busy_joules", "foreign_joules", "idle_joules"),
        *("carbon_intensity_grams_per_kwh", "sci_grams_per_request"),
        *("sci_grams_per_1k_output_tokens", "access_log_entries", "affinity_trust_ratio"),
        *("fleet_load_ratio", "build", "requests_in_flight", "snapshot_age_seconds", "degraded"),
        *("committed_replicas", "stalled_replicas", "stalls", "ledger_entered", "ledger_settled"),
        *("power_prediction_ratio", "step_prediction_ratio"),
    )
}
ONLY_OF_WORKERS = {
    f"headrace_router_mirror_{name}" for name in ("repeated", "laps", "torn", "resyncs")
}


@pytest.fixture
def section(tmp_path):
    """Loads a serve file of these sections."""
    written(tmp_path / "fleet.yaml", LONELY_FLEET)

    def load(**sections):
        document = {"fleet": "fleet.yaml", "ext_proc": {"port": 0}} | sections
        return load_serve(written(tmp_path / "serve.yaml", document))[0]

    return load


def test_every_worker_has_its_own_address_and_its_part_of_every_bound(section):
    whole = routing_plan(
        section(
            ext_proc={"unix_socket": "/run/x.sock", "port": 9002, "health_port": 9003},
            admission={"max_waiting_requests": 10, "max_waiting_bytes": 1000},
            observability={"remembered_picks": 5, "explained_per_second": 9.0},
        )
    )
    plans = [plan_of(whole, index, 3, port=None) for index in range(3)]

    assert [plan.ext_proc.unix_socket for plan in plans] == [
        Path(f"/run/x.sock.{index}") for index in range(3)
    ]
    assert [plan.ext_proc.port for plan in plans] == [9002, 9003, 9004]
    for plan in plans:
        assert plan.ext_proc.health_port is None
        assert plan.admission.max_waiting_requests == 4
        assert plan.admission.max_waiting_bytes == 334
        assert plan.remembered_picks == 2
        assert plan.explained_per_second == 3.0
        assert replace(plan.ext_proc, unix_socket=None, port=None) == replace(
            whole.ext_proc, unix_socket=None, port=None, health_port=None
        )


def test_waiting_that_is_off_stays_off(section):
    whole = routing_plan(section(admission={"max_waiting_requests": 0}))
    assert plan_of(whole, 0, 4, port=None).admission.max_waiting_requests == 0


def test_a_free_port_is_kept_and_a_shared_one_is_that_of_all(section):
    free = routing_plan(section(ext_proc={"port": 0}))
    assert plan_of(free, 1, 2, port=None).ext_proc.port == 0
    assert plan_of(free, 1, 2, port=41234).ext_proc.port == 41234
    shared = replace(free, ext_proc=replace(free.ext_proc, port=9002, reuse_port=True))
    assert [plan_of(shared, index, 2, port=None).ext_proc.port for index in range(2)] == [9002] * 2


def test_all_workers_show_the_certificate_that_was_made_for_them(section, tmp_path):
    clock = SystemClock()
    plain = routing_plan(section())
    assert with_certificate(plain, clock) is plain
    given = routing_plan(
        section(ext_proc={"port": 0, "secure_serving": True, "cert_path": str(tmp_path)})
    )
    assert with_certificate(given, clock) is given

    made = with_certificate(
        routing_plan(section(ext_proc={"port": 0, "secure_serving": True})), clock
    )
    shown = {
        Certificates(plan_of(made, index, 2, port=None).ext_proc.tls, clock).certificate
        for index in range(2)
    }
    assert len(shown) == 1
    assert b"PRIVATE KEY" not in repr(made).encode()


def test_the_parent_writes_no_records_and_sends_no_spans(section):
    whole = routing_plan(
        section(
            metering={"access_record_path": "-"},
            tracing={"otlp_endpoint": "http://127.0.0.1:4317"},
            affinity={"kv_events": {}},
        )
    )
    parent = plan_of_parent(whole)
    assert (parent.metering.access_record_path, parent.tracing, parent.kv_events) == (None,) * 3
    assert whole.kv_events is not None


def test_a_plan_and_a_topology_survive_the_way_to_a_worker(section, tmp_path):
    plan = routing_plan(section(metering={"carbon_intensity_grams_per_kwh": 400.0}))
    there = messages.unpack_plan(messages.pack(plan))
    assert replace(there, intensity=plan.intensity) == plan
    grams = [each.intensity.grams_per_joule("a", now_seconds=0.0) for each in (plan, there)]
    assert grams[0] == grams[1] == 400.0 / 3.6e6

    _, fleet = load_serve(tmp_path / "serve.yaml")
    news = messages.unpack_news(messages.news(FleetView(fleet=fleet), fleet, fleet).news)
    assert news.fleet == fleet
    assert news.seen is news.fleet  # the picker makes its pools anew for another object


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("unix:/a/b.sock", ("unix:/a/b.sock.0", "unix:/a/b.sock.1")),
        ("10.0.0.1:9002", ("10.0.0.1:9002", "10.0.0.1:9003")),
        ("[::1]:9002", ("[::1]:9002", "[::1]:9003")),
        ("nonsense", ("nonsense",)),
    ],
)
def test_a_router_of_two_workers_has_two_addresses(target, found):
    assert targets(target, 2) == found
    assert targets(target, 1) == (target,)


@pytest.mark.parametrize("given", ["0", "65", "-1", "two", "1.5", ""])
def test_a_bad_number_of_workers_is_one_sentence(section, given):
    with pytest.raises(BadInputError) as refused:
        with_workers(section(), given, where="serve")
    assert refused.value.problems == (
        f"serve: --workers must be a number from 1 to 64, got {given!r}.",
    )


def test_the_flag_wins_over_the_file(section):
    assert with_workers(section(workers=3), None, where="serve").workers == 3
    assert with_workers(section(workers=3), "2", where="serve").workers == 2


def test_ports_that_there_are_not_are_one_sentence(section, tmp_path):
    sentence = "ext_proc.port 65535 leaves no ports for 2 workers, which take one each."
    with pytest.raises(BadInputError) as refused:
        section(ext_proc={"port": 65535}, workers=2)
    assert refused.value.problems == (f"{tmp_path}/serve.yaml: {sentence}",)
    with pytest.raises(BadInputError) as refused:
        with_workers(section(ext_proc={"port": 65535}), "2", where="serve")
    assert refused.value.problems == (f"serve: {sentence}",)
    section(ext_proc={"port": 65535, "shared_port": True}, workers=2)


def test_log_lines_of_a_worker_have_its_number():
    record = logging.LogRecord("router.x", logging.INFO, __file__, 1, "a line", (), None)
    line = json.loads(JsonFormatter(3).format(record))
    assert (line["worker"], line["logger"], line["message"]) == (3, "router.x", "a line")
    assert "worker" not in json.loads(JsonFormatter().format(record))


def test_a_worker_loads_nothing_that_it_has_no_use_for():
    heavy = {
        *("pydantic", "yaml", "aiohttp", "capper", "requests", "cryptography", "numpy", "kopf"),
        *("kubernetes", "opentelemetry", "telemetry.poller", "telemetry.scrape"),
    }
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", "import sys, headrace.workers.main; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert heavy & set(loaded.stdout.split()) == set()


def test_every_metric_of_a_worker_is_summed_or_told_by_the_parent(section):
    clock, registry = SystemClock(), CollectorRegistry()
    snapshots = SnapshotHolder(FleetSnapshot(fleet=Fleet(()), published_seconds=0.0))
    Routing(
        routing_plan(section()),
        Fleet(()),
        snapshots=snapshots,
        readiness=Readiness(snapshots),
        clock=clock,
        registry=registry,
    )
    names = {metric.name for metric in registry.collect()}
    assert not TOLD_BY_THE_PARENT & TOLD_BY_WORKERS.keys()
    assert names == TOLD_BY_THE_PARENT | (TOLD_BY_WORKERS.keys() - ONLY_OF_WORKERS)


class Told:
    """Takes entries for all workers."""

    def __init__(self):
        self.entries = []

    def logged(self, entry):
        self.entries.append(entry)


def test_entries_that_ended_no_request_are_counted_once_and_never_fall():
    crew = Told()
    forwarder = LogForwarder(crew)
    entry = LogEntry("r", 200, None, None)
    for _ in range(3):
        forwarder.logged(entry, now_seconds=0.0)
    assert crew.entries == [entry] * 3
    forwarder.mark()
    forwarder.logged(entry, now_seconds=0.0)  # after the question: not in its answer
    assert forwarder.unmatched(2) == 1
    assert forwarder.unmatched(3) == 1
    forwarder.mark()
    assert forwarder.unmatched(2) == 2
