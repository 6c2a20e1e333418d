"""One client for each Prometheus that is asked, and what is known of each query's type."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from capper.observe.question import Measured, Question, UnusableError
from fleet.clock import Clock
from telemetry.promql import PrometheusQuerier, PrometheusSettings, QueryError
from telemetry.query_answers import Row
from telemetry.reading import FailureReason

_UNUSED_SECONDS = 600.0


class Askers:
    """Asks any number of Prometheus servers; clients that nobody needs are closed."""

    def __init__(self, settings: PrometheusSettings, clock: Clock) -> None:
        """Ask with the limits of `settings`; its URL stands for none."""
        self._settings = settings
        self._clock = clock
        self._queriers: dict[str, PrometheusQuerier] = {}
        self._used_seconds: dict[str, float] = {}
        self._questions: dict[tuple[str, str], Question] = {}

    async def rows(self, url: str, promql: str) -> tuple[Sequence[Row], float]:
        """An instant vector, and how old the answer is.

        Raises:
            UnusableError: There is none.
        """
        querier = self._querier(url)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                answer = await querier.ask(promql)
        except TimeoutError as error:
            raise UnusableError(self._silent(url)) from error
        except QueryError as error:
            if error.reason is FailureReason.HTTP_4XX:
                raise
            if error.reason is FailureReason.TIMEOUT:
                raise UnusableError(self._silent(url)) from error
            raise UnusableError(f"Prometheus {url} cannot be asked: {error}.") from error
        return answer.rows, querier.age_seconds(answer)

    async def measure(self, url: str, text: str) -> Measured:
        """The one number of a user's query.

        Raises:
            UnusableError: There is none.
        """
        question = self._questions.get((url, text), Question(text=text))
        try:
            try:
                rows, late_seconds = await self.rows(url, question.promql())
            except QueryError as refusal:
                question = question.corrected(str(refusal))
                rows, late_seconds = await self.rows(url, question.promql())
        except QueryError as refusal:
            raise UnusableError(f"{question.shown} was refused: {refusal}.") from refusal
        self._questions[url, text] = question
        measured = question.measured(rows)
        return measured._replace(age_seconds=measured.age_seconds + late_seconds)

    def querier(self, url: str) -> PrometheusQuerier:
        """The client for one server, for questions of another form; closed with the others."""
        return self._querier(url)

    async def close_unused(self) -> None:
        """Close the clients of servers that no configuration names any more."""
        now_seconds = self._clock.monotonic_seconds()
        for url, used_seconds in [*self._used_seconds.items()]:
            if now_seconds - used_seconds > _UNUSED_SECONDS:
                del self._used_seconds[url]
                self._questions = {
                    key: one for key, one in self._questions.items() if key[0] != url
                }
                await self._queriers.pop(url).aclose()

    async def aclose(self) -> None:
        """Close all."""
        queriers = [*self._queriers.values()]
        self._queriers.clear()
        self._used_seconds.clear()
        await asyncio.gather(*(querier.aclose() for querier in queriers))

    def _querier(self, url: str) -> PrometheusQuerier:
        self._used_seconds[url] = self._clock.monotonic_seconds()
        if url not in self._queriers:
            settings = replace(self._settings, url=url, headers=self._headers(url))
            self._queriers[url] = PrometheusQuerier(settings, self._clock)
        return self._queriers[url]

    def _headers(self, url: str) -> Mapping[str, str]:
        """Credentials are for the server that they were given for, and for no other."""
        return self._settings.headers if url == self._settings.url else {}

    def _silent(self, url: str) -> str:
        return f"Prometheus {url} did not answer within {self._settings.timeout_seconds:g} s."
