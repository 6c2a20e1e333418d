import math

import pytest
from telemetry_harness import fleet_of, replica_at

from fleet.signals import SignalKind
from telemetry.attribution import Grouping
from telemetry.families import FAMILIES
from telemetry.fleet_index import FleetIndex, LabelNames, Sample
from telemetry.reading import RejectionReason

SENTINEL = 9223372036854775794.0
FAMILY = {family.selector: family for family in FAMILIES}


def sample(name, value, *, at=10.0, **labels):
    return Sample(FAMILY[name], labels, value, at)


def attributed(samples, index):
    grouping = Grouping(index)
    grouping.add(samples)
    return [*grouping.readings()], dict(grouping.rejected)


def values(fleet, *samples):
    readings, rejected = attributed(samples, FleetIndex(fleet, LabelNames()))
    return {(r.address, r.kind): r.value for r in readings}, rejected


def power(fleet, *samples):
    found, rejected = values(fleet, *samples)
    return {address: value for (address, _), value in found.items()}, rejected


def test_a_vllm_sample_belongs_to_the_replica_its_instance_names():
    fleet = fleet_of(replica_at("a:1"), replica_at("b:1"))
    found, _ = values(fleet, sample("vllm:num_requests_running", 3, instance="b:1"))
    assert found == {("b:1", SignalKind.RUNNING_REQUESTS): 3}


def test_a_vllm_sample_of_another_port_belongs_by_pod_and_namespace():
    fleet = fleet_of(
        replica_at("a:1", pod="p", namespace="x"), replica_at("b:1", pod="p", namespace="y")
    )
    found, _ = values(
        fleet, sample("vllm:num_requests_running", 3, instance="a:9", pod="p", namespace="y")
    )
    assert found == {("b:1", SignalKind.RUNNING_REQUESTS): 3}


def test_samples_of_other_workloads_are_ignored_without_being_counted():
    found, rejected = values(
        fleet_of(replica_at("a:1")), sample("vllm:num_requests_running", math.nan, instance="z:1")
    )
    assert (found, rejected) == ({}, {})


def test_engines_and_models_of_a_replica_are_summed_and_the_fullest_cache_counts():
    fleet = fleet_of(replica_at("a:1"))
    found, _ = values(
        fleet,
        *(
            sample(name, value, instance="a:1", engine=engine, model_name=model)
            for name, value, engine, model in [
                ("vllm:num_requests_running", 1, "0", "m"),
                ("vllm:num_requests_running", 2, "1", "m"),
                ("vllm:num_requests_running", 4, "0", "n"),
                ("vllm:kv_cache_usage_perc", 0.2, "0", "m"),
                ("vllm:kv_cache_usage_perc", 0.7, "1", "m"),
            ]
        ),
    )
    assert found["a:1", SignalKind.RUNNING_REQUESTS] == 7
    assert found["a:1", SignalKind.KV_USAGE_RATIO] == 0.7


def test_one_series_scraped_by_two_jobs_is_counted_once_and_the_fresher_is_taken():
    found, _ = values(
        fleet_of(replica_at("a:1")),
        sample("vllm:num_requests_running", 9, at=5.0, instance="a:1", job="one", engine="0"),
        sample("vllm:num_requests_running", 4, at=6.0, instance="a:1", job="two", engine="0"),
    )
    assert found == {("a:1", SignalKind.RUNNING_REQUESTS): 4}


def test_a_sum_with_one_bad_engine_is_unknown_rather_than_partial():
    found, rejected = values(
        fleet_of(replica_at("a:1")),
        sample("vllm:num_requests_running", 9, instance="a:1", engine="0"),
        sample("vllm:num_requests_running", math.nan, instance="a:1", engine="1"),
    )
    assert found == {}
    assert rejected == {(SignalKind.RUNNING_REQUESTS, RejectionReason.NOT_FINITE): 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, RejectionReason.NOT_FINITE),
        (math.inf, RejectionReason.NOT_FINITE),
        (-1.0, RejectionReason.NEGATIVE),
        (SENTINEL, RejectionReason.ABOVE_LIMIT),
        (9000.0, RejectionReason.ABOVE_LIMIT),
    ],
)
def test_an_impossible_wattage_is_dropped_and_counted(value, reason):
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G",)))
    found, rejected = power(fleet, sample("DCGM_FI_DEV_POWER_USAGE", value, UUID="G"))
    assert found == {}
    assert rejected == {(SignalKind.POWER_WATTS, reason): 1}


def test_zero_watts_is_a_reading_not_an_absence():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G",)))
    assert power(fleet, sample("DCGM_FI_DEV_POWER_USAGE", 0.0, UUID="G"))[0] == {"a:1": 0.0}


def test_watts_of_a_replica_are_the_sum_over_its_declared_boards():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G", "H")))
    found, _ = power(
        fleet,
        sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G"),
        sample("DCGM_FI_DEV_POWER_USAGE", 400, UUID="H"),
        sample("DCGM_FI_DEV_POWER_USAGE", 999, UUID="I"),
    )
    assert found == {"a:1": 700}


def test_a_missing_board_makes_the_sum_unknown():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G", "H")))
    found, rejected = power(fleet, sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G"))
    assert found == {}
    assert rejected == {(SignalKind.POWER_WATTS, RejectionReason.INCOMPLETE_BOARDS): 1}


def test_a_pod_that_shows_fewer_boards_than_its_backend_declares_is_unknown():
    fleet = fleet_of(replica_at("a:1", pod="p", namespace="n"), gpus_per_replica=2)
    one = sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G", pod="p", namespace="n")
    other = sample("DCGM_FI_DEV_POWER_USAGE", 400, UUID="H", pod="p", namespace="n")
    assert power(fleet, one)[0] == {}
    assert power(fleet, one, other)[0] == {"a:1": 700}


def test_mig_slices_of_one_board_count_once():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G",)))
    found, _ = power(
        fleet,
        sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G", GPU_I_ID="1"),
        sample("DCGM_FI_DEV_POWER_USAGE", 310, UUID="G", GPU_I_ID="2"),
    )
    assert found == {"a:1": 310}


def test_replicas_on_one_board_share_its_watts_but_not_its_temperature():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G",)), replica_at("b:1", gpu_uuids=("G",)))
    found, _ = values(
        fleet,
        sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G"),
        sample("DCGM_FI_DEV_GPU_TEMP", 60, UUID="G"),
    )
    assert found["a:1", SignalKind.POWER_WATTS] == found["b:1", SignalKind.POWER_WATTS] == 150
    assert found["a:1", SignalKind.TEMPERATURE_CELSIUS] == 60


def test_a_workload_moved_to_exported_labels_is_found_and_the_exporters_pod_is_not_it():
    fleet = fleet_of(
        replica_at("a:1", pod="engine", namespace="llm"),
        replica_at("b:1", pod="dcgm", namespace="mon"),
    )
    found, _ = power(
        fleet,
        sample(
            "DCGM_FI_DEV_POWER_USAGE",
            300,
            UUID="G",
            pod="dcgm",
            namespace="mon",
            exported_pod="engine",
            exported_namespace="llm",
        ),
    )
    assert found == {"a:1": 300}


def test_a_declared_board_list_wins_over_the_pod_label():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G",), pod="p", namespace="n"))
    found, _ = power(
        fleet,
        sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G", pod="p", namespace="n"),
        sample("DCGM_FI_DEV_POWER_USAGE", 500, UUID="X", pod="p", namespace="n"),
    )
    assert found == {"a:1": 300}


def test_two_engines_in_one_pod_are_not_guessed():
    fleet = fleet_of(
        replica_at("a:1", pod="p", namespace="n"), replica_at("a:2", pod="p", namespace="n")
    )
    sampled = sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G", pod="p", namespace="n")
    assert power(fleet, sampled)[0] == {}


def test_exporters_of_different_trust_are_never_mixed():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G", "H")))
    dcgm = sample("DCGM_FI_DEV_POWER_USAGE", 300, UUID="G")
    kepler = [
        sample("kepler_node_gpu_watts", watts, gpu_uuid=uuid)
        for watts, uuid in ((290, "G"), (390, "H"))
    ]
    assert power(fleet, dcgm, *kepler)[0] == {"a:1": 680}


def test_the_first_name_wins_when_a_vllm_shows_old_and_new_ones():
    found, _ = values(
        fleet_of(replica_at("a:1")),
        sample("vllm:gpu_cache_usage_perc", 0.9, instance="a:1"),
        sample("vllm:kv_cache_usage_perc", 0.4, instance="a:1"),
    )
    assert found == {("a:1", SignalKind.KV_USAGE_RATIO): 0.4}


def test_units_become_si():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G",)))
    found, _ = values(
        fleet,
        sample("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 5_000, UUID="G"),
        sample("DCGM_FI_DEV_SM_CLOCK", 1980, UUID="G"),
    )
    assert found["a:1", SignalKind.ENERGY_JOULES_TOTAL] == pytest.approx(5.0)
    assert found["a:1", SignalKind.SM_CLOCK_HERTZ] == pytest.approx(1.98e9)


def test_amd_microjoules_and_boards_are_understood():
    fleet = fleet_of(replica_at("a:1", pod="p", namespace="n"))
    found, _ = values(
        fleet,
        sample("gpu_energy_consumed", 7e6, serial_number="S", pod="p", namespace="n"),
        sample("gpu_package_power", 650, serial_number="S", pod="p", namespace="n"),
    )
    assert found["a:1", SignalKind.ENERGY_JOULES_TOTAL] == pytest.approx(7.0)
    assert found["a:1", SignalKind.POWER_WATTS] == 650


def test_old_kepler_sums_idle_and_dynamic_and_is_found_by_pod_name():
    fleet = fleet_of(replica_at("a:1", pod="engine", namespace="llm"), gpus_per_replica=2)
    labels = {
        "pod": "kepler-x",
        "namespace": "kepler",
        "pod_name": "engine",
        "container_namespace": "llm",
    }
    found, _ = values(
        fleet,
        sample("kepler_container_gpu_joules_total", 10, mode="idle", **labels),
        sample("kepler_container_gpu_joules_total", 30, mode="dynamic", **labels),
    )
    assert found == {("a:1", SignalKind.ENERGY_JOULES_TOTAL): 40}


@pytest.mark.parametrize(
    ("labels", "tokens"),
    [
        ({"kv_cache_size_tokens": "5000", "num_gpu_blocks": "1", "block_size": "1"}, 5000),
        ({"kv_cache_size_tokens": "None", "num_gpu_blocks": "200", "block_size": "16"}, 3200),
        ({"num_gpu_blocks": "200", "block_size": "16"}, 3200),
        ({"num_gpu_blocks": "None", "block_size": "16"}, None),
        ({}, None),
    ],
)
def test_the_size_of_the_kv_cache_is_read_from_labels(labels, tokens):
    fleet = fleet_of(replica_at("a:1"))
    found, rejected = values(fleet, sample("vllm:cache_config_info", 1, instance="a:1", **labels))
    assert found.get(("a:1", SignalKind.KV_CAPACITY_TOKENS)) == tokens
    assert bool(rejected) == (tokens is None)


def test_a_sum_is_as_old_as_its_oldest_part():
    fleet = fleet_of(replica_at("a:1", gpu_uuids=("G", "H")))
    samples = [
        sample("DCGM_FI_DEV_POWER_USAGE", 300, at=7.0, UUID="G"),
        sample("DCGM_FI_DEV_POWER_USAGE", 300, at=9.0, UUID="H"),
    ]
    (reading,), _ = attributed(samples, FleetIndex(fleet, LabelNames()))
    assert reading.observed_seconds == 7.0


def test_boards_told_apart_by_index_only_are_not_shared_across_hosts():
    fleet = fleet_of(replica_at("a:1", pod="p"), replica_at("b:1", pod="q"))
    found, _ = power(
        fleet,
        sample("DCGM_FI_DEV_POWER_USAGE", 300, gpu="0", pod="p"),
        sample("DCGM_FI_DEV_POWER_USAGE", 400, gpu="0", pod="q"),
    )
    assert found == {"a:1": 300, "b:1": 400}
