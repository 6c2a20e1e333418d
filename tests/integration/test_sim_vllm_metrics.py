"""What a scraper sees of the simulated vLLM: its metrics and its energy."""

import asyncio
import math
import time

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sim_vllm_harness import (
    CHAT,
    chat,
    eventually,
    fleet_of,
    post,
    replica,
    samples,
    url,
    value,
)

from loadtest.exposition import SENTINEL, MetricsFault


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def fleet():
    async with fleet_of(replica()) as fleet:
        yield fleet


EXPECTED_TYPES = {
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:num_requests_waiting_by_reason": "gauge",
    "vllm:kv_cache_usage_perc": "gauge",
    "vllm:engine_sleep_state": "gauge",
    "vllm:cache_config_info": "gauge",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:prefix_cache_queries": "counter",
    "vllm:prefix_cache_hits": "counter",
    "vllm:num_preemptions": "counter",
    "vllm:request_success": "counter",
    "vllm:admission_rejections": "counter",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:request_prefill_time_seconds": "histogram",
    "vllm:request_decode_time_seconds": "histogram",
    "vllm:request_prompt_tokens": "histogram",
    "vllm:request_generation_tokens": "histogram",
    "vllm:iteration_tokens_total": "histogram",
}


async def test_the_metrics_have_vllms_names_types_and_labels(fleet, session):
    values, types = await samples(session, fleet.addresses["a"])
    assert EXPECTED_TYPES.items() <= types.items()
    value(values, "vllm:num_requests_running", engine="0", model_name="llama")
    ttft_edges = [
        dict(labels)["le"]
        for name, labels in values
        if name == "vllm:time_to_first_token_seconds_bucket"
    ]
    assert len(ttft_edges) == 23
    assert {"0.001", "0.25", "2560.0", "+Inf"} <= set(ttft_edges)


async def test_the_metrics_add_up_to_what_was_served(fleet, session):
    for number in range(4):
        body = chat(100, salt=str(number % 2), max_tokens=10, ignore_eos=True)
        await post(session, fleet, CHAT, body)
    values, _ = await samples(session, fleet.addresses["a"])
    totals = fleet.totals().replicas["a"]
    assert totals.finished_requests == 4
    assert value(values, "vllm:prompt_tokens_total") == totals.prompt_tokens == 400
    assert value(values, "vllm:generation_tokens_total") == totals.generation_tokens == 40
    assert value(values, "vllm:prefix_cache_queries_total") == 400
    assert value(values, "vllm:prefix_cache_hits_total") == totals.cached_prompt_tokens == 192
    assert value(values, "vllm:request_success_total", finished_reason="length") == 4
    assert value(values, "vllm:request_success_total", finished_reason="abort") == 0
    for name, count in {
        "time_to_first_token_seconds": 4,
        "inter_token_latency_seconds": 36,
        "e2e_request_latency_seconds": 4,
        "request_prompt_tokens": 4,
    }.items():
        assert value(values, f"vllm:{name}_count") == count
        assert value(values, f"vllm:{name}_bucket", le="+Inf") == count
    assert value(values, "vllm:request_generation_tokens_sum") == 40
    assert value(values, "vllm:iteration_tokens_total_sum") == 400 - 192 + 40
    # Ten tokens of an otherwise idle H100: the latencies are those of the truth, not of this host.
    gap_seconds = value(values, "vllm:inter_token_latency_seconds_sum") / 36
    assert gap_seconds == pytest.approx(0.00676, rel=0.01)
    assert value(values, "vllm:request_decode_time_seconds_sum") == pytest.approx(36 * gap_seconds)


async def test_running_adapters_are_named_while_they_run(session):
    async with fleet_of(replica(adapters=("lora",)), time_scale=1.0) as fleet:
        engine = fleet.server("a").replica.engine
        body = chat(max_tokens=5000, ignore_eos=True, stream=True) | {"model": "lora"}
        async with session.post(url(fleet, CHAT), json=body):
            await eventually(lambda: engine.running == 1)
            values, _ = await samples(session, fleet.addresses["a"])
    assert value(values, "vllm:lora_requests_info", running_lora_adapters="lora", max_lora="1") > 0


@pytest.mark.parametrize("fault", MetricsFault)
async def test_metrics_can_be_broken_and_mended(fleet, session, fault):
    server = fleet.server("a")
    board = fleet.spec.replicas[0].board_uuid
    exporter = fleet.exporter("node-0")
    server.metrics_fault = exporter.faults[board] = fault
    values, _ = await samples(session, fleet.addresses["a"])
    watts, _ = await samples(session, fleet.exporter_addresses["node-0"])
    found = [number for (name, _), number in values.items() if name == "vllm:num_requests_running"]
    found += [number for (name, _), number in watts.items() if name == "DCGM_FI_DEV_POWER_USAGE"]
    expected = {
        MetricsFault.NAN: lambda: len(found) == 2 and all(map(math.isnan, found)),
        MetricsFault.NEGATIVE: lambda: len(found) == 2 and max(found) < 0,
        MetricsFault.MISSING: lambda: found == [],
        MetricsFault.SENTINEL: lambda: found == [SENTINEL] * 2,
    }
    assert expected[fault](), found
    server.metrics_fault = None
    values, _ = await samples(session, fleet.addresses["a"])
    assert value(values, "vllm:num_requests_running") == 0


def energy_joules(fleet, uuid):
    """What the exporter shows right now, without a network in between."""
    name = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
    for family in text_string_to_metric_families(fleet.exporter("node-0").render().decode()):
        for sample in family.samples:
            if family.name == name and sample.labels["UUID"] == uuid:
                return sample.value / 1e3
    raise AssertionError(uuid)


async def test_the_energy_counter_agrees_with_the_ground_truth(session):
    async with fleet_of(replica(), replica("b", "B200"), time_scale=1.0) as fleet:
        uuids = {spec.name: spec.board_uuid for spec in fleet.spec.replicas}
        before = {name: energy_joules(fleet, uuid) for name, uuid in uuids.items()}
        mark = fleet.totals()
        bodies = [chat(salt=str(n), max_tokens=100, ignore_eos=True) for n in range(10)]
        await asyncio.gather(*(post(session, fleet, CHAT, body) for body in bodies))
        after = {name: energy_joules(fleet, uuid) for name, uuid in uuids.items()}
        spent = fleet.totals() - mark
    for name, truth in spent.replicas.items():
        assert after[name] - before[name] == pytest.approx(truth.joules, rel=0.05)
    busy, idle = spent.replicas["a"], spent.replicas["b"]
    assert idle.dynamic_joules == idle.busy_seconds == 0
    assert busy.generation_tokens == 1000
    assert busy.dynamic_joules > busy.busy_seconds * (486.4 - 121.7)
    assert spent.fleet.joules == pytest.approx(busy.joules + idle.joules)
    assert idle.idle_joules == pytest.approx(140.0 * spent.simulated_seconds, rel=0.01, abs=5.0)


async def test_the_exporter_has_dcgms_names_and_labels_for_every_board_of_its_node(session):
    specs = (
        replica("a", "A100", pod="pod-a", namespace="llm", gpu_uuid="GPU-a", node="n1"),
        replica("b", "L40S", node="n1"),
        replica("c", "H200", node="n2"),
    )
    async with fleet_of(*specs) as fleet:
        assert set(fleet.exporter_addresses) == {"n1", "n2"}
        values, types = await samples(session, fleet.exporter_addresses["n1"])
    assert types["DCGM_FI_DEV_POWER_USAGE"] == "gauge"
    assert types["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == "counter"
    assert len([name for name, _ in values if name == "DCGM_FI_DEV_POWER_USAGE"]) == 2
    labels = {
        "UUID": "GPU-a",
        "gpu": "0",
        "device": "nvidia0",
        "pci_bus_id": "00000000:01:00.0",
        "modelName": "NVIDIA A100-SXM4-80GB",
        "Hostname": "n1",
        "pod": "pod-a",
        "namespace": "llm",
        "container": "vllm",
    }
    assert value(values, "DCGM_FI_DEV_SM_CLOCK", **labels) == 1410
    assert value(values, "DCGM_FI_DEV_POWER_USAGE", UUID="GPU-a") == pytest.approx(83.0, rel=0.01)
    assert 30 < value(values, "DCGM_FI_DEV_GPU_TEMP", UUID="GPU-a") < 50


async def test_sensor_gains_differ_by_board_within_five_per_cent(session):
    specs = [replica(f"r{number}") for number in range(6)]
    async with fleet_of(*specs, sensor_gain_spread_ratio=0.05) as fleet:
        values, _ = await samples(session, fleet.exporter_addresses["node-0"])
    watts = [number for (name, _), number in values.items() if name == "DCGM_FI_DEV_POWER_USAGE"]
    gains = [number / 121.7 for number in watts]
    assert all(0.949 < gain < 1.051 for gain in gains)
    assert max(gains) - min(gains) > 0.01


async def test_simulated_durations_do_not_depend_on_the_time_scale(session):
    busy_seconds = []
    for scale in (1.0, 40.0):
        async with fleet_of(replica("a", "B200"), time_scale=scale) as fleet:
            await post(session, fleet, CHAT, chat(max_tokens=60, ignore_eos=True))
            busy_seconds.append(fleet.totals().fleet.busy_seconds)
    assert busy_seconds[0] == pytest.approx(busy_seconds[1])


async def test_a_starved_process_slips_simulated_time_instead_of_running_away(session):
    async with fleet_of(replica(), time_scale=1.0) as fleet:
        asking = asyncio.create_task(
            post(session, fleet, CHAT, chat(max_tokens=100, ignore_eos=True))
        )
        await eventually(lambda: fleet.totals().fleet.generation_tokens > 5)
        time.sleep(0.5)  # noqa: ASYNC251 (starving the loop is the point)
        await asking
        totals = fleet.totals()
    assert totals.slipped_seconds > 0.3
    assert totals.fleet.busy_seconds == pytest.approx(100 * 0.00676, rel=0.05)
