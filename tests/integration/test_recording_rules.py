"""The recording rules on scripted exporters: whole, half lost, lost, odd and of several makers."""

import pytest
from promtool import check_rules, counter, energy, expect, gauge, node, pod, series

from capper.observe.rules.recordings import RECORDINGS

EXPORTED = {"exported_namespace": "llm", "pod": "dcgm-x", "namespace": "gpu-operator"}
CHAT = '{kind="Deployment", namespace="llm", workload="chat"}'

pytestmark = pytest.mark.prometheus


def cluster(**steps):
    """Two nodes with a board each, in two racks; one pod of one Deployment on each board."""
    return (
        node("a", gpus=1, rack="r1")
        | node("b", gpus=1, rack="r2")
        | energy("G0", 300, exported_pod="chat-0", steps=steps.get("a", 40), **EXPORTED)
        | energy("G1", 500, node="b", exported_pod="chat-1", steps=steps.get("b", 40), **EXPORTED)
        | pod("chat-0")
        | pod("chat-1", node="b")
    )


def test_the_rules_are_valid(tmp_path):
    check_rules(tmp_path)
    assert len(RECORDINGS) > 40


def test_boards_are_summed_by_workload_rack_and_fleet(tmp_path):
    expect(
        tmp_path,
        cluster(),
        {
            "capper:workload_watts": {CHAT: 800},
            "capper:workload_coverage_ratio": {CHAT: 1},
            "capper:workload_replica_watts_p95": {CHAT: 400},
            "capper:rack_watts": {
                '{rack="r1", source="boards"}': 300,
                '{rack="r2", source="boards"}': 500,
            },
            "capper:rack_coverage_ratio": {
                '{rack="r1", source="boards"}': 1,
                '{rack="r2", source="boards"}': 1,
            },
            "capper:fleet_watts": {'{source="boards"}': 800},
            "capper:fleet_coverage_ratio": {'{source="boards"}': 1},
            "time() - capper:workload_measured_seconds": {CHAT: 0},
            "capper:workload_rack_pods": {
                CHAT.replace("kind", 'rack="r1", kind'): 1,
                CHAT.replace("kind", 'rack="r2", kind'): 1,
            },
        },
    )


def test_a_lost_exporter_lowers_coverage_and_not_only_the_sum(tmp_path):
    told = cluster()
    lost = next(name for name in told if 'UUID="G1"' in name)
    told[lost] = counter(500, steps=4) + " stale"
    expect(
        tmp_path,
        told,
        {
            "capper:workload_watts": {CHAT: 300},
            "capper:workload_coverage_ratio": {CHAT: 0.5},
            "capper:fleet_coverage_ratio": {'{source="boards"}': 0.5},
            "capper:rack_coverage_ratio": {
                '{rack="r1", source="boards"}': 1,
                '{rack="r2", source="boards"}': 0,
            },
            "capper:workload_replica_watts": {},
        },
    )


def test_a_lost_exporter_is_missed_at_once_and_for_as_long_as_its_node_is_there(tmp_path):
    told = cluster()
    lost = next(name for name in told if 'UUID="G1"' in name)
    told[lost] = counter(500, steps=4) + " stale"
    for at in ("75s", "4m"):
        expect(tmp_path, told, {"capper:fleet_coverage_ratio": {'{source="boards"}': 0.5}}, at=at)
    gone = 'kube_node_info{node="b"}', 'kube_node_status_allocatable{node="b",'
    for name in [name for name in told if name.startswith(gone)]:
        told[name] = "1x6 stale"
    expect(tmp_path, told, {"capper:fleet_coverage_ratio": {'{source="boards"}': 1}}, at="2m")


def test_all_exporters_lost_is_no_data_with_a_coverage_of_zero(tmp_path):
    told = cluster()
    for name in [name for name in told if name.startswith("DCGM")]:
        told[name] = counter(500, steps=4) + " stale"
    expect(
        tmp_path,
        told,
        {
            "capper:workload_watts": {},
            "capper:rack_watts": {},
            "capper:fleet_watts": {},
            "capper:workload_coverage_ratio": {CHAT: 0},
            "capper:fleet_coverage_ratio": {'{source="boards"}': 0},
        },
    )


def test_a_counter_that_starts_anew_is_skipped_and_the_gauge_taken(tmp_path):
    told = node("a", gpus=1) | gauge("DCGM_FI_DEV_POWER_USAGE", 310, UUID="G0", Hostname="a")
    name = next(iter(energy("G0", 300)))
    told[name] = "90000000+4500000x7 1000+4500000x30"
    for at, watts in (("90s", 300), ("2m15s", 310), ("4m", 300)):
        expect(tmp_path, told, {"capper:fleet_watts": {'{source="boards"}': watts}}, at=at)
    del told[series("DCGM_FI_DEV_POWER_USAGE", UUID="G0", Hostname="a")]
    expect(tmp_path, told, {"capper:fleet_watts": {}}, at="2m15s")


def test_slices_of_one_board_count_once_and_its_pods_share_it(tmp_path):
    told = node("a", gpus=1) | pod("chat-0") | pod("mail-0", deployment="mail")
    for number, owner in enumerate(("chat-0", "mail-0")):
        slices = {"GPU_I_ID": str(number), "GPU_I_PROFILE": "3g.40gb", "exported_pod": owner}
        told |= energy("G0", 600, **slices, **EXPORTED)
    mail = CHAT.replace("chat", "mail")
    expect(
        tmp_path,
        told,
        {
            "capper:fleet_watts": {'{source="boards"}': 600},
            "capper:workload_watts": {CHAT: 300, mail: 300},
        },
    )


def test_of_a_board_that_is_new_the_gauge_is_taken(tmp_path):
    told = gauge("DCGM_FI_DEV_POWER_USAGE", 310, UUID="G0", Hostname="a")
    name = next(iter(energy("G0", 300)))
    told[name] = "_ _ _ " + counter(300)
    for at, watts in (("60s", 310), ("75s", 310), ("2m", 300)):
        expect(tmp_path, told, {"capper:fleet_watts": {'{source="boards"}': watts}}, at=at)


@pytest.mark.parametrize("sentinel", ["9223372036854775794", "-1", "0", "NaN", "50000"])
def test_no_sensors_nonsense_becomes_watts(tmp_path, sentinel):
    told = node("a", gpus=2)
    told |= gauge("DCGM_FI_DEV_POWER_USAGE", sentinel, UUID="G0", Hostname="a")
    told |= gauge("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 9223372036854775794, UUID="G0",
                  Hostname="a")  # fmt: skip
    told |= gauge("DCGM_FI_DEV_POWER_USAGE", 200, UUID="G1", Hostname="a")
    expect(
        tmp_path,
        told,
        {
            "capper:fleet_watts": {'{source="boards"}': 200},
            "capper:fleet_coverage_ratio": {'{source="boards"}': 0.5},
        },
    )


@pytest.mark.parametrize("name", ["Hostname", "hostname", "node", "exporter"])
def test_the_node_of_a_board_is_found_under_all_its_names(tmp_path, name):
    told = node("a", gpus=1, rack="r1")
    told |= gauge("DCGM_FI_DEV_POWER_USAGE", 200, UUID="G0", **{name: "a"})
    found = {} if name == "exporter" else {'{rack="r1", source="boards"}': 200}
    expect(tmp_path, told, {"capper:rack_watts": found})


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({"exported_pod": "chat-0", **EXPORTED}, {CHAT: 200}),
        ({"pod": "chat-0", "namespace": "llm", "container": "vllm"}, {CHAT: 200}),
        ({"pod": "dcgm-x", "namespace": "gpu-operator", "container": "exporter"}, {}),
    ],
)
def test_a_boards_pod_is_found_with_and_without_honor_labels(tmp_path, labels, found):
    told = node("a", gpus=1) | pod("chat-0")
    told |= gauge("DCGM_FI_DEV_POWER_USAGE", 200, UUID="G0", Hostname="a", **labels)
    expect(tmp_path, told, {"capper:workload_watts": found})


@pytest.mark.parametrize(
    ("told", "watts"),
    [
        (
            {
                series("gpu_energy_consumed", serial_number="s", hostname="a"): counter(
                    700, scale=1e6
                )
            },
            700,
        ),
        (gauge("gpu_package_power", 710, serial_number="s", gpu_id="0", hostname="a"), 710),
        (
            gauge("gpu_average_package_power", 500, serial_number="s", gpu_id="0", hostname="a")
            | gauge("gpu_average_package_power", 0, serial_number="s", gpu_id="1", hostname="a"),
            500,
        ),
        (gauge("gpu_power_usage", 90, serial_number="s", gpu_id="0", hostname="a"), 90),
        (gauge("kepler_node_gpu_watts", 260, gpu_uuid="G0", gpu="0", node_name="a"), 260),
        (
            gauge("kepler_node_gpu_watts", 260, gpu_uuid="G0", node_name="other")
            | gauge("DCGM_FI_DEV_POWER_USAGE", 250, UUID="G0", Hostname="a"),
            250,
        ),
    ],
)
def test_every_maker_of_boards_and_each_board_once(tmp_path, told, watts):
    expect(tmp_path, told, {"capper:fleet_watts": {'{source="boards"}': watts}})


def test_keplers_zones_are_never_summed_blindly(tmp_path):
    told = pod("chat-0")
    kepler = {"pod_name": "chat-0", "pod_namespace": "llm", "state": "running", "node_name": "a"}
    zones = {"package": 60, "core": 50, "dram": 9, "uncore": 5, "psys": 200}
    for zone, watts in zones.items():
        told |= gauge("kepler_pod_cpu_watts", watts, zone=zone, **kepler)
    expect(tmp_path, told, {"capper:workload_watts": {CHAT: 69}})


def test_the_frozen_kepler_counts_idle_and_dynamic_energy(tmp_path):
    told = pod("chat-0")
    names = {"pod_name": "chat-0", "container_namespace": "llm", "container_name": "v"}
    for mode, watts in (("idle", 40), ("dynamic", 30)):
        counters = {"package": watts, "core": watts, "dram": 2}
        for zone, part in counters.items():
            name = series(f"kepler_container_{zone}_joules_total", mode=mode, **names)
            told[name] = counter(part, scale=1)
    expect(tmp_path, told, {"capper:pod_host_watts": {'{namespace="llm", pod="chat-0"}': 74}})


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            "StatefulSet",
            gauge("kube_pod_owner", 1, namespace="llm", pod="p", owner_kind="StatefulSet",
                  owner_name="w"),
        ),
        (
            "LeaderWorkerSet",
            gauge("kube_pod_labels", 1, namespace="llm", pod="p",
                  label_leaderworkerset_sigs_k8s_io_name="w"),
        ),
        (
            "InferenceService",
            gauge("kube_pod_labels", 1, namespace="monitoring", pod="ksm",
                  exported_namespace="llm", exported_pod="p",
                  label_serving_kserve_io_inferenceservice="w"),
        ),
        (
            "LLMInferenceService",
            gauge("kube_pod_labels", 1, namespace="llm", pod="p",
                  label_app_kubernetes_io_part_of="llminferenceservice",
                  label_app_kubernetes_io_component="llminferenceservice-workload-prefill",
                  label_app_kubernetes_io_name="w"),
        ),
    ],
)  # fmt: skip
def test_every_kind_of_owner_gets_the_watts_of_its_pods(tmp_path, kind, told):
    told |= gauge("DCGM_FI_DEV_POWER_USAGE", 200, UUID="G0", exported_pod="p", **EXPORTED)
    told |= gauge("kube_pod_status_ready", 1, namespace="llm", pod="p", condition="true")
    labels = f'{{kind="{kind}", namespace="llm", workload="w"}}'
    expect(
        tmp_path,
        told,
        {"capper:workload_watts": {labels: 200}, "capper:workload_coverage_ratio": {labels: 1}},
    )


def test_a_replica_of_a_leader_worker_set_is_a_group_of_pods(tmp_path):
    told = {}
    for number in range(4):
        pod_labels = {"namespace": "llm", "pod": f"p{number}"}
        told |= gauge("kube_pod_labels", 1, **pod_labels,
                      label_leaderworkerset_sigs_k8s_io_name="w",
                      label_leaderworkerset_sigs_k8s_io_worker_index=str(number % 2))  # fmt: skip
        told |= gauge("kube_pod_status_ready", 1, condition="true", **pod_labels)
        told |= gauge(
            "DCGM_FI_DEV_POWER_USAGE", 200, UUID=f"G{number}", container="v", **pod_labels
        )
    labels = '{kind="LeaderWorkerSet", namespace="llm", workload="w"}'
    expect(
        tmp_path,
        told,
        {
            "capper:workload_ready_replicas": {labels: 2},
            "capper:workload_replica_watts": {labels: 400},
        },
    )


def generation(name, rate, **labels):
    return {series(name, namespace="llm", pod="chat-0", **labels): f"0+{rate * 15}x40"}


@pytest.mark.parametrize(
    ("told", "tokens"),
    [
        (generation("vllm:generation_tokens_total", 600, engine="0", model_name="m", job="a"), 600),
        (
            generation("vllm:generation_tokens_total", 600, engine="0", model_name="m", job="a")
            | generation("vllm:generation_tokens_total", 600, engine="0", model_name="m", job="b")
            | generation("vllm:generation_tokens_total", 300, engine="1", model_name="m", job="a"),
            900,
        ),
        (
            gauge("vllm:avg_generation_throughput_toks_per_s", 450, namespace="llm", pod="chat-0",
                  model_name="m"),
            450,
        ),
    ],
)  # fmt: skip
def test_tokens_per_joule_of_old_and_new_engines(tmp_path, told, tokens):
    expect(
        tmp_path,
        cluster() | told,
        {
            "capper:workload_output_tokens_per_second": {CHAT: tokens},
            "capper:workload_tokens_per_joule": {CHAT: tokens / 300},
        },
    )


def test_idle_and_half_blind_workloads_have_no_tokens_per_joule(tmp_path):
    idle = generation("vllm:generation_tokens_total", 0, engine="0", model_name="m")
    expect(tmp_path, cluster() | idle, {"capper:workload_tokens_per_joule": {}})
    busy = generation("vllm:generation_tokens_total", 600, engine="0", model_name="m")
    told = cluster() | busy
    del told[next(name for name in told if 'UUID="G1"' in name)]
    expect(tmp_path, told, {"capper:workload_tokens_per_joule": {}})


def test_servers_are_metered_once_and_their_racks_found_by_label_or_node(tmp_path):
    told = node("a", rack="r1") | node("b", rack="r1")
    told |= gauge("idrac_power_control_consumed_watts", 2000, id="0", instance="bmc-a", node="a")
    told |= gauge("ipmi_dcmi_power_consumption_watts", 2100, instance="a:9290", node="a")
    told |= gauge("ipmi_dcmi_power_consumption_watts", 1800, instance="b:9290", node="b")
    told |= gauge("idrac_power_control_consumed_watts", 900, id="0", instance="bmc-c", rack="r2")
    told |= gauge("idrac_power_supply_output_watts", 9000, id="0", instance="bmc-c", rack="r2")
    told |= gauge("idrac_sensors_temperature", 24, name="System Board Inlet Temp", instance="bmc-a",
                  node="a")  # fmt: skip
    told |= gauge("ipmi_temperature_celsius", 29, name="Inlet Temp", instance="b:9290", node="b")
    told |= gauge("ipmi_temperature_celsius", 45, name="Exhaust Temp", instance="b:9290", node="b")
    expect(
        tmp_path,
        told,
        {
            "capper:rack_watts": {
                '{rack="r1", source="bmc"}': 3800,
                '{rack="r2", source="bmc"}': 900,
            },
            "capper:rack_coverage_ratio": {
                '{rack="r1", source="bmc"}': 1,
                '{rack="r2", source="bmc"}': 1,
            },
            "capper:rack_inlet_celsius": {'{rack="r1"}': 29},
        },
    )


def test_a_server_is_expected_for_as_long_as_it_is_scraped(tmp_path):
    told = gauge("up", 1, job="bmc", instance="bmc-a") | {
        series("up", job="bmc", instance="bmc-b"): "1x4 0x30",
        series("idrac_power_control_consumed_watts", instance="bmc-b", rack="r1"): "900x4 stale",
    }
    told |= gauge("idrac_power_control_consumed_watts", 700, instance="bmc-a", rack="r1")
    found = {'{rack="r1", source="bmc"}': 0.5}
    expect(tmp_path, told, {"capper:rack_coverage_ratio": found})
    told[series("up", job="bmc", instance="bmc-b")] = "1x4 stale"
    found = {'{rack="r1", source="bmc"}': 1}
    expect(tmp_path, told, {"capper:rack_coverage_ratio": found})


def test_pdus_are_the_users_to_record(tmp_path):
    told = gauge("capper:pdu_watts", 4000, rack="r1", pdu="left")
    told[series("capper:pdu_watts", rack="r1", pdu="right")] = "5000x4 stale"
    first = {'{rack="r1", source="pdu"}': 9000}
    expect(tmp_path, told, {"capper:rack_watts": first}, at="1m")
    expect(tmp_path, told, {"capper:rack_coverage_ratio": {'{rack="r1", source="pdu"}': 0.5}})


def test_what_a_server_draws_besides_its_boards_is_measured_where_it_can_be(tmp_path):
    told = cluster()
    told |= gauge("idrac_power_control_consumed_watts", 570, id="0", instance="bmc-a", node="a")
    expect(tmp_path, told, {"capper:host_ratio": {"{}": 1.9}}, at="4m")
    told |= gauge("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", 700, UUID="G0", Hostname="a")
    limits = {'{rack="r1", source="boards"}': 700}
    expect(tmp_path, told, {"capper:rack_limit_watts": limits})
