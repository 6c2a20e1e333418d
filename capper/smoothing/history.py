"""A history of watts from Prometheus, a day at a time, folded into a week as it comes."""

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

from capper.api.smoothing_block import Smoothing
from capper.decide.smoothing_traces import HistoryError, TraceRules, Traces
from capper.decide.smoothing_weeks import WeekBuilder
from fleet.clock import Clock
from telemetry.promql import PrometheusQuerier, PrometheusSettings, QueryError
from telemetry.query_answers import RangeRow

DAY_SECONDS = 86_400.0
_ANSWER_SECONDS = 60.0
_ANSWER_BYTES = 256 * 1024 * 1024

_WORKLOAD = (
    'capper:pod_workload{kind="LeaderWorkerSet"}'
    ' or on (namespace, pod) capper:pod_workload{kind=~"Deployment|StatefulSet"}'
)
_WATTS = f"({_WORKLOAD}) * on (namespace, pod) group_left () capper:pod_watts"
_RACKED = (
    f"({_WATTS}) * on (namespace, pod) group_left (rack) capper:pod_rack"
    f" or on (namespace, pod) ({_WATTS})"
)
DEFAULT_QUERY = (
    "label_replace(label_join(label_join("
    f'{_RACKED}, "service", "/", "kind", "namespace", "workload"),'
    ' "instance", "/", "namespace", "pod"), "leaf", "$1", "rack", "(.+)")'
)
"""Each pod's watts from our recording rules; the pod's rack is the leaf."""

Progress = Callable[[int, int], None]
"""Is told the days read and the days there are."""


def _silent(_read: int, _all: int) -> None:
    pass


async def read_history(
    querier: PrometheusQuerier,
    builder: WeekBuilder,
    *,
    query: str,
    start_seconds: float,
    end_seconds: float,
    step_seconds: float,
    progress: Progress = _silent,
) -> str:
    """Read [start, end) into `builder`; gives the SHA-256 of all that was read.

    Args:
        querier: Whom to ask.
        builder: Takes the readings; it is filled in a thread, a day at a time.
        query: PromQL with the labels `service` and `instance`, and `leaf` where that is known.
        start_seconds: Epoch time.
        end_seconds: Epoch time.
        step_seconds: Between two evaluations.
        progress: Told after each day.

    Raises:
        HistoryError: A day could not be read, or the series have other labels.
    """
    digest = hashlib.sha256()
    first = math.ceil(start_seconds / step_seconds) * step_seconds
    days = max(1, math.ceil((end_seconds - first) / DAY_SECONDS))
    for day in range(days):
        begin = first + day * DAY_SECONDS
        end = min(begin + DAY_SECONDS, end_seconds)
        # Both ends of a range are evaluated; the last belongs to the next day.
        last = begin + (math.ceil((end - begin) / step_seconds) - 1) * step_seconds
        try:
            rows = await querier.ranges().ask(
                query, start_epoch_seconds=begin, end_epoch_seconds=last, step_seconds=step_seconds
            )
        except QueryError as error:
            raise HistoryError(
                f"day {day + 1} of {days} of the history cannot be read: {error}."
            ) from error
        await asyncio.to_thread(_note, rows, builder, digest)
        progress(day + 1, days)
    return digest.hexdigest()


async def read_traces(
    url: str, block: Smoothing, clock: Clock, *, headers: Mapping[str, str], ca_file: str | None
) -> Traces:
    """The mean week of the history that a configuration asks for, up to now.

    Raises:
        HistoryError: It cannot be read, or is of no use.
    """
    rules = TraceRules(
        step_seconds=float(block.step_seconds), min_coverage_ratio=block.min_coverage_ratio
    )
    end_seconds = clock.epoch_seconds() // rules.step_seconds * rules.step_seconds
    start_seconds = end_seconds - block.history_seconds
    builder = WeekBuilder(rules)
    settings = PrometheusSettings(
        url=url,
        timeout_seconds=_ANSWER_SECONDS,
        threads=1,
        max_body_bytes=_ANSWER_BYTES,
        headers=headers,
        ca_file=ca_file,
    )
    querier = PrometheusQuerier(settings, clock)
    try:
        await read_history(
            querier,
            builder,
            query=block.query or DEFAULT_QUERY,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            step_seconds=rules.step_seconds,
        )
    finally:
        await querier.aclose()
    return await asyncio.to_thread(
        lambda: builder.traces(start_seconds=start_seconds, end_seconds=end_seconds)
    )


def _note(rows: Sequence[RangeRow], builder: WeekBuilder, digest: "hashlib._Hash") -> None:
    for labels, points in sorted(rows, key=lambda row: sorted(row.labels.items())):
        service, instance = labels.get("service"), labels.get("instance")
        if not service or not instance:
            told = ", ".join(sorted(labels)) or "none"
            raise HistoryError(
                "the query must give the labels service and instance, and leaf where it is known;"
                f" a series has {told}."
            )
        leaf = labels.get("leaf") or None
        digest.update(repr((service, instance, leaf, points)).encode())
        for at_seconds, watts in points:
            builder.add(instance, service, leaf, at_seconds, watts)
