"""Direct scrape of `/metrics`: of the replicas themselves and of power exporters."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import aiohttp
from yarl import URL

from fleet.adapters import LoadedAdapters
from fleet.clock import Clock
from fleet.signals import SignalKind
from fleet.topology import Fleet
from telemetry.attribution import Grouping
from telemetry.bounded_body import bounded_body
from telemetry.exposition import ExposedSample, FamilyReader
from telemetry.families import FAMILIES, Family
from telemetry.fleet_index import FleetIndex, LabelNames, Sample
from telemetry.reading import (
    ANSWERED,
    FailureReason,
    Outcome,
    Reading,
    RejectionReason,
    SourceReport,
    status_reason,
)
from telemetry.served_models import ADAPTERS_FAMILY, read_adapters
from telemetry.slices import readings_of

_HEADERS = {
    "Accept": "text/plain;version=0.0.4",  # exporters answer OpenMetrics or protobuf when asked to
    "Accept-Encoding": "identity",  # a scrape every second is cheaper unpacked on a pod network
}
_START_GAP_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeSettings:
    """What to scrape and within which limits.

    Attributes:
        metrics_path: On every replica, under `scheme`://address.
        scheme: "http" or "https".
        exporter_urls: Full URLs of power exporters (dcgm-exporter, AMD, Kepler).
        timeout_seconds: For one target, connection included.
        silent_seconds: A replica that has given no answer at all for this long, while others of
            the fleet answer, counts as down: a hung engine accepts requests and never ends them,
            and Envoy follows a pick whatever its own health checks say. When nobody answers, the
            fault is more likely on this side, and nothing is said of anybody.
        concurrency: Targets asked at the same time; as many pages are in memory at most.
        spread_seconds: Over how long a round's questions are spread, two milliseconds between two
            where that is less: answers that come one after the other leave requests their turn.
        max_body_bytes: A longer answer is dropped. A vLLM with all its histograms sends 0.1 MB.
        headers: Added to every request, for example an Authorization.
        families: What to look for.
        labels: How exporters name replicas.
    """

    metrics_path: str = "/metrics"
    scheme: str = "http"
    exporter_urls: tuple[str, ...] = ()
    timeout_seconds: float = 1.0
    silent_seconds: float = 5.0
    concurrency: int = 128
    spread_seconds: float = 0.5
    max_body_bytes: int = 4 * 1024 * 1024
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    families: tuple[Family, ...] = FAMILIES
    labels: LabelNames = field(default_factory=LabelNames)


class _Target(NamedTuple):
    name: str
    url: str
    address: str | None  # of the replica; None for an exporter


class _Page(NamedTuple):
    """What one target gave."""

    outcome: Outcome
    healthy_ratio: float | None = None
    observed_seconds: float = 0.0
    malformed: tuple[str, ...] = ()
    adapters: LoadedAdapters | None = None


class ScrapeSource:
    """A `telemetry.reading.Source` that asks every target itself."""

    name = "scrape"

    def __init__(self, settings: ScrapeSettings, clock: Clock) -> None:
        """Open nothing yet: connections belong to the loop that collects."""
        self._settings = settings
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._index: FleetIndex | None = None
        self._answered_seconds: dict[str, float] = {}  # address -> last answer, or first question
        self._wanted: defaultdict[str, list[Family]] = defaultdict(list)
        for family in settings.families:
            self._wanted[family.selector].append(family)
        self._wanted[ADAPTERS_FAMILY] = []  # read for its labels, not as a signal
        self._reader = FamilyReader([name.encode() for name in self._wanted])

    async def collect(self, fleet: Fleet) -> SourceReport:
        """Scrape all replicas and exporters once."""
        if self._index is None or self._index.fleet is not fleet:
            self._index = FleetIndex(fleet, self._settings.labels)
        targets = self._targets(fleet)
        gap_seconds = min(_START_GAP_SECONDS, self._settings.spread_seconds / len(targets or [0]))
        grouping = Grouping(self._index)
        pages = await asyncio.gather(
            *(
                self._scrape(target, grouping, delay_seconds=number * gap_seconds)
                for number, target in enumerate(targets)
            )
        )
        readings = await readings_of(grouping)
        rejected = Counter(grouping.rejected)
        for page in pages:
            for family in (f for name in page.malformed for f in self._wanted[name]):
                rejected[family.kind, RejectionReason.MALFORMED] += 1
        return SourceReport(
            readings=(*self._health(targets, pages), *readings),
            outcomes={
                target.name: page.outcome for target, page in zip(targets, pages, strict=True)
            },
            rejected=rejected,
            adapters={
                target.address: page.adapters
                for target, page in zip(targets, pages, strict=True)
                if target.address is not None and page.adapters is not None
            },
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _health(self, targets: Sequence[_Target], pages: Sequence[_Page]) -> list[Reading]:
        """What each replica's answer, or its long silence, says of it."""
        now_seconds = self._clock.monotonic_seconds()
        asked = {
            target.address: page
            for target, page in zip(targets, pages, strict=True)
            if target.address is not None
        }
        self._answered_seconds = {
            address: now_seconds
            if page.outcome.reason not in _SILENCE
            else self._answered_seconds.get(address, now_seconds)
            for address, page in asked.items()
        }
        somebody_answers = any(page.healthy_ratio == 1.0 for page in asked.values())
        health = []
        for address, page in asked.items():
            ratio, observed_seconds = page.healthy_ratio, page.observed_seconds
            silent_seconds = now_seconds - self._answered_seconds[address]
            if somebody_answers and silent_seconds >= self._settings.silent_seconds:
                ratio, observed_seconds = 0.0, now_seconds
            if ratio is not None:
                kind = SignalKind.HEALTHY_RATIO
                health.append(Reading(address, kind, ratio, observed_seconds))
        return health

    def _targets(self, fleet: Fleet) -> list[_Target]:
        settings = self._settings
        replicas = [
            _Target(
                replica.address,
                f"{settings.scheme}://{replica.address}{settings.metrics_path}",
                replica.address,
            )
            for replica in fleet.replicas()
        ]
        return replicas + [
            _Target(str(URL(url).with_user(None)), url, None)  # no password in logs and metrics
            for url in settings.exporter_urls
        ]

    async def _scrape(self, target: _Target, grouping: Grouping, *, delay_seconds: float) -> _Page:
        """Ask one target after a while; whatever it does becomes an outcome."""
        if delay_seconds:
            await asyncio.sleep(delay_seconds)
        async with self._slots:
            # The request's time, not the answer's: a reading must never claim to be younger than
            # it is, or starts since then would be counted neither by it nor by the ledger.
            observed_seconds = self._clock.monotonic_seconds()
            try:
                status, body = await self._fetch(target.url)
            except TimeoutError:
                return _Page(Outcome(FailureReason.TIMEOUT))
            except aiohttp.ClientConnectorError as error:
                return self._unreachable(error, observed_seconds)
            except (aiohttp.ClientError, OSError) as error:
                return _Page(Outcome(FailureReason.CONNECTION, _describe(error)))
            except ValueError as error:
                return _Page(Outcome(FailureReason.MALFORMED, _describe(error)))
        page, samples = self._read(target, status, body, observed_seconds)
        grouping.add(samples)
        return page

    async def _fetch(self, url: str) -> tuple[int, bytes]:
        """Status and body; a body over the limit is cut off behind it.

        Raises:
            TimeoutError, aiohttp.ClientError, OSError, ValueError: The target's doing.
        """
        async with self._connections().get(url, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 - HTTP's OK
                return response.status, b""
            limit_bytes = self._settings.max_body_bytes
            return response.status, await bounded_body(response, max_bytes=limit_bytes)

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Concurrency is bounded by the semaphore, before a request's clock starts.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_seconds),
                headers=_HEADERS | dict(self._settings.headers),
            )
        return self._session

    def _unreachable(self, error: aiohttp.ClientConnectorError, observed_seconds: float) -> _Page:
        """Nobody listens: the replica is down. Anything else says nothing about it."""
        if isinstance(error.os_error, ConnectionRefusedError):
            return _Page(Outcome(FailureReason.REFUSED), 0.0, observed_seconds)
        return _Page(Outcome(FailureReason.CONNECTION, _describe(error)))

    def _read(
        self, target: _Target, status: int, body: bytes, observed_seconds: float
    ) -> tuple[_Page, Sequence[Sample]]:
        if status != 200:  # noqa: PLR2004 - HTTP's OK
            reason = status_reason(status)
            healthy_ratio = 0.0 if reason is FailureReason.HTTP_5XX else None
            return _Page(Outcome(reason, f"status {status}"), healthy_ratio, observed_seconds), ()
        if len(body) > self._settings.max_body_bytes:
            limit = f"more than {self._settings.max_body_bytes} bytes"
            return _Page(Outcome(FailureReason.TOO_LARGE, limit), 1.0, observed_seconds), ()
        exposition = self._reader.read(body)
        # What the other lines of a family with an unreadable one add up to is not known.
        samples = [
            sample
            for exposed in exposition.samples
            if exposed.name not in exposition.malformed
            for sample in self._samples(target, exposed, observed_seconds)
        ]
        outcome = ANSWERED if samples else Outcome(FailureReason.NO_METRICS)
        adapters = read_adapters(exposition.samples, observed_seconds=observed_seconds)
        malformed = tuple(exposition.malformed)
        return _Page(outcome, 1.0, observed_seconds, malformed, adapters), samples

    def _samples(
        self, target: _Target, exposed: ExposedSample, observed_seconds: float
    ) -> list[Sample]:
        if exposed.timestamp_epoch_seconds is not None:
            age_seconds = self._clock.epoch_seconds() - exposed.timestamp_epoch_seconds
            observed_seconds = self._clock.monotonic_seconds() - max(age_seconds, 0.0)
        return [
            Sample(family, exposed.labels, exposed.value, observed_seconds, target.address)
            for family in self._wanted[exposed.name]
        ]


_SILENCE = frozenset({FailureReason.TIMEOUT, FailureReason.CONNECTION})


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
