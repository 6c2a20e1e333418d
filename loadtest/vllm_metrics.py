"""The `vllm:*` metrics of one simulated replica, names, types and labels as in vLLM 0.32.

Pure. Counters are the engine's own; histograms are filled when a step or a request ends. All
durations are simulated seconds: what the hardware would have taken, whatever the time scale.

As in the real server `request_success_total{finished_reason="abort"}` stays 0 when clients hang
up (facts/vllm-on-cpu.md 1). Left out: the FLOP and byte estimates, multi-modal and external cache
counters, and the `http_*` metrics of its web framework.
"""

from collections.abc import Callable, Iterable

from loadtest.engine import Engine
from loadtest.engine_state import Counters, EngineRequest, Iteration, RequestT, Step
from loadtest.exposition import Family, Histogram, MetricsFault, label_set

_TTFT_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_TOKEN_BOUNDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_LATENCY_BOUNDS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0),
    *(60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_STEP_TOKEN_BOUNDS = tuple(float(2**power) for power in (0, *range(3, 15)))
_COUNT_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0)

_RUNNING = Family("vllm:num_requests_running", "gauge", "Requests in the batch.")
_WAITING = Family("vllm:num_requests_waiting", "gauge", "Requests in the queue.")
_WAITING_BY_REASON = Family(
    "vllm:num_requests_waiting_by_reason", "gauge", "Requests in the queue, by what they wait for."
)
_KV_USAGE = Family("vllm:kv_cache_usage_perc", "gauge", "Part of the KV cache in use, 0..1.")
_SLEEP_STATE = Family("vllm:engine_sleep_state", "gauge", "1 for the state the engine is in.")
_CACHE_CONFIG = Family("vllm:cache_config_info", "gauge", "Settings of the KV cache; always 1.")
_LORA_INFO = Family("vllm:lora_requests_info", "gauge", "Adapters in use; epoch seconds.")
_REJECTIONS = Family(
    "vllm:admission_rejections_total", "counter", "Requests refused at the door, by limit."
)
_SUCCESS = Family("vllm:request_success_total", "counter", "Requests that ended, by reason.")
_BY_SOURCE = Family(
    "vllm:prompt_tokens_by_source_total", "counter", "Prompt tokens by where their KV came from."
)

# Counters that are one number each.
_Count = Callable[[Counters], int]
_COUNTERS: tuple[tuple[Family, _Count], ...] = (
    (
        Family("vllm:prompt_tokens_total", "counter", "Prompt tokens processed."),
        lambda counters: counters.prompt_tokens,
    ),
    (
        Family("vllm:prompt_tokens_cached_total", "counter", "Prompt tokens found in a cache."),
        lambda counters: counters.cached_prompt_tokens,
    ),
    (
        Family("vllm:generation_tokens_total", "counter", "Tokens generated."),
        lambda counters: counters.generation_tokens,
    ),
    (
        Family("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up."),
        lambda counters: counters.prefix_query_tokens,
    ),
    (
        Family("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found when looked up."),
        lambda counters: counters.prefix_hit_tokens,
    ),
    (
        Family("vllm:num_preemptions_total", "counter", "Requests thrown out of the batch."),
        lambda counters: counters.preemptions,
    ),
)


class VllmMetrics:
    """Histograms of one replica, and the text of all its metrics.

    Attributes:
        queue_rejections: Requests refused because the queue was full.
    """

    def __init__(
        self,
        *,
        model_name: str,
        max_model_len: int,
        max_lora: int = 0,
    ) -> None:
        self.queue_rejections = 0
        self._model_name = model_name
        self._labels = self._with()
        self._max_lora = max_lora
        token_bounds = _one_two_five(max_model_len)
        self._histograms: list[tuple[Family, Histogram]] = []
        add = self._add
        self._prompt_tokens = add("request_prompt_tokens", token_bounds)
        self._generation_tokens = add("request_generation_tokens", token_bounds)
        self._step_tokens = add("iteration_tokens_total", _STEP_TOKEN_BOUNDS)
        self._max_tokens = add("request_params_max_tokens", token_bounds)
        self._preemptions = add("request_num_preemptions", _COUNT_BOUNDS)
        self._computed_tokens = add("request_prefill_kv_computed_tokens", token_bounds)
        self._ttft = add("time_to_first_token_seconds", _TTFT_BOUNDS)
        self._token_gap = add("inter_token_latency_seconds", _TOKEN_BOUNDS)
        self._tpot = add("request_time_per_output_token_seconds", _TOKEN_BOUNDS)
        self._e2e = add("e2e_request_latency_seconds", _LATENCY_BOUNDS)
        self._queue = add("request_queue_time_seconds", _LATENCY_BOUNDS)
        self._inference = add("request_inference_time_seconds", _LATENCY_BOUNDS)
        self._prefill = add("request_prefill_time_seconds", _LATENCY_BOUNDS)
        self._decode = add("request_decode_time_seconds", _LATENCY_BOUNDS)

    def observe_step(self, iteration: Iteration, step: Step[RequestT]) -> None:
        """A step ended."""
        now_seconds = iteration.end_seconds
        self._step_tokens.observe(
            iteration.prefill_tokens + step.decoded_tokens + len(step.prefilled)
        )
        if step.decoded_tokens:
            # All of them got their previous token when the previous step ended: one observation.
            self._token_gap.observe(iteration.duration_seconds, times=step.decoded_tokens)
        for request in step.prefilled:
            if request.preempted_token_seconds is None:
                self._ttft.observe(now_seconds - request.arrival_seconds)
            else:
                self._token_gap.observe(now_seconds - request.preempted_token_seconds)
        for request in step.finished:
            self._observe_end(request, now_seconds)

    def observe_max_tokens(self, max_tokens: int) -> None:
        """A request asked for at most so many tokens."""
        self._max_tokens.observe(max_tokens)

    def render(
        self,
        engine: Engine[RequestT],
        *,
        fault: MetricsFault | None,
        running_adapters: Iterable[str] = (),
        waiting_adapters: Iterable[str] = (),
        epoch_seconds: float,
    ) -> bytes:
        """The whole exposition. A fault changes gauges and counters, not histograms."""
        parts = [*self._gauges(engine, fault), *self._counters(engine, fault)]
        if self._max_lora:
            labels = {
                "max_lora": str(self._max_lora),
                "running_lora_adapters": ",".join(sorted(set(running_adapters))),
                "waiting_lora_adapters": ",".join(sorted(set(waiting_adapters))),
            }
            parts += [_LORA_INFO.header(), _LORA_INFO.sample(label_set(labels), epoch_seconds)]
        for family, histogram in self._histograms:
            parts += [family.header(), family.histogram(self._labels, histogram)]
        return "".join(parts).encode()

    def _gauges(self, engine: Engine[RequestT], fault: MetricsFault | None) -> Iterable[str]:
        for family, value in (
            (_RUNNING, engine.running),
            (_WAITING, engine.waiting),
            (_KV_USAGE, engine.kv_usage_ratio),
        ):
            yield family.header()
            yield family.sample(self._labels, value, fault)
        yield _WAITING_BY_REASON.header()
        for reason, waiting in (("capacity", engine.waiting), ("deferred", 0)):
            yield _WAITING_BY_REASON.sample(self._with(reason=reason), waiting, fault)
        yield _SLEEP_STATE.header()
        state_now = "weights_offloaded" if engine.asleep else "awake"
        for state in ("awake", "weights_offloaded", "discard_all"):
            yield _SLEEP_STATE.sample(self._with(sleep_state=state), state == state_now)
        block_tokens = engine.limits.block_size_tokens
        cache = {
            "block_size": str(block_tokens),
            "cache_dtype": "auto",
            "enable_prefix_caching": str(engine.limits.enable_prefix_caching),
            "engine": "0",
            "gpu_memory_utilization": "0.9",
            "kv_cache_size_tokens": str(engine.kv_capacity_tokens),
            "num_gpu_blocks": str(engine.kv_capacity_tokens // block_tokens),
        }
        yield _CACHE_CONFIG.header()
        yield _CACHE_CONFIG.sample(label_set(cache), 1)

    def _counters(self, engine: Engine[RequestT], fault: MetricsFault | None) -> Iterable[str]:
        counters = engine.counters
        for family, count in _COUNTERS:
            yield family.header()
            yield family.sample(self._labels, count(counters), fault)
        yield _BY_SOURCE.header()
        cached_tokens = counters.cached_prompt_tokens
        computed_tokens = counters.prompt_tokens - cached_tokens
        for source, tokens in (
            ("local_compute", computed_tokens),
            ("local_cache_hit", cached_tokens),
            ("external_kv_transfer", 0),
        ):
            yield _BY_SOURCE.sample(self._with(source=source), tokens, fault)
        yield _SUCCESS.header()
        for reason in ("stop", "length", "abort", "error", "repetition"):
            ended = counters.finished.get(reason, 0)
            yield _SUCCESS.sample(self._with(finished_reason=reason), ended, fault)
        yield _REJECTIONS.header()
        labels = {"model_name": self._model_name, "reason": "max_num_queued_reqs"}
        yield _REJECTIONS.sample(label_set(labels), self.queue_rejections, fault)

    def _observe_end(self, request: EngineRequest, now_seconds: float) -> None:
        scheduled_seconds = request.scheduled_seconds
        first_token_seconds = request.first_token_seconds
        assert scheduled_seconds is not None
        assert first_token_seconds is not None
        decode_seconds = now_seconds - first_token_seconds
        self._e2e.observe(now_seconds - request.arrival_seconds)
        self._queue.observe(scheduled_seconds - request.arrival_seconds)
        self._inference.observe(now_seconds - scheduled_seconds)
        self._prefill.observe(first_token_seconds - scheduled_seconds)
        self._decode.observe(decode_seconds)
        self._prompt_tokens.observe(request.prompt_tokens)
        self._generation_tokens.observe(request.output_tokens)
        self._computed_tokens.observe(request.prompt_tokens - request.cached_tokens)
        self._preemptions.observe(request.preemptions)
        if request.output_tokens > 1:
            self._tpot.observe(decode_seconds / (request.output_tokens - 1))

    def _add(self, name: str, bounds: tuple[float, ...]) -> Histogram:
        histogram = Histogram(bounds)
        text = f"Distribution of {name.replace('_', ' ')}."
        self._histograms.append((Family(f"vllm:{name}", "histogram", text), histogram))
        return histogram

    def _with(self, **labels: str) -> str:
        return label_set({"engine": "0", "model_name": self._model_name, **labels})


def _one_two_five(largest: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, 50, ... up to `largest`: vLLM's bounds for token counts."""
    bounds = (float(digit * 10**power) for power in range(12) for digit in (1, 2, 5))
    return tuple(bound for bound in bounds if bound <= largest)
