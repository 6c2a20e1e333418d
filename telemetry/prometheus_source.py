"""Prometheus as a source of readings: one batch of instant queries per round."""

import asyncio
from collections.abc import Iterator

import msgspec

from fleet.clock import Clock
from fleet.topology import Fleet
from telemetry.attribution import Grouping
from telemetry.fleet_index import FleetIndex, Sample
from telemetry.promql import PrometheusQuerier, QueryError
from telemetry.queries import Query, QuerySet, default_queries
from telemetry.query_answers import malformed
from telemetry.reading import ANSWERED, FailureReason, Outcome, SourceReport
from telemetry.series import Pairing, SeriesBook
from telemetry.slices import in_slices, readings_of

_SLICE_ROWS = 1024
# The age of an answer is known to within its round trip.
_TIME_ERROR_SECONDS = 0.1


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
        self._books = {query: SeriesBook(query) for query in self._queries.queries}
        self._timeout_seconds = timeout_seconds
        self._index: FleetIndex | None = None

    async def collect(self, fleet: Fleet) -> SourceReport:
        """Ask all queries at once; those that fail or are late cost only their own signals."""
        if self._index is None or self._index.fleet is not fleet:
            self._index = FleetIndex(fleet, self._queries.labels)
        asking = {query: asyncio.ensure_future(self._ask(query)) for query in self._texts}
        try:
            if asking:
                await asyncio.wait(asking.values(), timeout=self._timeout_seconds)
        finally:
            late = [future for future in asking.values() if future.cancel()]
            await asyncio.gather(*late, return_exceptions=True)
        outcomes = {query.kind.value: _outcome(future) for query, future in asking.items()}
        grouping = Grouping(self._index)
        for query, future in asking.items():
            if outcomes[query.kind.value] is ANSWERED:
                async for samples in in_slices(future.result(), size=_SLICE_ROWS):
                    grouping.add(samples)
        return SourceReport(
            readings=await readings_of(grouping),
            outcomes=outcomes,
            rejected=grouping.rejected,
            time_error_seconds=_TIME_ERROR_SECONDS,
        )

    async def aclose(self) -> None:
        """Nothing: the querier belongs to who made it."""

    async def _ask(self, query: Query) -> Iterator[Sample]:
        """The samples of one query, none of them made yet."""
        answer = await self._querier.ask(self._texts[query])
        evaluated_seconds = self._clock.monotonic_seconds() - self._querier.age_seconds(answer)
        pairing = Pairing(self._books[query])
        try:
            async for entries in in_slices(answer.entries, size=_SLICE_ROWS):
                pairing.add(entries)
        except (msgspec.MsgspecError, ValueError) as error:
            raise malformed(error) from error
        return pairing.samples(evaluated_seconds=evaluated_seconds)


def _outcome(future: "asyncio.Future[Iterator[Sample]]") -> Outcome:
    if future.cancelled():
        return Outcome(FailureReason.TIMEOUT)
    error = future.exception()
    if error is None:
        return ANSWERED
    if isinstance(error, QueryError):
        return Outcome(error.reason, str(error))
    raise error
