"""Feeds: the interface, and a provider behind a cache that is served while it is renewed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import aiocache
import msgspec

from telemetry.carbon.failures import FeedError, FeedFailure
from telemetry.carbon.providers import Provider
from telemetry.carbon.published import CarbonReading, Published, joined, reading_at, unknown
from telemetry.carbon.slots import IntensityKind

_LOG = logging.getLogger(__name__)
_FIRST_WAIT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 86_400.0


class CarbonFeed(Protocol):
    """Carbon intensity of one grid.

    Attributes:
        source: Name in messages.
        kind: Of all figures.
        failures: Questions that gave nothing usable, by reason.
    """

    source: str
    kind: IntensityKind

    @property
    def failures(self) -> Mapping[FeedFailure, int]:
        """Counts since the feed was made."""
        ...

    async def read(self, *, now_epoch_seconds: float) -> CarbonReading:
        """What is known at a time; says why where nothing is, and never raises for that."""
        ...

    async def aclose(self) -> None:
        """Give back connections and tasks."""
        ...


class CachedFeed:
    """Serves the last answer while the next one is fetched; only the first one is waited for.

    An answer serves until its last slot is over. A failure leaves it in force and is repeated after
    a minute, then twice as long each time up to the refresh interval, or when the provider wished.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        key: str,
        refresh_seconds: float = 1800.0,
        cache: aiocache.BaseCache | None = None,
    ) -> None:
        """Fetch nothing yet.

        Args:
            provider: Asked at most every `refresh_seconds`; closed with the feed.
            key: Of the answer in the cache, alike for feeds that may share it.
            refresh_seconds: Age at which an answer is renewed.
            cache: Any aiocache back end; in memory by default.
        """
        self.source, self.kind = provider.source, provider.kind
        self._provider = provider
        self._key = f"carbon {key}"
        self._refresh_seconds = refresh_seconds
        self._cache = aiocache.SimpleMemoryCache() if cache is None else cache
        self._fetching: asyncio.Task[None] | None = None
        self._asked_epoch_seconds: float | None = None
        self._wait_seconds = 0.0
        self._failures = 0
        self._problem: str | None = None
        self._counts: Counter[FeedFailure] = Counter()

    @property
    def failures(self) -> Mapping[FeedFailure, int]:
        """Counts since the feed was made."""
        return dict(self._counts)

    async def read(self, *, now_epoch_seconds: float) -> CarbonReading:
        """From the cache; without any answer there, from the provider."""
        now = now_epoch_seconds
        held = await self._held()
        if self._is_due(held, now):
            self._start(held, now)
        if held is None and self._fetching is not None:
            # A reader that gives up must not end the fetch for the others.
            await asyncio.shield(self._fetching)
            held = await self._held()
        if held is None:
            reason = self._problem or f"{self.source} has not answered yet."
            return unknown(kind=self.kind, source=self.source, reason=reason)
        reading = reading_at(held, kind=self.kind, source=self.source, now_epoch_seconds=now)
        return _with_problem(reading, self._problem)

    async def aclose(self) -> None:
        """End a fetch in flight and close the provider."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._provider.aclose()

    async def _held(self) -> Published | None:
        stored = await self._cache.get(self._key)
        if stored is None:
            return None
        try:
            # Serialised and checked, because a cache may be shared with other versions of this.
            return msgspec.json.decode(stored, type=Published)
        except msgspec.MsgspecError:
            return None

    def _is_due(self, held: Published | None, now: float) -> bool:
        if self._fetching is not None and not self._fetching.done():
            return False
        asked = self._asked_epoch_seconds
        # A clock that was stepped back must not silence the feed.
        if asked is not None and 0.0 <= now - asked < self._wait_seconds:
            return False
        if held is None or self._failures:
            return True
        return not 0.0 <= now - held.fetched_epoch_seconds < self._refresh_seconds

    def _start(self, held: Published | None, now: float) -> None:
        last, self._fetching = self._fetching, None
        if last is not None:
            last.result()  # a bug in a provider ends here instead of in silence
        self._asked_epoch_seconds = now
        self._fetching = asyncio.ensure_future(self._fetch(held, now))

    async def _fetch(self, held: Published | None, now: float) -> None:
        try:
            new = await self._provider.fetch(now_epoch_seconds=now)
        except FeedError as error:
            self._failures += 1
            self._counts[error.reason] += 1
            backoff = _FIRST_WAIT_SECONDS * 2 ** min(self._failures - 1, 20)
            self._wait_seconds = min(
                _LONGEST_WAIT_SECONDS,
                max(min(self._refresh_seconds, backoff), error.wait_seconds or 0.0),
            )
            self._note(str(error))
            return
        self._failures = 0
        self._wait_seconds = min(
            _LONGEST_WAIT_SECONDS, max(self._refresh_seconds, new.wait_seconds or 0.0)
        )
        new = new if held is None else joined(new, held)
        lasts_seconds = max(new.slots[-1].end_epoch_seconds - now, self._refresh_seconds)
        await self._cache.set(
            self._key, msgspec.json.encode(new).decode("utf-8"), ttl=lasts_seconds
        )
        self._note(None)

    def _note(self, problem: str | None) -> None:
        """One line for each change."""
        if problem is not None and problem != self._problem:
            _LOG.warning("carbon intensity: %s", problem)
        elif problem is None and self._problem is not None:
            _LOG.info("carbon intensity: %s answers again.", self.source)
        self._problem = problem


def _with_problem(reading: CarbonReading, problem: str | None) -> CarbonReading:
    """With the failure of the last fetch, which also explains why nothing newer is there."""
    if problem is None:
        return reading
    reason = None if reading.reason is None else f"{reading.reason} {problem}"
    return replace(reading, problem=problem, reason=reason)
