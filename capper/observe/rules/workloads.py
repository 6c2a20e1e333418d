"""From boards to pods to workloads: watts, tokens, coverage.

For ranking, and for the cap of configurations that name neither racks nor a query.
"""

from capper.observe.rules.promql import (
    first_label,
    first_of,
    object_labels,
    per_second,
    within,
)
from capper.observe.rules.rule import Recording

_KEYS = "namespace, kind, workload"
_POD = "namespace, pod"
_MIN_TOKENS_PER_SECOND = 1
_MIN_COVERAGE_RATIO = 0.8
_OWNED = "capper:pod_workload"
# Zones overlap: cores are inside the package, psys holds all. These two do not.
_ZONES = 'zone=~"(package|dram)(-[0-9]+)?"'


def _of_workloads(aggregation: str, series: str) -> str:
    return f"{aggregation} by ({_KEYS}) ({_OWNED} * on ({_POD}) group_left () {series})"


def _owned(kind: str, expr: str, label: str) -> Recording:
    named = first_label(object_labels(expr), "workload", label)
    return Recording(
        record=_OWNED,
        expr=f"group by ({_POD}, workload) ({named})",
        labels=(("kind", kind),),
        meaning=f"1 for each pod of a {kind}.",
    )


def _deployment_pods() -> Recording:
    pods = first_label(
        object_labels('kube_pod_owner{owner_kind="ReplicaSet"}'), "replicaset", "owner_name"
    )
    owners = first_label(
        object_labels('kube_replicaset_owner{owner_kind="Deployment"}'), "workload", "owner_name"
    )
    return Recording(
        record=_OWNED,
        expr=(
            f"group by ({_POD}, workload) (\n  {pods}\n"
            "  * on (namespace, replicaset) group_left (workload)\n"
            f"  group by (namespace, replicaset, workload) ({owners}))"
        ),
        labels=(("kind", "Deployment"),),
        meaning="1 for each pod of a Deployment, through its ReplicaSet.",
    )


def _board_pods(series: str) -> str:
    """Board and pod of each of a board exporter's series that is in use by a pod.

    Without `exported_pod` the label `pod` is the workload's (`honorLabels: true`), or, of a board
    that is idle, the exporter's own.
    """
    used = (
        f'{series}{{exported_pod!=""}} '
        f'or {series}{{exported_pod="", pod!="", container!~".*exporter.*"}}'
    )
    named = first_label(f"({used})", "node", "node", "Hostname", "hostname")
    board = ("serial_number", "gpu_id") if series.startswith("gpu_") else ("UUID", "gpu")
    named = first_label(named, "board", *board)
    for label in ("namespace", "pod"):
        named = first_label(named, label, f"exported_{label}", label)
    return f"group by (node, board, {_POD}) ({named})"


def _kepler(expr: str) -> str:
    named = first_label(expr, "namespace", "pod_namespace", "container_namespace")
    return f"sum by ({_POD}) ({first_label(named, 'pod', 'pod_name')})"


def _old_kepler_host() -> str:
    package, dram = (
        _kepler(per_second(f"kepler_container_{zone}_joules_total")) for zone in ("package", "dram")
    )
    return f"({package} + ({dram} or {package} * 0))"


_SHARED_BOARDS = (
    f"sum by ({_POD}) ((capper:board_pod / on (node, board) group_left () "
    "count by (node, board) (capper:board_pod))"
    " * on (node, board) group_left () capper:board_watts)"
)
_BOARDS_SEEN = (
    f"min by ({_POD}) (capper:board_pod * on (node, board) group_left () capper:board_seen_seconds)"
)
_OWNERS = (
    _deployment_pods(),
    _owned("StatefulSet", 'kube_pod_owner{owner_kind="StatefulSet"}', "owner_name"),
    _owned(
        "LeaderWorkerSet",
        'kube_pod_labels{label_leaderworkerset_sigs_k8s_io_name!=""}',
        "label_leaderworkerset_sigs_k8s_io_name",
    ),
    _owned(
        "InferenceService",
        'kube_pod_labels{label_serving_kserve_io_inferenceservice!=""}',
        "label_serving_kserve_io_inferenceservice",
    ),
    _owned(
        "LLMInferenceService",
        'kube_pod_labels{label_app_kubernetes_io_part_of="llminferenceservice",'
        'label_app_kubernetes_io_component=~"llminferenceservice-workload.*"}',
        "label_app_kubernetes_io_name",
    ),
)

_PODS = (
    Recording(
        record="capper:board_pod",
        expr=first_of(
            _board_pods(series)
            for series in (
                "DCGM_FI_DEV_POWER_USAGE",
                "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
                "gpu_package_power",
                "gpu_average_package_power",
                "gpu_power_usage",
                "gpu_energy_consumed",
            )
        ),
        meaning="1 for each pod on each board.",
    ),
    Recording(
        record="capper:pod_gpu_watts",
        expr=first_of(
            (
                _SHARED_BOARDS,
                within(_kepler('kepler_pod_gpu_watts{state!="terminated"}'), 0, 1e6),
                within(_kepler(per_second("kepler_container_gpu_joules_total")), 0, 1e6),
            )
        ),
        meaning="Each pod's boards; a board that pods share is split evenly, so nothing is "
        "counted twice.",
    ),
    Recording(
        record="capper:pod_host_watts",
        expr=first_of(
            (
                _kepler(f'kepler_pod_cpu_watts{{{_ZONES},state!="terminated"}}'),
                _old_kepler_host(),
            )
        ),
        meaning="Each pod's share of CPU package and DRAM, idle power included where Kepler gives "
        "it.",
    ),
    Recording(
        record="capper:pod_watts",
        expr="capper:pod_gpu_watts or capper:pod_host_watts",
        meaning="Each pod's boards; of a pod without any, its CPU and DRAM.",
    ),
    Recording(
        record="capper:pod_seen_seconds",
        expr=first_of(
            (
                _BOARDS_SEEN,
                *(
                    _kepler(f"timestamp({name})").replace("sum by", "min by", 1)
                    for name in (
                        "kepler_pod_gpu_watts",
                        "kepler_container_gpu_joules_total",
                        "kepler_pod_cpu_watts",
                        "kepler_container_package_joules_total",
                    )
                ),
            )
        )
        + "\n  and capper:pod_watts",
        meaning="When the oldest part was measured, epoch seconds.",
    ),
    Recording(
        record="capper:pod_ready",
        expr=f"group by ({_POD}) "
        f"({object_labels('kube_pod_status_ready{condition=' + chr(34) + 'true' + chr(34) + '}')}"
        " == 1)",
        meaning="1 for each pod that serves.",
    ),
    Recording(
        record="capper:pod_rack",
        expr=f"group by ({_POD}, rack) ({object_labels('kube_pod_info')}"
        " * on (node) group_left (rack) capper:node_rack)",
        meaning="1 for each pod in its rack.",
    ),
    Recording(
        record="capper:pod_output_tokens_per_second",
        expr=(
            f"sum by ({_POD}) (max by ({_POD}, engine, model_name) "
            "(rate(vllm:generation_tokens_total[1m])))\n"
            f"  or sum by ({_POD}) (max by ({_POD}, model_name) "
            "(vllm:avg_generation_throughput_toks_per_s))"
        ),
        meaning="Tokens generated by each pod: vLLM's counter, of old versions its gauge.",
    ),
)

_WORKLOADS = (
    Recording(
        record="capper:workload_watts",
        expr=_of_workloads("sum", "capper:pod_watts"),
        meaning="Each workload; less than all of its watts while coverage is below 1.",
    ),
    Recording(
        record="capper:workload_measured_seconds",
        expr=_of_workloads("min", "capper:pod_seen_seconds"),
        meaning="When the oldest part was measured, epoch seconds.",
    ),
    Recording(
        record="capper:workload_ready_pods",
        expr=_of_workloads("count", "capper:pod_ready"),
        meaning="Pods that serve.",
    ),
    Recording(
        record="capper:workload_measured_pods",
        expr=_of_workloads("count", f"(capper:pod_ready and on ({_POD}) capper:pod_watts)")
        + "\n  or capper:workload_ready_pods * 0",
        meaning="Pods that serve and have watts.",
    ),
    Recording(
        record="capper:workload_coverage_ratio",
        expr="capper:workload_measured_pods / capper:workload_ready_pods",
        meaning="Second over first: a lost exporter must not look like headroom.",
    ),
    Recording(
        record="capper:workload_ready_replicas",
        expr=(
            f"count by ({_KEYS}) ({_OWNED}{{kind='LeaderWorkerSet'}} * on ({_POD}) group_left () "
            f"(capper:pod_ready and on ({_POD}) "
            + object_labels('kube_pod_labels{label_leaderworkerset_sigs_k8s_io_worker_index="0"}')
            + "))\n  or capper:workload_ready_pods{kind!='LeaderWorkerSet'}"
        ),
        meaning="Pods that serve; of a LeaderWorkerSet, its groups.",
    ),
    Recording(
        record="capper:workload_replica_watts",
        expr=(
            "(capper:workload_watts / capper:workload_ready_replicas)\n"
            "  and capper:workload_coverage_ratio >= 1"
        ),
        meaning="Watts per replica, while all of them are measured.",
    ),
    Recording(
        record="capper:workload_replica_watts_p95",
        expr="quantile_over_time(0.95, capper:workload_replica_watts[1h])",
        meaning="Its 95th percentile over an hour, for admission.",
    ),
    Recording(
        record="capper:workload_output_tokens_per_second",
        expr=_of_workloads("sum", "capper:pod_output_tokens_per_second"),
        meaning="Tokens generated by each workload.",
    ),
    Recording(
        record="capper:workload_tokens_per_joule",
        # A ratio of sums over the same pods: those that tell both.
        expr=(
            "("
            + _of_workloads(
                "sum", f"(capper:pod_output_tokens_per_second and on ({_POD}) capper:pod_watts)"
            )
            + "\n  / "
            + _of_workloads(
                "sum", f"(capper:pod_watts and on ({_POD}) capper:pod_output_tokens_per_second)"
            )
            + f")\n  and capper:workload_output_tokens_per_second > {_MIN_TOKENS_PER_SECOND}"
            f"\n  and capper:workload_coverage_ratio >= {_MIN_COVERAGE_RATIO}"
        ),
        meaning="Tokens per joule; nothing while idle or half-blind.",
    ),
    Recording(
        record="capper:workload_rack_pods",
        expr=(
            f"count by ({_KEYS}, rack) ({_OWNED} * on ({_POD}) group_left (rack) "
            f"(capper:pod_rack and on ({_POD}) capper:pod_ready))"
        ),
        meaning="Pods that serve, by rack.",
    ),
)

WORKLOADS = (*_OWNERS, *_PODS, *_WORKLOADS)
