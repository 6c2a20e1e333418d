"""The metrics page of a router of several processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.processes import resident_bytes
from headrace.workers.families import merged
from headrace.workers.supervised import Supervised

_PREFIX = "headrace_worker_"


class MergedRegistry(CollectorRegistry):
    """The parent's metrics, and in their places those that its workers told last.

    Attributes:
        counted: Samples of the families that only sums over workers tell, by family and label
            values.
    """

    def __init__(self, workers: Sequence[Supervised]) -> None:
        """Begin empty, with what these tell."""
        super().__init__()
        self._workers = workers
        self.counted: Callable[[], Mapping[str, Mapping[str, float]]] = dict

    def collect(self) -> Iterator[Metric]:
        """All families, under the names that one process gives them."""
        pages = [page for worker in self._workers for page in worker.tally.families()]
        counted = self.counted()
        for metric in merged(super().collect(), pages):
            if metric.name in counted:
                _replace(metric, counted[metric.name])
            yield metric


def _replace(metric: Metric, values: Mapping[str, float]) -> None:
    """Other values in the place of a counter's; an empty key is that of no label."""
    samples, metric.samples = metric.samples, []
    for sample in samples:
        label = next(iter(sample.labels.values()), "")
        metric.add_sample(sample.name, sample.labels, values[label])


class WorkersCollector(Collector):
    """What there is to say of each worker as a process."""

    def __init__(self, workers: Sequence[Supervised]) -> None:
        """Of these."""
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """All families."""
        up = GaugeMetricFamily(_PREFIX + "up", "1 while it takes requests.", labels=["worker"])
        restarts = CounterMetricFamily(
            _PREFIX + "restarts", "Times that its process was started again.", labels=["worker"]
        )
        memory = GaugeMetricFamily(
            _PREFIX + "resident_memory_bytes", "Of its process.", labels=["worker"]
        )
        for worker in self._workers:
            label = [str(worker.index)]
            up.add_metric(label, float(worker.standing.ready))
            restarts.add_metric(label, worker.restarts_total)
            if worker.pid is not None:
                with suppress(OSError, StopIteration):  # not Linux, or the process is gone
                    memory.add_metric(label, resident_bytes(worker.pid))
        yield from (up, restarts, memory)
