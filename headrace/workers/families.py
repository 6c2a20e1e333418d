"""One metrics page of many processes: the same names and labels as of one.

The parent tells what is known once (telemetry, capping, the fleet's energy, the ledger of all).
What each worker counts by itself is summed, or the largest is told where a sum means nothing.
"""

from collections.abc import Iterable, Iterator
from enum import Enum

from prometheus_client.metrics_core import Metric

from headrace.workers.messages import Family, Sample

_PREFIX = "headrace_router_"


class Merge(Enum):
    """How the values of several workers become one."""

    SUM = "sum"
    LARGEST = "largest"


TOLD_BY_WORKERS = {
    _PREFIX + name: merge
    for merge, names in (
        (
            Merge.SUM,
            (
                "picks",
                "rejections",
                "immediate_replies",
                "decision_seconds",
                "streams",
                "streams_open",
                "explained_candidates",
                "session_picks",
                "access_records",
                "queue_wait_seconds",
                "queue_requests",
                "queue_tokens",
                "queue_bytes",
                "queue_requests_ended",
                "mirror_repeated",
                "mirror_laps",
                "mirror_torn",
                "mirror_resyncs",
            ),
        ),
        (
            Merge.LARGEST,
            (
                "queue_oldest_age_seconds",
                # Every worker is told of all requests, and so remembers the same.
                "affinity_blocks",
                "affinity_event_blocks",
                "affinity_sessions",
            ),
        ),
    )
    for name in names
}
_LASTING = frozenset({"counter", "histogram"})
_CREATED = "_created"

_Labels = tuple[tuple[str, str], ...]


def told(metric: Metric) -> Family | None:
    """A worker's metric as it goes to the parent; None when the parent tells it."""
    if metric.name not in TOLD_BY_WORKERS:
        return None
    return Family(
        metric.name,
        metric.documentation,
        metric.type,
        [Sample(each.name, each.labels, each.value) for each in metric.samples],
    )


def merged(metrics: Iterable[Metric], pages: Iterable[Iterable[Family]]) -> Iterator[Metric]:
    """The parent's metrics, with what the workers told in the place of what they tell."""
    by_name: dict[str, list[Family]] = {}
    for page in pages:
        for family in page:
            by_name.setdefault(family.name, []).append(family)
    for metric in metrics:
        merge = TOLD_BY_WORKERS.get(metric.name)
        if merge is not None:
            own = told(metric)
            families = [*([] if own is None else [own]), *by_name.get(metric.name, ())]
            metric.samples = []
            for each in _merged(families, merge):
                metric.add_sample(each.name, each.labels, each.value)
        yield metric


def lasting(past: list[Family], page: list[Family]) -> list[Family]:
    """What counters of a worker that is gone have come to, with those of the ones before it."""
    found: dict[str, list[Family]] = {}
    for family in (*past, *page):
        if family.type in _LASTING:
            found.setdefault(family.name, []).append(family)
    return [
        Family(name, them[0].documentation, them[0].type, _merged(them, Merge.SUM))
        for name, them in found.items()
    ]


def _merged(families: Iterable[Family], merge: Merge) -> list[Sample]:
    values: dict[tuple[str, _Labels], float] = {}
    labels: dict[tuple[str, _Labels], dict[str, str]] = {}
    for family in families:
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            labels.setdefault(key, sample.labels)
            before = values.get(key)
            values[key] = (
                sample.value if before is None else _one(before, sample.value, sample.name, merge)
            )
    return [Sample(key[0], labels[key], value) for key, value in values.items()]


def _one(before: float, value: float, name: str, merge: Merge) -> float:
    if name.endswith(_CREATED):
        return min(before, value)
    return max(before, value) if merge is Merge.LARGEST else before + value
