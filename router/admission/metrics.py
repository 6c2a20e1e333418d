"""Metrics of those who wait, read off the queue when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.admission.decider import Admission
from router.admission.demand import NO_DEMAND
from router.admission.queue import Fate

_PREFIX = "headrace_router_queue_"
_WAIT_BUCKETS_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0)


class AdmissionCollector(Collector):
    """Who waits for which model, and what became of those who did."""

    def __init__(self, admission: Admission, registry: CollectorRegistry) -> None:
        """Register with `registry`, and be told how long each admitted request waited."""
        self._admission = admission
        wait = Histogram(
            _PREFIX + "wait_seconds",
            "How long requests waited that then went to a replica.",
            buckets=_WAIT_BUCKETS_SECONDS,
            registry=registry,
        )
        admission.waited = wait.observe
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """All families, empty ones too."""
        waiting = self._admission.waiting()
        requests, tokens, oldest = (
            GaugeMetricFamily(_PREFIX + name, text, labels=["model"])
            for name, text in (
                ("requests", "Requests that wait, of every model, scaled to zero or not."),
                ("tokens", "Their predicted tokens, prompts and answers."),
                ("oldest_age_seconds", "How long the first of them has waited."),
            )
        )
        # 0 is told too: an autoscaler must be able to tell "nobody waits" from "nobody knows".
        for model in sorted({*self._admission.models(), *waiting}):
            demand = waiting.get(model, NO_DEMAND)
            requests.add_metric([model], demand.requests)
            tokens.add_metric([model], demand.work_tokens)
            oldest.add_metric([model], demand.oldest_age_seconds)
        yield from (requests, tokens, oldest)
        queue = self._admission.queue
        yield GaugeMetricFamily(
            _PREFIX + "bytes", "Bodies of those who wait.", value=queue.waiting_bytes
        )
        fates = CounterMetricFamily(
            _PREFIX + "requests_ended",
            "Requests that would have had to wait, by what became of them.",
            labels=["fate"],
        )
        for fate in Fate:
            fates.add_metric([fate.value], queue.fates[fate])
        yield fates
