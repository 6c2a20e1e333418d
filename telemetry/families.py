"""Which metric families carry which signal, in order of preference (facts: vendors' exporters).

One table for both sources: a direct scrape looks the names up, Prometheus is asked for them.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fleet.signals import SignalKind
from fleet.units import HERTZ_PER_MEGAHERTZ, JOULES_PER_MILLIJOULE

_JOULES_PER_MICROJOULE = 1e-6


class Family(NamedTuple):
    """One metric that can give one signal.

    Attributes:
        kind: The signal.
        rank: Preference among the families of a kind; 0 is asked first. Families of different
            rank are never mixed within one reading.
        selector: Metric name; in a Prometheus query set any PromQL giving an instant vector.
        scale: Multiplies the value to reach the SI unit of `kind`.
        partition: Labels whose values are summed over. Series that differ in other labels only
            are duplicates of each other (two scrape jobs, MIG slices, HA pairs).
        in_labels: The reading is in the labels and the sample's value is always 1
            (`kv_cache_capacity_tokens`).
        summed: Those of `partition` that Prometheus sums over before it answers, because nothing
            here tells their values apart and there are many.
    """

    kind: SignalKind
    rank: int
    selector: str
    scale: float = 1.0
    partition: tuple[str, ...] = ()
    in_labels: bool = False
    summed: tuple[str, ...] = ()


class _Metric(NamedTuple):
    name: str
    scale: float = 1.0
    partition: tuple[str, ...] = ()
    in_labels: bool = False
    summed: tuple[str, ...] = ()


_ENGINE = ("engine", "model_name")
_CONTAINER = ("container_name", "container_id", "mode")

_METRICS: dict[SignalKind, tuple[_Metric, ...]] = {
    # vLLM: V1 names first, then those of V0 and early V1 (removed upstream in vllm#29330).
    SignalKind.RUNNING_REQUESTS: (_Metric("vllm:num_requests_running", 1.0, _ENGINE),),
    SignalKind.WAITING_REQUESTS: (_Metric("vllm:num_requests_waiting", 1.0, _ENGINE),),
    SignalKind.KV_USAGE_RATIO: (
        _Metric("vllm:kv_cache_usage_perc", 1.0, _ENGINE),
        _Metric("vllm:gpu_cache_usage_perc", 1.0, _ENGINE),
    ),
    SignalKind.KV_CAPACITY_TOKENS: (
        _Metric("vllm:cache_config_info", 1.0, _ENGINE, in_labels=True),
    ),
    SignalKind.PROMPT_TOKENS_TOTAL: (_Metric("vllm:prompt_tokens_total", 1.0, _ENGINE),),
    SignalKind.GENERATION_TOKENS_TOTAL: (_Metric("vllm:generation_tokens_total", 1.0, _ENGINE),),
    SignalKind.REQUESTS_FINISHED_TOTAL: (
        _Metric(
            "vllm:request_success_total",
            partition=(*_ENGINE, "finished_reason"),
            summed=("finished_reason",),
        ),
    ),
    SignalKind.PREFIX_QUERY_TOKENS_TOTAL: (
        _Metric("vllm:prefix_cache_queries_total", 1.0, _ENGINE),
        _Metric("vllm:gpu_prefix_cache_queries_total", 1.0, _ENGINE),
    ),
    SignalKind.PREFIX_HIT_TOKENS_TOTAL: (
        _Metric("vllm:prefix_cache_hits_total", 1.0, _ENGINE),
        _Metric("vllm:gpu_prefix_cache_hits_total", 1.0, _ENGINE),
    ),
    SignalKind.PREEMPTIONS_TOTAL: (_Metric("vllm:num_preemptions_total", 1.0, _ENGINE),),
    # NVIDIA dcgm-exporter, AMD device-metrics-exporter, Kepler >= 0.11.4 (per board), then Kepler
    # per pod. Kepler's CPU zones are left out: profiles are of boards. Its per-pod GPU *energy*
    # integrates active power only and is left out too.
    SignalKind.POWER_WATTS: (
        _Metric("DCGM_FI_DEV_POWER_USAGE"),
        _Metric("gpu_package_power"),
        _Metric("gpu_average_package_power"),
        _Metric("gpu_power_usage"),
        _Metric("kepler_node_gpu_watts"),
        _Metric("kepler_pod_gpu_watts"),
    ),
    SignalKind.ENERGY_JOULES_TOTAL: (
        _Metric("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", JOULES_PER_MILLIJOULE),
        _Metric("gpu_energy_consumed", _JOULES_PER_MICROJOULE),
        _Metric("kepler_node_gpu_joules_total"),
        # Kepler <= 0.9: idle and dynamic are two series of one pod, both are paid for.
        _Metric("kepler_container_gpu_joules_total", 1.0, _CONTAINER),
    ),
    SignalKind.SM_CLOCK_HERTZ: (
        _Metric("DCGM_FI_DEV_SM_CLOCK", HERTZ_PER_MEGAHERTZ),
        _Metric("gpu_clock", HERTZ_PER_MEGAHERTZ),
    ),
    SignalKind.TEMPERATURE_CELSIUS: (
        _Metric("DCGM_FI_DEV_GPU_TEMP"),
        _Metric("gpu_junction_temperature"),
    ),
}


FAMILIES: tuple[Family, ...] = tuple(
    Family(kind, rank, *metric)
    for kind, metrics in _METRICS.items()
    for rank, metric in enumerate(metrics)
)
"""Every known family."""


def kv_cache_capacity_tokens(labels: Mapping[str, str]) -> float | None:
    """Size of a vLLM's KV cache from the labels of `vllm:cache_config_info`; None: not there.

    `kv_cache_size_tokens` (seen in 0.32), or else blocks times block size.
    """
    try:
        if (tokens := labels.get("kv_cache_size_tokens", "None")) != "None":
            return float(tokens)
        return float(labels["num_gpu_blocks"]) * float(labels["block_size"])
    except (KeyError, ValueError):
        return None
