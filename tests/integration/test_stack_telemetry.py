"""What the router believes when its instruments lie, fall silent or die, and that it routes on."""

import asyncio
import math

import pytest
import pytest_asyncio
from stack_harness import SteadyLoad, running_stack, steady, three_h100
from telemetry_harness import until

from loadtest.client import ReplayOptions, replay
from loadtest.exposition import MetricsFault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

LIAR = "h100-0"
REASONS = {
    MetricsFault.NAN: "not_finite",
    MetricsFault.NEGATIVE: "negative",
    MetricsFault.SENTINEL: "above_limit",
}
REJECTED = "headrace_telemetry_rejected_readings_total"
PICKS = "headrace_router_picks_total"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory):
    async with running_stack(tmp_path_factory.mktemp("stack"), three_h100()) as stack:
        yield stack


async def sent(stack, arrivals):
    outcomes = await replay(arrivals, base_url=stack.lane.base_url, options=ReplayOptions())
    return [it for it in outcomes if it.failure is not None]


def break_metrics(stack, fault):
    """All gauges and counters of one replica and its board."""
    [spec] = [spec for spec in stack.fleet.spec.replicas if spec.name == LIAR]
    stack.fleet.server(LIAR).metrics_fault = fault
    faults = stack.fleet.exporter(spec.node).faults
    if fault is None:
        faults.pop(spec.board_uuid, None)
    else:
        faults[spec.board_uuid] = fault


async def fresh_watts(stack):
    """Of the liar; None when no fresh reading is known."""
    signal = (await stack.snapshot())[LIAR]["signals"].get("power_watts")
    return signal["value"] if signal and signal["age_seconds"] < 0.6 else None


def lines(stack, *words):
    return [line for line in stack.router_log().splitlines() if all(word in line for word in words)]


@pytest.mark.parametrize("fault", MetricsFault)
async def test_a_replica_whose_metrics_lie_is_unknown_never_zero_watts_and_serves_on(stack, fault):
    await until(lambda: fresh_watts(stack))
    seen = []
    logged = len(lines(stack, "drops readings"))
    before = await stack.metric(REJECTED, REASONS.get(fault, "none"), "power_watts", "scrape")
    break_metrics(stack, fault)
    try:
        load = asyncio.create_task(sent(stack, steady(60, requests_per_second=40.0)))
        while not load.done():
            seen.append((await stack.snapshot())[LIAR]["signals"])
            await asyncio.sleep(0.05)
        assert await load == []

        if fault in REASONS:
            dropped = await stack.metric(REJECTED, REASONS[fault], "power_watts", "scrape")
            assert dropped >= before + 3
        else:
            # Nothing was measured, so nothing can be refused: the growing age tells.
            assert await stack.metric("headrace_telemetry_signal_age_seconds", "power_watts") > 1.0
        told = [line.partition("drops readings: ")[2] for line in lines(stack, "drops readings")]
        kinds = [kind for line in told[logged:] for kind in line.split(", ")]
        assert len(kinds) == len(set(kinds)), "each is told once"
        assert bool(kinds) == (fault in REASONS)

        # A router that starts now has never had a reading of it.
        await stack.kill_router()
        await stack.lane.start_router()
        await stack.until_envoy_sees(healthy_replicas=3)
        assert await sent(stack, steady(10, requests_per_second=100.0)) == []
        unknown = (await stack.snapshot())[LIAR]
    finally:
        break_metrics(stack, None)

    assert len(seen) >= 5
    for signals in seen:
        for kind, signal in signals.items():
            assert math.isfinite(signal["value"]), kind
            assert 0.0 <= signal["value"] < 1e15, kind
    watts = [signals["power_watts"] for signals in seen]
    assert all(signal["value"] > 0.0 for signal in watts)
    assert watts[-1]["age_seconds"] > 1.0  # the last true reading, growing old
    assert {"power_watts", "energy_watts", "running_requests"} <= set(unknown["unknown"])
    assert unknown["signals"]["healthy_ratio"]["value"] == 1.0

    await until(lambda: fresh_watts(stack))
    assert lines(stack, "Traceback") == []
    await stack.settled()


@pytest.mark.prometheus
async def test_prometheus_dies_and_comes_back_under_load_and_the_scrape_carries_on(tmp_path):
    async with running_stack(tmp_path, three_h100(), with_prometheus=True) as stack:

        async def power_query_works():
            return await stack.metric("headrace_telemetry_target_up", "prometheus", "power_watts")

        async def power_query_fails():
            return not await power_query_works()

        await until(power_query_works)
        async with SteadyLoad(stack, requests_per_second=50.0) as load:
            await stack.prometheus.kill()
            await until(power_query_fails)
            await asyncio.sleep(2.0)  # several more polls, none of which may log again
            assert len(lines(stack, "prometheus: down")) == 1
            await until(lambda: fresh_watts(stack))
            await stack.prometheus.start()
            await until(power_query_works)
        assert load.results == {"whole": load.sent}
        assert len(lines(stack, "prometheus: back")) == 1
        assert await stack.metric(PICKS, "degraded") == 0
        assert await stack.picks_total() == load.sent
        await stack.settled()


@pytest.mark.prometheus
async def test_without_its_only_source_the_router_degrades_and_recovers(tmp_path):
    async with running_stack(
        tmp_path, three_h100(), with_prometheus=True, scrape_interval_seconds=None
    ) as stack:
        await until(lambda: has_fresh_watts(stack))

        async def picks_grow(reason):
            before = await stack.metric(PICKS, reason)

            async def have_grown():
                return await stack.metric(PICKS, reason) >= before + 10

            await until(have_grown, seconds=30)

        async with SteadyLoad(stack, requests_per_second=25.0) as load:
            await picks_grow("committed")
            assert await stack.metric(PICKS, "degraded") == 0
            await stack.prometheus.kill()
            await picks_grow("degraded")
            await stack.prometheus.start()
            await until(lambda: has_fresh_watts(stack))
            await picks_grow("committed")
        assert load.results == {"whole": load.sent}
        assert await stack.picks_total() == load.sent
        await stack.settled()


async def has_fresh_watts(stack):
    signal = (await stack.snapshot())[LIAR]["signals"].get("power_watts")
    return signal is not None and signal["freshness"] == "fresh"
