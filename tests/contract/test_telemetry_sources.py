"""One suite for every source of readings: a direct scrape, and a real Prometheus in between.

Both look at the same scripted exporters, so what the router learns must not depend on the way.
"""

import asyncio

import pytest
import pytest_asyncio
from telemetry_harness import (
    PrometheusServer,
    exporters,
    fleet_of,
    replica_at,
    until,
)

from fleet.signals import SignalKind
from telemetry.assembly import Assembly
from telemetry.counters import RateWindow
from telemetry.prometheus_source import PrometheusSource
from telemetry.promql import PrometheusQuerier, PrometheusSettings
from telemetry.reading import RejectionReason
from telemetry.scrape import ScrapeSettings, ScrapeSource
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

K = SignalKind
SENTINEL = "9223372036854775794"


class World:
    """Three engines, a power exporter, a fleet of them, and the source under test."""

    def __init__(self, name, engines, power):
        self.name = name
        self.engines, self.power = engines, power
        self.a, self.b, self.c = (engine.address for engine in engines)
        self.fleet = fleet_of(
            replica_at(self.a, gpu_uuids=("GPU-A1", "GPU-A2")),
            replica_at(self.b, pod="engine-b", namespace="llm"),
            replica_at(self.c),
        )
        self.source = None

    async def play(self, *bodies, power=("up_and_well 1",)):
        """Give every engine a body (None: stopped, "hang": never answers) and let it be seen."""
        for engine, body in zip([*self.engines, self.power], [*bodies, power], strict=True):
            if body is None:
                await engine.stop()
                continue
            if not engine.is_up:
                await engine.start()
            engine.expose(*([] if body == "hang" else body), hangs=body == "hang")
        await self._settle()

    async def _settle(self):
        """Until Prometheus has seen what is exposed now, and missed what is not."""
        if self.name == "scrape":
            return
        asked = [(each, each.hits) for each in [*self.engines, self.power] if each.is_up]

        async def seen():
            return all(each.hits >= hits + 2 for each, hits in asked)

        await until(seen)
        if len(asked) < len(self.engines) + 1 or any(each.hangs for each, _ in asked):
            await asyncio.sleep(1.0)  # a target that gives nothing is known by its timeout only

    async def readings(self):
        report = await self.report()
        return {(each.address, each.kind): each.value for each in report.readings}

    async def report(self):
        await asyncio.sleep(0.05)  # past the cache
        return await self.source.collect(self.fleet)


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["scrape", pytest.param("prometheus", marks=pytest.mark.prometheus)],
)
async def world(request, tmp_path_factory):
    clock = SystemClock()
    async with exporters(4) as (*engines, power):
        world = World(request.param, engines, power)
        if request.param == "scrape":
            world.source = ScrapeSource(
                ScrapeSettings(
                    exporter_urls=(power.url,), timeout_seconds=0.3, max_body_bytes=1_000_000
                ),
                clock,
            )
            yield world
            await world.source.aclose()
            return
        server = PrometheusServer(
            tmp_path_factory.mktemp("prometheus"),
            {
                "vllm": ([engine.address for engine in engines], {}),
                # As a ServiceMonitor without honorLabels: the exporter's own pod takes the label.
                "dcgm": ([power.address], {"pod": "dcgm-1", "namespace": "monitoring"}),
            },
        )
        await server.start()
        settings = PrometheusSettings(url=server.url, cache_seconds=0.02)
        querier = PrometheusQuerier(settings, clock)
        world.source = PrometheusSource(querier, clock)
        yield world
        await world.source.aclose()
        await querier.aclose()
        await server.stop()


def vllm(running, *, kv="0.5", tokens="100", engine="0", model="m"):
    labels = f'{{engine="{engine}",model_name="{model}"}}'
    return [
        f"vllm:num_requests_running{labels} {running}",
        f"vllm:num_requests_waiting{labels} 1",
        f"vllm:kv_cache_usage_perc{labels} {kv}",
        f"vllm:generation_tokens_total{labels} {tokens}",
    ]


async def test_every_engine_gives_its_own_signals_and_health(world):
    info = 'vllm:cache_config_info{block_size="16",num_gpu_blocks="100",engine="0"} 1'
    finished = 'vllm:request_success_total{finished_reason="%s",engine="0"} %d'
    await world.play(
        [*vllm(3), info, finished % ("stop", 5), finished % ("length", 2)], vllm(4), vllm(5)
    )
    readings = await world.readings()
    for address, running in ((world.a, 3), (world.b, 4), (world.c, 5)):
        assert readings[address, K.RUNNING_REQUESTS] == running
        assert readings[address, K.WAITING_REQUESTS] == 1
        assert readings[address, K.KV_USAGE_RATIO] == 0.5
        assert readings[address, K.GENERATION_TOKENS_TOTAL] == 100
        assert readings[address, K.HEALTHY_RATIO] == 1
    assert readings[world.a, K.KV_CAPACITY_TOKENS] == 1600
    assert readings[world.a, K.REQUESTS_FINISHED_TOTAL] == 7


async def test_names_of_vllm_v0_are_understood_beside_those_of_v1(world):
    await world.play(
        ['vllm:gpu_cache_usage_perc{model_name="m"} 0.25'],
        vllm(4, kv="0.75"),
        [*vllm(5, kv="0.1"), 'vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.9'],
    )
    readings = await world.readings()
    assert readings[world.a, K.KV_USAGE_RATIO] == 0.25
    assert readings[world.b, K.KV_USAGE_RATIO] == 0.75
    assert readings[world.c, K.KV_USAGE_RATIO] == 0.1


async def test_a_missing_metric_is_no_reading_and_not_zero(world):
    await world.play(vllm(3)[:1], vllm(4), vllm(5))
    readings = await world.readings()
    assert readings[world.a, K.RUNNING_REQUESTS] == 3
    assert (world.a, K.KV_USAGE_RATIO) not in readings
    assert (world.a, K.POWER_WATTS) not in readings


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", RejectionReason.NOT_FINITE),
        ("+Inf", RejectionReason.NOT_FINITE),
        ("-3", RejectionReason.NEGATIVE),
        (SENTINEL, RejectionReason.ABOVE_LIMIT),
    ],
)
async def test_an_impossible_value_is_dropped_counted_and_costs_nothing_else(world, value, reason):
    await world.play(vllm(value), vllm(4), vllm(5))
    report = await world.report()
    readings = {(each.address, each.kind): each.value for each in report.readings}
    assert (world.a, K.RUNNING_REQUESTS) not in readings
    assert readings[world.a, K.WAITING_REQUESTS] == 1
    assert readings[world.b, K.RUNNING_REQUESTS] == 4
    assert report.rejected[K.RUNNING_REQUESTS, reason] == 1


async def test_a_counter_that_restarts_never_gives_a_negative_rate(world):
    assembly = Assembly(world.fleet, RateWindow(min_seconds=0.2))
    rates, totals = [], []
    for tokens in ("1000", "5000", "10", "4010"):
        await world.play(vllm(3, tokens=tokens), vllm(4), vllm(5))
        assembly.absorb("it", await world.report(), collected_for=world.fleet)
        snapshot = assembly.snapshot(now_seconds=0.0, version=1)
        totals.append(snapshot.signal(world.a, K.GENERATION_TOKENS_TOTAL).value)
        rate = snapshot.signal(world.a, K.GENERATION_TOKENS_PER_SECOND)
        rates += [rate.value] if rate else []
        await asyncio.sleep(0.25)
    assert totals == [1000, 5000, 5000, 9000]
    assert rates
    assert min(rates) > 0


async def test_an_engine_that_is_gone_is_unhealthy_and_costs_only_its_own_signals(world):
    await world.play(None, vllm(4), vllm(5))
    readings = await world.readings()
    assert {kind: value for (address, kind), value in readings.items() if address == world.a} == {
        K.HEALTHY_RATIO: 0
    }
    assert readings[world.b, K.RUNNING_REQUESTS] == 4
    assert readings[world.c, K.HEALTHY_RATIO] == 1


async def test_an_engine_that_hangs_is_not_healthy_and_costs_only_its_own_signals(world):
    await world.play("hang", vllm(4), vllm(5))
    readings = await world.readings()
    own = {kind: value for (address, kind), value in readings.items() if address == world.a}
    # Prometheus cannot tell a refusal from a timeout; the direct scrape can, and claims nothing.
    assert own == ({} if world.name == "scrape" else {K.HEALTHY_RATIO: 0})
    assert readings[world.b, K.RUNNING_REQUESTS] == 4


async def test_a_huge_answer_is_not_read_and_costs_only_its_own_signals(world):
    huge = [f'filler_{number}{{a="{"x" * 200}"}} 1' for number in range(8000)]
    await world.play([*vllm(3), *huge], vllm(4), vllm(5))
    readings = await world.readings()
    assert (world.a, K.RUNNING_REQUESTS) not in readings
    assert readings[world.b, K.RUNNING_REQUESTS] == 4


async def test_text_that_is_no_exposition_costs_only_its_own_signals(world):
    await world.play(["<html>{not metrics}</html>"], vllm(4), vllm(5))
    readings = await world.readings()
    assert (world.a, K.RUNNING_REQUESTS) not in readings
    assert readings[world.b, K.RUNNING_REQUESTS] == 4


async def test_models_and_engines_of_one_replica_are_combined(world):
    await world.play(
        [
            *vllm(3, kv="0.2", model="m"),
            *vllm(4, kv="0.9", model="n"),
            *vllm(5, kv="0.3", engine="1"),
        ],
        vllm(1),
        vllm(1),
    )
    readings = await world.readings()
    assert readings[world.a, K.RUNNING_REQUESTS] == 12
    assert readings[world.a, K.GENERATION_TOKENS_TOTAL] == 300
    assert readings[world.a, K.KV_USAGE_RATIO] == 0.9


def dcgm(uuid, watts, *, pod="", millijoules=5_000_000):
    labels = f'gpu="0",UUID="{uuid}",Hostname="h"'
    if pod:
        labels += f',pod="{pod}",namespace="llm",container="c"'
    return [
        f"DCGM_FI_DEV_POWER_USAGE{{{labels}}} {watts}",
        f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{labels}}} {millijoules}",
        f"DCGM_FI_DEV_SM_CLOCK{{{labels}}} 1980",
        f"DCGM_FI_DEV_GPU_TEMP{{{labels}}} 55",
    ]


async def test_watts_are_attributed_by_declared_board_and_by_pod(world):
    power = [*dcgm("GPU-A1", 300), *dcgm("GPU-A2", 320), *dcgm("GPU-X", 450, pod="engine-b")]
    await world.play(vllm(1), vllm(1), vllm(1), power=power)
    readings = await world.readings()
    assert readings[world.a, K.POWER_WATTS] == 620
    assert readings[world.a, K.ENERGY_JOULES_TOTAL] == pytest.approx(10_000)
    assert readings[world.a, K.SM_CLOCK_HERTZ] == pytest.approx(1.98e9)
    assert readings[world.b, K.POWER_WATTS] == 450
    assert readings[world.b, K.TEMPERATURE_CELSIUS] == 55
    assert (world.c, K.POWER_WATTS) not in readings


async def test_half_the_boards_are_not_half_the_watts(world):
    await world.play(vllm(1), vllm(1), vllm(1), power=dcgm("GPU-A1", 300))
    report = await world.report()
    kinds = {each.kind for each in report.readings if each.address == world.a}
    assert K.POWER_WATTS not in kinds
    assert report.rejected[K.POWER_WATTS, RejectionReason.INCOMPLETE_BOARDS] == 1


async def test_a_lost_power_exporter_costs_watts_only(world):
    await world.play(vllm(3), vllm(4), vllm(5), power=None)
    readings = await world.readings()
    assert not any(kind is K.POWER_WATTS for _, kind in readings)
    assert readings[world.a, K.RUNNING_REQUESTS] == 3


async def test_a_reading_is_never_from_the_future(world):
    await world.play(vllm(3), vllm(4), vllm(5))
    report = await world.report()
    now_seconds = SystemClock().monotonic_seconds()
    ages = [now_seconds - each.observed_seconds for each in report.readings]
    assert ages
    assert all(0 <= age < 5 for age in ages)
