"""The poller over real sources: what is published when parts of the world go away."""

import asyncio
import logging
import threading
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from telemetry_harness import (
    ManualClock,
    PrometheusServer,
    exporters,
    fleet_of,
    free_port,
    replica_at,
    until,
)

from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from telemetry.poller import PolledSource, Poller
from telemetry.prometheus_source import PrometheusSource
from telemetry.promql import PrometheusQuerier, PrometheusSettings
from telemetry.reading import ANSWERED, FailureReason, Outcome, Reading, SourceReport
from telemetry.scrape import ScrapeSettings, ScrapeSource
from telemetry.system_clock import SystemClock

RUNNING, WATTS, HEALTHY = (
    SignalKind.RUNNING_REQUESTS,
    SignalKind.POWER_WATTS,
    SignalKind.HEALTHY_RATIO,
)


def holder_of(*replicas):
    return SnapshotHolder(FleetSnapshot(fleet=fleet_of(*replicas), published_seconds=0.0))


def scrape_source(clock, **changes):
    return ScrapeSource(ScrapeSettings(timeout_seconds=0.5, **changes), clock)


class ScriptedSource:
    """A source that says what it is told to, or breaks as it is told to."""

    def __init__(self, name, report=None):
        self.name = name
        self.report = report or SourceReport()
        self.error = None
        self.hangs = False
        self.rounds = 0
        self.is_closed = False

    async def collect(self, _fleet):
        self.rounds += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.error is not None:
            raise self.error
        return self.report

    async def aclose(self):
        self.is_closed = True


@asynccontextmanager
async def polling(sources, holder, *, interval=0.05, deadline=5.0, clock=None, registry=None):
    polled = [
        PolledSource(source=source, interval_seconds=interval, deadline_seconds=deadline)
        for source in sources
    ]
    async with Poller(
        polled, holder, clock or SystemClock(), registry=registry or CollectorRegistry()
    ) as poller:
        yield poller


async def test_readings_of_a_fleet_are_published_with_growing_versions():
    async with exporters(2) as (one, two):
        one.expose("vllm:num_requests_running 1")
        two.expose("vllm:num_requests_running 2")
        holder = holder_of(replica_at(one.address), replica_at(two.address))
        async with polling([scrape_source(SystemClock())], holder) as poller:
            first = await poller.published(after_version=0)
            second = await poller.published(after_version=first.version)
    assert first.signal(one.address, RUNNING).value == 1
    assert first.signal(two.address, RUNNING).value == 2
    assert second.version > first.version
    assert second.signal(one.address, RUNNING).observed_seconds > (
        first.signal(one.address, RUNNING).observed_seconds
    )


async def test_rates_are_derived_from_counters():
    clock = ManualClock()
    async with exporters(1) as (engine,):
        holder = holder_of(replica_at(engine.address))
        source = scrape_source(clock)
        poller = Poller([PolledSource(source=source)], holder, clock, registry=CollectorRegistry())
        for tokens in (100, 400):
            engine.expose(f"vllm:generation_tokens_total {tokens}")
            await poller.poll_once()
            clock.advance(3.0)
        await poller.stop()
    signals = holder.current.of(engine.address)
    assert signals[SignalKind.GENERATION_TOKENS_TOTAL].value == 400
    assert signals[SignalKind.GENERATION_TOKENS_PER_SECOND].value == pytest.approx(100.0)


async def test_connections_are_kept_between_rounds():
    async with exporters(1) as (engine,):
        engine.expose("vllm:num_requests_running 1")
        connections = set()
        answer = engine._answer

        async def noting(request):
            connections.add(request.transport.get_extra_info("peername"))
            return await answer(request)

        await engine.stop()
        engine._answer = noting  # looks at the socket's other end, which a body cannot show
        await engine.start()
        holder = holder_of(replica_at(engine.address))
        async with polling([scrape_source(SystemClock())], holder, interval=0.01) as poller:
            await poller.published(after_version=4)
    assert len(connections) == 1


async def test_a_replica_that_dies_keeps_its_last_signals_which_grow_old_and_is_unhealthy():
    async with exporters(2) as (one, two):
        one.expose("vllm:num_requests_running 1")
        two.expose("vllm:num_requests_running 2")
        holder = holder_of(replica_at(one.address), replica_at(two.address))
        async with polling([scrape_source(SystemClock())], holder) as poller:
            alive = await poller.published(after_version=1)
            await one.stop()

            async def noticed():
                return holder.current.signal(one.address, HEALTHY).value == 0

            await until(noticed)
            dead = await poller.published(after_version=holder.current.version + 2)
    assert dead.signal(one.address, RUNNING).value == 1
    ages = [
        snapshot.published_seconds - snapshot.signal(one.address, RUNNING).observed_seconds
        for snapshot in (alive, dead)
    ]
    assert ages[1] > ages[0]
    assert dead.signal(two.address, RUNNING).observed_seconds > (
        dead.signal(one.address, RUNNING).observed_seconds
    )


@pytest.mark.prometheus
async def test_prometheus_goes_and_comes_back_while_the_scrape_keeps_publishing(tmp_path):
    async with exporters(2) as (engine, power):
        engine.expose("vllm:num_requests_running 3")
        power.expose('DCGM_FI_DEV_POWER_USAGE{UUID="G"} 300')
        clock = SystemClock()
        server = PrometheusServer(
            tmp_path, {"vllm": ([engine.address], {}), "dcgm": ([power.address], {})}
        )
        holder = holder_of(replica_at(engine.address, gpu_uuids=("G",)))
        querier = PrometheusQuerier(PrometheusSettings(url=server.url, cache_seconds=0.05), clock)
        sources = [scrape_source(clock), PrometheusSource(querier, clock)]
        address = engine.address

        async def watts_newer_than(seconds):
            signal = holder.current.signal(address, WATTS)
            return signal is not None and signal.observed_seconds > seconds

        async with polling(sources, holder, interval=0.1) as poller:
            without = await poller.published(after_version=2)
            assert without.signal(address, RUNNING).value == 3
            assert without.signal(address, WATTS) is None

            await server.start()
            await until(lambda: watts_newer_than(0.0))

            await server.stop()
            gone_seconds = clock.monotonic_seconds()
            left = holder.current
            later = await poller.published(after_version=left.version + 6)
            assert later.signal(address, WATTS).observed_seconds <= gone_seconds
            assert later.signal(address, WATTS).value == 300
            assert later.signal(address, RUNNING).observed_seconds > (
                left.signal(address, RUNNING).observed_seconds
            )

            await server.start()
            await until(lambda: watts_newer_than(gone_seconds))
            await server.stop()
        await querier.aclose()


async def test_a_source_that_fails_costs_only_its_own_signals_and_is_logged_once(caplog):
    caplog.set_level(logging.INFO)
    broken = ScriptedSource("broken")
    broken.error = ZeroDivisionError("a defect")
    good = ScriptedSource("good", SourceReport(readings=(Reading("a:1", RUNNING, 4, 1.0),)))
    registry = CollectorRegistry()
    holder = holder_of(replica_at("a:1"))
    async with polling([broken, good], holder, registry=registry, interval=0.01):

        async def asked_often():
            return broken.rounds >= 5 and good.rounds >= 5

        await until(asked_often)
        failing = registry.get_sample_value(
            "headrace_telemetry_target_up", {"source": "broken", "target": "*"}
        )
        broken.error = None
        rounds = broken.rounds

        async def asked_again():
            return broken.rounds >= rounds + 2

        await until(asked_again)
    assert holder.current.signal("a:1", RUNNING) == (4, 1.0)
    assert failing == 0
    assert (
        registry.get_sample_value(
            "headrace_telemetry_target_up", {"source": "broken", "target": "*"}
        )
        == 1
    )
    messages = [record.getMessage() for record in caplog.records]
    assert messages.count("telemetry source broken failed") == 1
    assert len([message for message in messages if message.startswith("broken: down")]) == 1
    assert messages.count("broken: back: *") == 1


async def test_a_source_that_hangs_is_given_up_at_its_deadline():
    stuck, good = ScriptedSource("stuck"), ScriptedSource("good")
    stuck.hangs = True
    registry = CollectorRegistry()
    sources = [stuck, good]
    async with polling(sources, holder_of(), deadline=0.1, interval=0.01, registry=registry):

        async def given_up_twice():
            labels = {"source": "stuck", "target": "*", "reason": "timeout"}
            times = registry.get_sample_value("headrace_telemetry_failures_total", labels)
            return (times or 0) >= 2

        await until(given_up_twice)
    assert good.rounds > stuck.rounds


async def test_targets_are_logged_once_per_change_and_counted_every_time(caplog):
    caplog.set_level(logging.INFO)
    registry = CollectorRegistry()
    source = ScriptedSource("s")
    poller = Poller([PolledSource(source=source)], holder_of(), ManualClock(), registry=registry)
    down = Outcome(FailureReason.REFUSED, "why")
    for outcomes in (
        {"a": ANSWERED, "b": ANSWERED},
        {"a": down, "b": down},
        {"a": down, "b": down},
        {"a": ANSWERED, "b": down},
        {"b": down},
    ):
        source.report = SourceReport(outcomes=outcomes)
        await poller.poll_once()
    assert [record.getMessage() for record in caplog.records] == [
        "s: down: a, b (refused: why)",
        "s: back: a",
    ]
    labels = {"source": "s", "target": "b"}
    assert registry.get_sample_value("headrace_telemetry_target_up", labels) == 0
    failures = registry.get_sample_value(
        "headrace_telemetry_failures_total", {**labels, "reason": "refused"}
    )
    assert failures == 4
    assert b'target="a"' not in generate_latest(registry)  # gone with its target


async def test_ages_freshness_and_rejections_are_metrics():
    clock = ManualClock(monotonic_seconds=100.0)
    async with exporters(1) as (engine,):
        engine.expose("vllm:num_requests_running 1", "vllm:num_requests_waiting NaN")
        holder = holder_of(replica_at(engine.address))
        registry = CollectorRegistry()
        poller = Poller(
            [PolledSource(source=scrape_source(clock))], holder, clock, registry=registry
        )
        await poller.poll_once()
        clock.advance(30.0)
        await poller.stop()
    value = registry.get_sample_value
    running = {"kind": "running_requests"}
    assert value("headrace_telemetry_signal_age_seconds", running) == 30.0
    assert value("headrace_telemetry_signals", {**running, "freshness": "stale"}) == 1
    assert value("headrace_telemetry_signals", {"kind": "power_watts", "freshness": "absent"}) == 1
    assert value("headrace_telemetry_poll_seconds_count", {"source": "scrape"}) == 1
    rejected = {"source": "scrape", "kind": "waiting_requests", "reason": "not_finite"}
    assert value("headrace_telemetry_rejected_readings_total", rejected) == 1
    assert value("headrace_telemetry_publications_total") == 1


async def test_the_topology_can_change_while_polling():
    async with exporters(2) as (one, two):
        one.expose("vllm:num_requests_running 1")
        two.expose("vllm:num_requests_running 2")
        holder = holder_of(replica_at(one.address))
        async with polling([scrape_source(SystemClock())], holder) as poller:
            await poller.published(after_version=0)
            poller.set_fleet(fleet_of(replica_at(two.address)))
            at_once = holder.current
            assert at_once.signals == {}
            assert [replica.address for replica in at_once.fleet.replicas()] == [two.address]

            async def seen():
                return holder.current.signal(two.address, RUNNING)

            await until(seen)
            assert set(holder.current.signals) == {two.address}


async def test_listeners_hear_of_every_snapshot_and_a_failing_one_stops_nobody(caplog):
    heard = []

    def failing(_snapshot):
        raise ValueError("a defect")

    source = ScriptedSource("s")
    poller = Poller(
        [PolledSource(source=source)],
        holder_of(),
        ManualClock(),
        registry=CollectorRegistry(),
    )
    poller.subscribe(failing)
    unsubscribe = poller.subscribe(heard.append)
    snapshots = [await poller.poll_once(), await poller.poll_once()]
    unsubscribe()
    await poller.poll_once()
    assert heard == snapshots
    assert [snapshot.version for snapshot in snapshots] == [1, 2]
    assert "a listener to snapshots failed" in caplog.text


async def test_stopping_leaves_no_task_and_no_thread_and_closes_the_sources():
    before = asyncio.all_tasks()
    source = ScriptedSource("s")
    clock = SystemClock()
    querier = PrometheusQuerier(PrometheusSettings(url=f"http://127.0.0.1:{free_port()}"), clock)
    async with polling([source, PrometheusSource(querier, clock)], holder_of()) as poller:
        await poller.published(after_version=1)
    await querier.aclose()
    assert asyncio.all_tasks() == before
    assert source.is_closed
    assert not any("promql" in thread.name for thread in threading.enumerate())


async def test_a_replica_that_stays_silent_is_down_only_while_others_answer():
    async with exporters(2) as (hung, other):
        hung.expose("vllm:num_requests_running 1", hangs=True)
        other.expose("vllm:num_requests_running 1")
        clock = ManualClock()
        holder = holder_of(replica_at(hung.address), replica_at(other.address))
        source = scrape_source(clock, silent_seconds=5.0)
        poller = Poller([PolledSource(source=source)], holder, clock, registry=CollectorRegistry())

        async def health_after(seconds):
            clock.advance(seconds)
            signal = (await poller.poll_once()).signal(hung.address, HEALTHY)
            return signal and (signal.value, clock.monotonic_seconds() - signal.observed_seconds)

        assert await health_after(0.0) is None
        assert await health_after(4.9) is None
        assert await health_after(0.1) == (0.0, 0.0)
        other.hangs = True
        assert await health_after(1.0) == (0.0, 1.0)  # nobody answers: no new reading of anybody
        hung.hangs = False
        assert await health_after(1.0) == (1.0, 0.0)
        hung.hangs, other.hangs = True, False
        assert await health_after(1.0) == (1.0, 1.0)
        await poller.stop()
