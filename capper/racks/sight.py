"""Keeps the pods of some namespaces and the nodes' labels current, by watching them."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from fleet.clock import Clock
from telemetry.kubernetes.client import ApiRequestError, KubeClient
from telemetry.kubernetes.objects import NODES, Store, WatchKey
from telemetry.kubernetes.settings import KubernetesSettings
from telemetry.kubernetes.watcher import Watcher

Object = Mapping[str, Any]


class ClusterSight:
    """Watches for as long as somebody wants it.

    Attributes:
        changed: Set after each change.
    """

    def __init__(self, client: KubeClient, clock: Clock) -> None:
        """Watch through `client`; nothing is asked yet."""
        self._client = client
        self._clock = clock
        self._store = Store()
        self._settings = KubernetesSettings(targets=())
        self._watchers: dict[WatchKey, tuple[Watcher, asyncio.Task[None]]] = {}
        self.changed = asyncio.Event()

    async def follow(self, namespaces: Iterable[str]) -> None:
        """Watch the pods of these namespaces and the nodes, and nothing else."""
        wanted = {WatchKey("", "v1", "pods", one) for one in namespaces}
        wanted |= {NODES} if wanted else set()
        gone = [key for key in self._watchers if key not in wanted]
        await self._end(gone)
        for key in wanted - self._watchers.keys():
            watcher = Watcher(
                key,
                client=self._client,
                store=self._store,
                settings=self._settings,
                clock=self._clock,
                on_change=self.changed.set,
                on_failure=lambda _key, _failure: None,
            )
            self._watchers[key] = (watcher, asyncio.create_task(watcher.run()))

    async def aclose(self) -> None:
        """Watch nothing."""
        await self._end([*self._watchers])

    def pods(self, namespace: str) -> list[Object]:
        """Pods of a namespace."""
        return self._store.of(WatchKey("", "v1", "pods", namespace))

    def nodes(self) -> list[Object]:
        """Nodes, with their labels and no more."""
        return self._store.of(NODES)

    def missing(self, namespace: str) -> str:
        """Why the pods of a namespace or the nodes are not known; empty when they are."""
        for key in (WatchKey("", "v1", "pods", namespace), NODES):
            watcher, _ = self._watchers.get(key, (None, None))
            if watcher is None or not watcher.settled:
                failure = None if watcher is None else watcher.failure
                return _said(failure) or f"{key} are not known yet"
        return ""

    async def _end(self, keys: list[WatchKey]) -> None:
        tasks = [self._watchers.pop(key)[1] for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._store.forget(keys)


def _said(failure: ApiRequestError | None) -> str:
    return "" if failure is None else str(failure).removesuffix(".")
