"""Prometheus as a source of readings: one batch of instant queries per round."""

import asyncio
from collections.abc import Iterator

from fleet.clock import Clock
from fleet.topology import Fleet
from telemetry.attribution import FleetIndex, Sample, attribute
from telemetry.promql import Answer, PrometheusQuerier, QueryError
from telemetry.queries import Query, QuerySet, default_queries
from telemetry.reading import ANSWERED, FailureReason, Outcome, SourceReport


class PrometheusSource:
    """A `telemetry.reading.Source` that asks Prometheus for everything in one batch."""

    name = "prometheus"

    def __init__(
        self,
        querier: PrometheusQuerier,
        clock: Clock,
        *,
        queries: QuerySet | None = None,
        timeout_seconds: float = 2.0,
    ) -> None:
        """Read through `querier`, which stays the caller's to close.

        Args:
            querier: Shared with whoever else asks this Prometheus.
            clock: For observation times.
            queries: What to ask; the defaults when None.
            timeout_seconds: For the whole batch.
        """
        self._querier = querier
        self._clock = clock
        self._queries = default_queries() if queries is None else queries
        self._texts = {query: query.promql() for query in self._queries.queries}
        self._timeout_seconds = timeout_seconds
        self._index: FleetIndex | None = None

    async def collect(self, fleet: Fleet) -> SourceReport:
        """Ask all queries at once; those that fail or are late cost only their own signals."""
        if self._index is None or self._index.fleet is not fleet:
            self._index = FleetIndex(fleet, self._queries.labels)
        asking = {
            query: asyncio.ensure_future(self._querier.ask(text))
            for query, text in self._texts.items()
        }
        try:
            if asking:
                await asyncio.wait(asking.values(), timeout=self._timeout_seconds)
        finally:
            late = [future for future in asking.values() if future.cancel()]
            await asyncio.gather(*late, return_exceptions=True)
        outcomes = {query.kind.value: _outcome(future) for query, future in asking.items()}
        samples = [
            sample
            for query, future in asking.items()
            if outcomes[query.kind.value] is ANSWERED
            for sample in self._samples(query, future.result())
        ]
        attribution = attribute(samples, self._index)
        return SourceReport(
            readings=attribution.readings, outcomes=outcomes, rejected=attribution.rejected
        )

    async def aclose(self) -> None:
        """Nothing: the querier belongs to who made it."""

    def _samples(self, query: Query, answer: Answer) -> Iterator[Sample]:
        evaluated_seconds = self._clock.monotonic_seconds() - self._querier.age_seconds(answer)
        return query.samples(answer.rows, evaluated_seconds=evaluated_seconds)


def _outcome(future: "asyncio.Future[Answer]") -> Outcome:
    if future.cancelled():
        return Outcome(FailureReason.TIMEOUT)
    error = future.exception()
    if error is None:
        return ANSWERED
    if isinstance(error, QueryError):
        return Outcome(error.reason, str(error))
    raise error
