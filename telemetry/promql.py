"""Instant queries to Prometheus in the event loop; range queries by `telemetry.promql_range`.

What a router asks every second is ten thousands of series for a thousand replicas, which is why
answers are taken apart here and not by prometheus-api-client: it builds a tree of the whole answer
in one go, in a thread that keeps the event loop waiting for the interpreter's lock
(docs/decisions/0024-telemetry-cost.md).
"""

import asyncio
import errno
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import aiocache
import aiohttp
import msgspec

from fleet.clock import Clock
from telemetry.bounded_body import bounded_body
from telemetry.prometheus_settings import PrometheusSettings
from telemetry.query_answers import Answer, Entry, QueryError, malformed
from telemetry.reading import FailureReason, status_reason

if TYPE_CHECKING:
    from telemetry.promql_range import RangeQuerier

__all__ = ["PrometheusQuerier", "PrometheusSettings", "QueryError"]

_HEADERS = {"Accept-Encoding": "identity"}  # unpacking would cost more than the network does


class _Data(msgspec.Struct, frozen=True):
    result: list[Entry]


class _Document(msgspec.Struct, frozen=True):
    data: _Data


# A third of a millisecond for a thousand series: labels are skipped over, not taken apart.
_DOCUMENT = msgspec.json.Decoder(_Document)


class PrometheusQuerier:
    """One instant answer serves everybody who asks within its time."""

    def __init__(
        self,
        settings: PrometheusSettings,
        clock: Clock,
        *,
        cache: aiocache.BaseCache | None = None,
    ) -> None:
        """Prepare; no connection is made yet.

        Args:
            settings: Address and limits.
            clock: For the age of cached answers.
            cache: Any aiocache back end; in memory by default.
        """
        self._settings = settings
        self._clock = clock
        self._cache = aiocache.SimpleMemoryCache() if cache is None else cache
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(settings.threads)
        self._session: aiohttp.ClientSession | None = None
        self._ranges: RangeQuerier | None = None

    async def ask(self, promql: str) -> Answer:
        """The instant vector of `promql`, possibly a cached one.

        Raises:
            QueryError: Prometheus could not be reached, refused, or gave no instant vector.
        """
        key = f"{self._settings.url} {promql}"
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:  # who asks while the question is open waits for its answer
            cached = await self._cache.get(key)
            if cached is not None:
                body, asked_epoch_seconds = cached
                return Answer(_entries(body), asked_epoch_seconds)
            asked_epoch_seconds = self._clock.epoch_seconds()
            body = await self._fetch(promql)
            answer = Answer(_entries(body), asked_epoch_seconds)
            cached = (body, asked_epoch_seconds)
            await self._cache.set(key, cached, ttl=self._settings.cache_seconds)
            return answer

    def ranges(self) -> "RangeQuerier":
        """Whom to ask for histories of the same Prometheus; its answers are never cached."""
        if self._ranges is None:
            # Megabytes of libraries, and threads, that only those who read histories need.
            from telemetry.promql_range import RangeQuerier  # noqa: PLC0415 - see above

            self._ranges = RangeQuerier(self._settings, self._clock)
        return self._ranges

    def age_seconds(self, answer: Answer) -> float:
        """How long ago `answer` was asked for; never negative."""
        return max(self._clock.epoch_seconds() - answer.asked_epoch_seconds, 0.0)

    async def aclose(self) -> None:
        """End connections and threads; waits for range queries in flight, at most their timeout."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._ranges is not None:
            await self._ranges.aclose()

    async def _fetch(self, promql: str) -> bytes:
        async with self._slots:
            try:
                return await self._get({"query": promql})
            except TimeoutError as error:
                raise QueryError(FailureReason.TIMEOUT, "TimeoutError") from error
            except (aiohttp.ClientError, OSError) as error:
                raise QueryError(_reason(error), f"{type(error).__name__}: {error}") from error

    async def _get(self, parameters: Mapping[str, str]) -> bytes:
        url = f"{self._settings.url.rstrip('/')}/api/v1/query"
        async with self._connections().get(url, params=parameters) as response:
            limit_bytes = self._settings.max_body_bytes
            body = await bounded_body(response, max_bytes=limit_bytes)
            if len(body) > limit_bytes:
                raise QueryError(FailureReason.TOO_LARGE, f"more than {limit_bytes} bytes")
            if response.status != 200:  # noqa: PLR2004 - HTTP's OK
                detail = f"HTTP Status Code {response.status} ({body!r})"
                raise QueryError(status_reason(response.status), detail)
            return body

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=_trust(settings)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=settings.timeout_seconds),
                headers=_HEADERS | dict(settings.headers),
            )
        return self._session


def _trust(settings: PrometheusSettings) -> ssl.SSLContext | bool:
    if not settings.url.startswith("https:"):
        return True
    if settings.ca_file is not None:
        return ssl.create_default_context(cafile=settings.ca_file)
    from requests import utils  # noqa: PLC0415 - certifi's file, in use with https only

    return ssl.create_default_context(cafile=utils.DEFAULT_CA_BUNDLE_PATH)


def _entries(body: bytes) -> list[Entry]:
    """The series of an answer.

    Raises:
        QueryError: It is no instant vector.
    """
    try:
        entries = _DOCUMENT.decode(body).data.result
        if entries:
            entries[0].row()  # a proxy that makes answers up does not make up only some series
    except (msgspec.MsgspecError, ValueError) as error:
        raise malformed(error) from error
    return entries


def _reason(error: aiohttp.ClientError | OSError) -> FailureReason:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    refused = isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED
    return FailureReason.REFUSED if refused else FailureReason.CONNECTION
