"""The `/metrics` page of a vLLM and of a dcgm-exporter, with values that move.

Names, labels, buckets and the order of a vLLM 0.32 as one was seen to answer (500 lines, 41 kB for
a model called "tiny" with `_created` series switched off). Here the model has the name that
most have, and the `_created` series are there, as they are by default.
"""

from collections.abc import Callable, Iterator

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
BOARDS_PER_NODE = 8

_BASE = f'engine="0",model_name="{MODEL}"'
_HELP = "Seen on every page and read by nobody who wants the values, but sent all the same."

_COUNTERS = (
    "estimated_flops_per_gpu",
    "estimated_read_bytes_per_gpu",
    "estimated_write_bytes_per_gpu",
    "prefix_cache_queries",
    "prefix_cache_hits",
    "external_prefix_cache_queries",
    "external_prefix_cache_hits",
    "mm_cache_queries",
    "mm_cache_hits",
    "num_preemptions",
    "prompt_tokens",
    "prompt_tokens_cached",
    "generation_tokens",
)
_LABELLED_COUNTERS = {
    "request_success": ("finished_reason", ("stop", "length", "abort", "error", "repetition")),
    "prompt_tokens_by_source": (
        "source",
        ("local_compute", "local_cache_hit", "external_kv_transfer"),
    ),
    "prompt_tokens_cached_by_source": (
        "source",
        ("device", "host", "p2p", "disk", "external_unspecified"),
    ),
}
_GAUGES = ("num_requests_running", "num_requests_waiting")
_LABELLED_GAUGES = {
    "num_requests_waiting_by_reason": ("reason", ("capacity", "deferred")),
    "engine_sleep_state": ("sleep_state", ("awake", "weights_offloaded", "discard_all")),
}
_TOKEN_EDGES = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))[:17]
_LATENCY_EDGES = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0),
    *(60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_GAP_EDGES = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_TTFT_EDGES = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_HISTOGRAMS = {
    "request_prompt_tokens": _TOKEN_EDGES,
    "request_generation_tokens": _TOKEN_EDGES,
    "iteration_tokens_total": tuple(float(2**power) for power in (0, *range(3, 15))),
    "request_max_num_generation_tokens": _TOKEN_EDGES,
    "request_params_n": (1.0, 2.0, 5.0, 10.0, 20.0),
    "request_params_max_tokens": _TOKEN_EDGES,
    "time_to_first_token_seconds": _TTFT_EDGES,
    "inter_token_latency_seconds": _GAP_EDGES,
    "request_time_per_output_token_seconds": _GAP_EDGES,
    "e2e_request_latency_seconds": _LATENCY_EDGES,
    "request_queue_time_seconds": _LATENCY_EDGES,
    "request_inference_time_seconds": _LATENCY_EDGES,
    "request_prefill_time_seconds": _LATENCY_EDGES,
    "request_decode_time_seconds": _LATENCY_EDGES,
    "request_num_preemptions": (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0),
    "request_prefill_kv_computed_tokens": _TOKEN_EDGES,
}
_CACHE_SETTINGS = (
    '_block_size_resolved="True",block_size="16",cache_dtype="auto",'
    'cache_hit_alignment_tokens="None",effective_attention_block_size="16",'
    'enable_prefix_caching="True",engine="0",gpu_memory_utilization="0.92",hash_block_size="None",'
    'is_attention_free="False",kv_cache_dtype_skip_layers="[]",kv_cache_layout="None",'
    'kv_cache_max_concurrency="3.2",kv_cache_memory_bytes="None",kv_cache_size_tokens="419424",'
    'kv_offloading_backend="native",kv_offloading_size="None",kv_sharing_fast_prefill="False",'
    'mamba_block_size="None",mamba_cache_dtype="auto",mamba_cache_mode="none",'
    'num_cpu_blocks="None",num_gpu_blocks="26214",num_gpu_blocks_override="None",'
    'prefix_caching_hash_algo="sha256",sliding_window="None",user_specified_block_size="False"'
)


class Page:
    """A page as a template: what stands fast is rendered once, the numbers per answer."""

    def __init__(self, lines: Iterator[tuple[str, float, float]]) -> None:
        """Take what to print.

        Args:
            lines: Text up to the value, first value, growth per second. A text that ends in a
                line feed is printed as it is.
        """
        parts: list[str] = []
        moving: list[tuple[float, float]] = []
        for text, first, growth in lines:
            if text.endswith("\n"):
                parts.append(text.replace("%", "%%"))
            elif growth:
                parts.append(text.replace("%", "%%") + " %r\n")
                moving.append((first, growth))
            else:
                parts.append(f"{text.replace('%', '%%')} {first!r}\n")
        self._template = "".join(parts)
        self._moving = tuple(moving)

    def at(self, seconds: float) -> bytes:
        """The page `seconds` after the start of what it speaks of."""
        return (
            self._template % tuple(first + growth * seconds for first, growth in self._moving)
        ).encode()


def vllm_page(busy: float) -> Page:
    """A replica that has worked for an hour.

    Args:
        busy: Speed of its counters; 1 is two requests per second.
    """
    return Page(_vllm_lines(busy))


def dcgm_page(uuids: tuple[str, ...]) -> Page:
    """A node's exporter."""
    return Page(_dcgm_lines(uuids))


def _vllm_lines(busy: float) -> Iterator[tuple[str, float, float]]:
    for name in _GAUGES:
        yield from _head(name, "gauge")
        # Grows a little, so that no two pages are alike; a few hours stay within a batch.
        yield f"vllm:{name}{{{_BASE}}}", 4.0 * busy, 0.001 * busy
    for name, (label, values) in _LABELLED_GAUGES.items():
        yield from _head(name, "gauge")
        for value in values:
            yield f'vllm:{name}{{{_BASE},{label}="{value}"}}', 0.0, 0.0
    yield from _head("kv_cache_usage_perc", "gauge")
    yield f"vllm:kv_cache_usage_perc{{{_BASE}}}", 0.1 * busy, 1e-5 * busy
    for name in _COUNTERS:
        yield from _counter(name, [f"{{{_BASE}}}"], 500.0 * busy)
    for name, (label, values) in _LABELLED_COUNTERS.items():
        yield from _counter(name, [f'{{{_BASE},{label}="{value}"}}' for value in values], 2 * busy)
    for name, edges in _HISTOGRAMS.items():
        yield from _histogram(name, edges, 2.0 * busy)
    yield from _head("cache_config_info", "gauge")
    yield f"vllm:cache_config_info{{{_CACHE_SETTINGS}}}", 1.0, 0.0


def _dcgm_lines(uuids: tuple[str, ...]) -> Iterator[tuple[str, float, float]]:
    fields: tuple[tuple[str, str, Callable[[int], tuple[float, float]]], ...] = (
        ("DCGM_FI_DEV_SM_CLOCK", "gauge", lambda _: (1980.0, 0.0)),
        ("DCGM_FI_DEV_MEM_CLOCK", "gauge", lambda _: (2619.0, 0.0)),
        ("DCGM_FI_DEV_GPU_TEMP", "gauge", lambda index: (50.0 + index, 0.0)),
        ("DCGM_FI_DEV_POWER_USAGE", "gauge", lambda index: (400.0 + index, 0.01)),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", lambda _: (4e9, 4e5)),
        ("DCGM_FI_DEV_GPU_UTIL", "gauge", lambda _: (97.0, 0.0)),
        ("DCGM_FI_DEV_FB_FREE", "gauge", lambda _: (4096.0, 0.0)),
        ("DCGM_FI_DEV_FB_USED", "gauge", lambda _: (76000.0, 0.0)),
    )
    for name, kind, value in fields:
        yield f"# HELP {name} {_HELP}\n# TYPE {name} {kind}\n", 0.0, 0.0
        for index, uuid in enumerate(uuids):
            labels = (
                f'gpu="{index}",UUID="{uuid}",pci_bus_id="00000000:{index + 1:02X}:00.0",'
                f'device="nvidia{index}",modelName="NVIDIA H100 80GB HBM3",Hostname="node"'
            )
            yield f"{name}{{{labels}}}", *value(index)


def _head(name: str, kind: str) -> Iterator[tuple[str, float, float]]:
    yield f"# HELP vllm:{name} {_HELP}\n# TYPE vllm:{name} {kind}\n", 0.0, 0.0


def _counter(name: str, labels: list[str], growth: float) -> Iterator[tuple[str, float, float]]:
    yield from _head(f"{name}_total", "counter")
    for text in labels:
        yield f"vllm:{name}_total{text}", growth * 3600, growth
    yield from _head(f"{name}_created", "gauge")
    for text in labels:
        yield f"vllm:{name}_created{text}", 1.795293093e9, 0.0


def _histogram(
    name: str, edges: tuple[float, ...], growth: float
) -> Iterator[tuple[str, float, float]]:
    yield from _head(name, "histogram")
    for number, edge in enumerate((*edges, "+Inf"), start=1):
        share = growth * number / (len(edges) + 1)
        yield f'vllm:{name}_bucket{{engine="0",le="{edge}",model_name="{MODEL}"}}', 0.0, share
    yield f"vllm:{name}_count{{{_BASE}}}", 0.0, growth
    yield f"vllm:{name}_sum{{{_BASE}}}", 0.0, growth * 3.7
    yield from _head(f"{name}_created", "gauge")
    yield f"vllm:{name}_created{{{_BASE}}}", 1.795293093e9, 0.0
