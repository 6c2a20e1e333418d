"""Keeps one list of objects current: list, watch, and begin again when either fails."""

import asyncio
import random
from collections.abc import Callable

from fleet.clock import Clock
from telemetry.kubernetes.client import (
    BOOKMARK,
    OPENED,
    ApiRequestError,
    HistoryGoneError,
    KubeClient,
)
from telemetry.kubernetes.objects import Store, WatchKey
from telemetry.kubernetes.settings import KubernetesSettings

_NOT_FOUND, _FORBIDDEN = 404, 403
_NOT_TO_BE_HAD = (_FORBIDDEN, _NOT_FOUND)


class Watcher:
    """One task that writes one key of a Store.

    Attributes:
        failure: Why the list is not current; None while it is.
        confirmed_seconds: Monotonic time at which it was last known to be current.
        settled: A first list has come, or it is known that there is none to be had.
    """

    def __init__(
        self,
        key: WatchKey,
        *,
        client: KubeClient,
        store: Store,
        settings: KubernetesSettings,
        clock: Clock,
        on_change: Callable[[], None],
        on_failure: Callable[[WatchKey, ApiRequestError], None],
    ) -> None:
        """Prepare; `run` does it.

        Args:
            key: What to watch.
            client: The API server.
            store: Where objects go.
            settings: Of pauses and limits.
            clock: For the age of what is known.
            on_change: Called after each change of the store or of `failure`.
            on_failure: Called with each failure.
        """
        self.key = key
        self.failure: ApiRequestError | None = None
        self.confirmed_seconds: float | None = None
        self.settled = False
        self._client = client
        self._store = store
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._on_failure = on_failure
        self._failures = 0

    @property
    def absent(self) -> bool:
        """The API server answers, and says that there is no such resource: no CRD is installed."""
        return self.failure is not None and self.failure.code == _NOT_FOUND

    async def run(self) -> None:
        """Go on for ever."""
        version: str | None = None
        listed_seconds = 0.0
        while True:
            try:
                now_seconds = self._clock.monotonic_seconds()
                if version is None or now_seconds - listed_seconds > self._settings.resync_seconds:
                    version, listed_seconds = await self._list(), now_seconds
                version = await self._watch(version)
            except HistoryGoneError:
                version = None
            except ApiRequestError as failure:
                version = self._failed(failure, version)
                await asyncio.sleep(self._pause_seconds())
            except _WatchBroken as broken:
                version = self._failed(broken.failure, broken.version)
                await asyncio.sleep(self._pause_seconds())

    async def _list(self) -> str:
        listed = await self._client.list(self.key)
        changed = self._store.replace(self.key, listed.objects)
        self._confirm(changed=changed)
        return listed.version

    async def _watch(self, version: str) -> str:
        """One watch; returns the version to go on from.

        A connection that breaks is no reason to list anew: the next watch goes on where this one
        was. Only a history that is gone is.
        """
        # Watches of many routers must not all end together.
        seconds = self._settings.watch_seconds * random.uniform(0.8, 1.0)  # noqa: S311 - spreads load, keeps no secret
        events = self._client.watch(
            self.key, version, seconds=seconds, silent_seconds=self._settings.silent_seconds
        )
        try:
            async for event in events:
                version = event.version
                changed = event.kind not in (OPENED, BOOKMARK) and self._store.apply(
                    self.key, event.kind, event.obj
                )
                self._confirm(changed=changed)
        except ApiRequestError as failure:
            raise _WatchBroken(failure, version) from failure
        self._confirm(changed=False)
        return version

    def _confirm(self, *, changed: bool) -> None:
        self._failures = 0
        self.confirmed_seconds = self._clock.monotonic_seconds()
        changed = changed or self.failure is not None or not self.settled
        self.failure, self.settled = None, True
        if changed:
            self._on_change()

    def _failed(self, failure: ApiRequestError, version: str | None) -> str | None:
        """Note it; a resource that is gone for good takes its objects with it."""
        first = self.failure is None
        self.failure = failure
        self._failures += 1
        self._on_failure(self.key, failure)
        if self.key.optional and failure.code in _NOT_TO_BE_HAD:
            self.settled = True
            self._store.replace(self.key, ())
        if first:
            self._on_change()
        return None if failure.code is not None else version

    def _pause_seconds(self) -> float:
        """Twice as long each time, and never the same for two watchers."""
        settings = self._settings
        longest = settings.backoff_seconds * 2.0 ** min(self._failures - 1, 16)
        return min(longest, settings.backoff_limit_seconds) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret


class _WatchBroken(Exception):  # noqa: N818 - not an error for anybody outside
    """A watch failed after events up to `version`."""

    def __init__(self, failure: ApiRequestError, version: str) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.version = version
