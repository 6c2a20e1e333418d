"""Range queries through prometheus-api-client, which blocks: in threads of its own.

They are rare and long: histories of days for placement and smoothing, read once. What is asked
every second goes another way (`telemetry.promql`), and does not load this module.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests.adapters import HTTPAdapter

from fleet.clock import Clock
from telemetry.prometheus_settings import PrometheusSettings
from telemetry.query_answers import QueryError, RangeRow, malformed
from telemetry.reading import FailureReason, status_reason

_CHUNK_BYTES = 65536


class RangeQuerier:
    """Range queries off the event loop, a client per thread."""

    def __init__(self, settings: PrometheusSettings, clock: Clock) -> None:
        """Prepare clients; no connection is made yet."""
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="promql")
        # A client per thread: requests does not promise that a session may be shared.
        self._clients = [_client(settings, clock) for _ in range(settings.threads)]
        self._idle: SimpleQueue[PrometheusConnect] = SimpleQueue()
        for client in self._clients:
            self._idle.put(client)

    async def ask(
        self,
        promql: str,
        *,
        start_epoch_seconds: float,
        end_epoch_seconds: float,
        step_seconds: float,
    ) -> Sequence[RangeRow]:
        """The series of `promql` from start to end, both included.

        Raises:
            QueryError: Prometheus could not be reached, refused, or gave no series.
        """

        def ask() -> list[RangeRow]:
            client = self._idle.get()
            try:
                result = client.custom_query_range(
                    promql,
                    start_time=datetime.fromtimestamp(start_epoch_seconds, tz=UTC),
                    end_time=datetime.fromtimestamp(end_epoch_seconds, tz=UTC),
                    step=f"{step_seconds:g}s",
                )
                return [_range_row(entry) for entry in result]
            except requests.RequestException as error:
                raise QueryError(_reason(error), _detail(error)) from error
            except PrometheusApiClientException as error:
                raise QueryError(_status_of(str(error)), str(error)) from error
            except (KeyError, TypeError, ValueError) as error:
                raise malformed(error) from error
            finally:
                self._idle.put(client)

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    async def aclose(self) -> None:
        """End the threads and connections; waits for queries in flight, at most their timeout."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for client in self._clients:
            client.close()


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


def _status_of(message: str) -> FailureReason:
    """The client's exception has the status in its text only: "HTTP Status Code 400 (b'...')"."""
    digits = message.removeprefix("HTTP Status Code ")[:3]
    return status_reason(int(digits) if digits.isdecimal() else 0)


def _range_row(entry: Any) -> RangeRow:
    """One series of a matrix: {"metric": {...}, "values": [[time, "text"], ...]}."""
    points = [(float(time), float(value)) for time, value in entry["values"]]
    return RangeRow(dict(entry["metric"]), points)
