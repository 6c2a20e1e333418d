"""Asks every endpoint what it serves: new ones at once, known ones now and then."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from fleet.clock import Clock
from telemetry.kubernetes.endpoints import Endpoint
from telemetry.kubernetes.settings import KubernetesSettings
from telemetry.models_endpoint import ModelsEndpoint
from telemetry.served_models import ModelsError, ServedModels

_TICK_SECONDS = 0.25


class Prober:
    """What each endpoint last said; an answer that fails leaves the last good one."""

    def __init__(
        self, settings: KubernetesSettings, clock: Clock, *, on_change: Callable[[], None]
    ) -> None:
        """Ask nobody yet."""
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._endpoint = ModelsEndpoint(scheme=settings.models_scheme)
        self._uids: dict[str, str] = {}  # address -> of whose pod
        self._served: dict[str, ServedModels] = {}
        self._failed: dict[str, str] = {}
        self._due_seconds: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    @property
    def served(self) -> Mapping[str, ServedModels]:
        """Address -> models, of those that have said."""
        return MappingProxyType(self._served)

    @property
    def pending(self) -> bool:
        """Whether some endpoint has not answered or failed yet."""
        return any(
            address not in self._served and address not in self._failed for address in self._uids
        )

    def problems(self) -> list[str]:
        """A sentence for each endpoint that has never said."""
        return [text for address, text in self._failed.items() if address not in self._served]

    def set_endpoints(self, endpoints: Iterable[Endpoint]) -> None:
        """Ask these from now on, and forget all others; another pod is another replica."""
        uids = {endpoint.address: endpoint.uid for endpoint in endpoints}
        changed = {address for address, uid in self._uids.items() if uids.get(address) != uid}
        for address in changed:
            for kept in (self._served, self._failed, self._due_seconds):
                kept.pop(address, None)
            if (task := self._asking.pop(address, None)) is not None:
                task.cancel()
        self._uids = uids
        if self._settings.models:
            self._served = dict.fromkeys(uids, ServedModels(base=self._settings.models))
        for address in uids.keys() - self._due_seconds.keys():
            self._due_seconds[address] = 0.0
            self._wake.set()

    async def run(self) -> None:
        """Go on for ever; with models that are given there is nothing to ask."""
        while not self._settings.models:
            now_seconds = self._clock.monotonic_seconds()
            for address, due_seconds in self._due_seconds.items():
                if due_seconds <= now_seconds and address not in self._asking:
                    self._asking[address] = asyncio.create_task(self._ask(address))
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), _TICK_SECONDS)
            except TimeoutError:
                continue

    async def aclose(self) -> None:
        """End what is being asked."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._endpoint.aclose()

    async def _ask(self, address: str) -> None:
        uid = self._uids.get(address)
        pause_seconds = self._settings.models_interval_seconds
        try:
            served = await self._endpoint.ask(address)
        except ModelsError as error:
            changed = self._failed.get(address) != str(error)
            self._failed[address] = str(error)
            pause_seconds = self._settings.models_retry_seconds
        else:
            changed = self._served.get(address) != served
            if self._uids.get(address) == uid:
                self._served[address] = served
            self._failed.pop(address, None)
        self._asking.pop(address, None)
        if self._uids.get(address) != uid:
            return
        self._due_seconds[address] = self._clock.monotonic_seconds() + pause_seconds
        if changed:
            self._on_change()
