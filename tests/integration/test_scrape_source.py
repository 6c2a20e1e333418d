"""One round of direct scrapes: what an answer says of a replica, and what it must not tell."""

import pytest
from telemetry_harness import ManualClock, exporters, fleet_of, replica_at

from fleet.signals import SignalKind
from telemetry.scrape import ScrapeSettings, ScrapeSource
from telemetry.system_clock import SystemClock


async def report_of(replica, clock=None, **settings):
    source = ScrapeSource(ScrapeSettings(timeout_seconds=0.5, **settings), clock or SystemClock())
    try:
        return await source.collect(fleet_of(replica))
    finally:
        await source.aclose()


@pytest.mark.parametrize(
    ("status", "healthy"), [(200, 1.0), (500, 0.0), (503, 0.0), (404, None), (302, None)]
)
async def test_health_is_what_the_answer_says_and_unknown_when_it_says_nothing(status, healthy):
    async with exporters(1) as (engine,):
        engine.expose("vllm:num_requests_running 1", status=status)
        report = await report_of(replica_at(engine.address))
    found = [each.value for each in report.readings if each.kind is SignalKind.HEALTHY_RATIO]
    assert found == ([] if healthy is None else [healthy])


async def test_an_exporters_password_is_in_no_metric_and_no_log():
    async with exporters(1) as (power,):
        power.expose('DCGM_FI_DEV_POWER_USAGE{UUID="G"} 300')
        url = power.url.replace("http://", "http://me:secret@")
        report = await report_of(replica_at("127.0.0.1:1", gpu_uuids=("G",)), exporter_urls=(url,))
    assert "secret" not in str(report)
    watts = [each.value for each in report.readings if each.kind is SignalKind.POWER_WATTS]
    assert watts == [300]


async def test_a_sample_with_a_timestamp_is_as_old_as_it_says():
    clock = ManualClock(monotonic_seconds=100.0, epoch_seconds=2000.0)
    async with exporters(1) as (engine,):
        engine.expose("vllm:num_requests_running 1 1990000")
        report = await report_of(replica_at(engine.address), clock)
    running = [each for each in report.readings if each.kind is SignalKind.RUNNING_REQUESTS]
    assert [each.observed_seconds for each in running] == [90.0]
