"""Queries to Prometheus through prometheus-api-client, which blocks: in threads of its own."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import aiocache
import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.adapters import HTTPAdapter

from fleet.clock import Clock
from telemetry.queries import Row
from telemetry.reading import FailureReason

_CHUNK_BYTES = 65536
_DETAIL_CHARACTERS = 300
_ReadT = TypeVar("_ReadT")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """Where Prometheus is and within which limits it is asked.

    Attributes:
        url: Root, for example "http://prometheus.monitoring:9090".
        timeout_seconds: For one batch, and for every query in it, body included.
        threads: Queries in flight at the same time.
        cache_seconds: How long an answer serves all askers of the process; a little less than
            the polling interval.
        max_body_bytes: A longer answer is dropped.
        headers: Added to every request, for example an Authorization.
        ca_file: Certificates to trust for https; None: those of the `certifi` package. Proxies
            and credentials of the environment are not used.
    """

    url: str
    timeout_seconds: float = 2.0
    threads: int = 4
    cache_seconds: float = 0.8
    max_body_bytes: int = 32 * 1024 * 1024
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ca_file: str | None = None


class QueryError(Exception):
    """Prometheus did not answer a query.

    Attributes:
        reason: For the metrics.
    """

    def __init__(self, reason: FailureReason, detail: str) -> None:
        """Keep the beginning of `detail`: a proxy's error page can be long."""
        super().__init__(detail[:_DETAIL_CHARACTERS])
        self.reason = reason


class Answer(NamedTuple):
    """An instant vector.

    Attributes:
        rows: Labels and value of each series; values may be NaN.
        asked_epoch_seconds: When the question was sent: the answer is at least this old. Calendar
            time, because a cache may outlive and be shared beyond a process.
    """

    rows: Sequence[Row]
    asked_epoch_seconds: float


class RangeRow(NamedTuple):
    """One series of a range query.

    Attributes:
        labels: Of the series.
        points: Epoch seconds and value, in the order of time; values may be NaN.
    """

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


class PrometheusQuerier:
    """Queries off the event loop; one instant answer serves everybody who asks within its time."""

    def __init__(
        self,
        settings: PrometheusSettings,
        clock: Clock,
        *,
        cache: aiocache.BaseCache | None = None,
    ) -> None:
        """Prepare clients; no connection is made yet.

        Args:
            settings: Address and limits.
            clock: For the age of cached answers.
            cache: Any aiocache back end; in memory by default.
        """
        self._settings = settings
        self._clock = clock
        self._cache = aiocache.SimpleMemoryCache() if cache is None else cache
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="promql")
        # A client per thread: requests does not promise that a session may be shared.
        self._clients = [_client(settings, clock) for _ in range(settings.threads)]
        self._idle: SimpleQueue[PrometheusConnect] = SimpleQueue()
        for client in self._clients:
            self._idle.put(client)

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
                return Answer(*cached)
            asked_epoch_seconds = self._clock.epoch_seconds()
            rows = await asyncio.get_running_loop().run_in_executor(
                self._threads,
                self._with_client,
                lambda client: [_row(entry) for entry in client.custom_query(promql)],
            )
            answer = Answer(rows, asked_epoch_seconds)
            await self._cache.set(key, tuple(answer), ttl=self._settings.cache_seconds)
            return answer

    async def ask_range(
        self,
        promql: str,
        *,
        start_epoch_seconds: float,
        end_epoch_seconds: float,
        step_seconds: float,
    ) -> Sequence[RangeRow]:
        """The series of `promql` from start to end, both included; never a cached answer.

        Raises:
            QueryError: Prometheus could not be reached, refused, or gave no series.
        """

        def ask(client: PrometheusConnect) -> list[RangeRow]:
            result = client.custom_query_range(
                promql,
                start_time=datetime.fromtimestamp(start_epoch_seconds, tz=UTC),
                end_time=datetime.fromtimestamp(end_epoch_seconds, tz=UTC),
                step=f"{step_seconds:g}s",
            )
            return [_range_row(entry) for entry in result]

        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._with_client, ask
        )

    def age_seconds(self, answer: Answer) -> float:
        """How long ago `answer` was asked for; never negative."""
        return max(self._clock.epoch_seconds() - answer.asked_epoch_seconds, 0.0)

    async def aclose(self) -> None:
        """End the threads and connections; waits for queries in flight, at most their timeout."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for client in self._clients:
            client.close()

    def _with_client(self, ask: Callable[[PrometheusConnect], list[_ReadT]]) -> list[_ReadT]:
        """In a thread: ask, and translate every way in which asking fails."""
        client = self._idle.get()
        try:
            return ask(client)
        except requests.RequestException as error:
            raise QueryError(_reason(error), _detail(error)) from error
        except PrometheusApiClientException as error:
            raise QueryError(_status_reason(str(error)), str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise QueryError(
                FailureReason.MALFORMED, f"the answer is not of the kind asked for ({error!r})"
            ) from error
        finally:
            self._idle.put(client)


def _client(settings: PrometheusSettings, clock: Clock) -> PrometheusConnect:
    session = requests.Session()
    session.trust_env = False
    if settings.ca_file is not None:
        session.verify = settings.ca_file
    client = PrometheusConnect(
        url=settings.url.rstrip("/"),
        headers=dict(settings.headers),
        session=session,
        timeout=settings.timeout_seconds,
    )
    # After the constructor, which mounts an adapter of its own that retries with pauses: the next
    # poll is the retry.
    session.mount(client.url, _BoundedAdapter(settings, clock))
    return client


class _BoundedAdapter(HTTPAdapter):
    """Ends an answer that is too long or takes too long; requests bounds neither."""

    def __init__(self, settings: PrometheusSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        super().__init__(max_retries=urllib3.Retry(0, read=False), pool_maxsize=1)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        """Send and wrap the answer's body."""
        deadline_seconds = self._clock.monotonic_seconds() + self._settings.timeout_seconds
        response = super().send(request, *args, **kwargs)
        response.raw = _BoundedBody(
            response.raw,
            self._clock,
            deadline_seconds=deadline_seconds,
            room_bytes=self._settings.max_body_bytes,
        )
        return response


class _BoundedBody:
    """What requests reads a body from, with a limit on bytes and on time."""

    def __init__(
        self,
        raw: urllib3.BaseHTTPResponse,
        clock: Clock,
        *,
        deadline_seconds: float,
        room_bytes: int,
    ) -> None:
        self._raw = raw
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._room_bytes = room_bytes

    def stream(self, _amount_bytes: int, *, decode_content: bool) -> Iterator[bytes]:
        """Yield what has arrived, unpacked, until the end or a limit."""
        while chunk := self._raw.read1(_CHUNK_BYTES, decode_content=decode_content):
            self._room_bytes -= len(chunk)
            if self._room_bytes < 0:
                self._raw.close()
                raise _TooLargeError
            if self._clock.monotonic_seconds() > self._deadline_seconds:
                self._raw.close()
                raise requests.Timeout
            yield chunk

    def __getattr__(self, name: str) -> Any:
        """Everything else is the answer's own."""
        return getattr(self._raw, name)


class _TooLargeError(requests.RequestException):
    """The body passed the limit."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, urllib3's and the system's at the end."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(error: requests.RequestException) -> FailureReason:
    reasons = (
        reason
        for cause in reversed([*_causes(error)])
        for kind, reason in _REASONS
        if isinstance(cause, kind)
    )
    return next(reasons, FailureReason.CONNECTION)


_REASONS: tuple[tuple[type[BaseException], FailureReason], ...] = (
    (_TooLargeError, FailureReason.TOO_LARGE),
    (requests.JSONDecodeError, FailureReason.MALFORMED),
    (ConnectionRefusedError, FailureReason.REFUSED),
    # Before the timeouts: urllib3 derives it from one, whatever the cause.
    (urllib3.exceptions.NewConnectionError, FailureReason.CONNECTION),
    (urllib3.exceptions.TimeoutError, FailureReason.TIMEOUT),
    (requests.Timeout, FailureReason.TIMEOUT),
    (TimeoutError, FailureReason.TIMEOUT),
)


def _detail(error: requests.RequestException) -> str:
    """The innermost cause; the outer texts repeat the whole query."""
    *_, inner = _causes(error)
    return f"{type(inner).__name__}: {inner}"


def _status_reason(message: str) -> FailureReason:
    """The client's exception has the status in its text only: "HTTP Status Code 400 (b'...')"."""
    digit = message.removeprefix("HTTP Status Code ")[:1]
    return _STATUS_REASONS.get(digit, FailureReason.HTTP_OTHER)


_STATUS_REASONS = {"4": FailureReason.HTTP_4XX, "5": FailureReason.HTTP_5XX}


def _row(entry: Any) -> Row:
    """One series of an instant vector: {"metric": {...}, "value": [time, "text"]}."""
    _, value = entry["value"]
    return dict(entry["metric"]), float(value)


def _range_row(entry: Any) -> RangeRow:
    """One series of a matrix: {"metric": {...}, "values": [[time, "text"], ...]}."""
    points = [(float(time), float(value)) for time, value in entry["values"]]
    return RangeRow(dict(entry["metric"]), points)
