"""The cluster as a fleet source: watches what is wanted, publishes what it comes to."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from fleet.topology import Fleet
from telemetry.fleet_source import FleetSourceError, FleetView, SourceState
from telemetry.kubernetes.client import ApiRequestError, KubeClient
from telemetry.kubernetes.endpoints import find
from telemetry.kubernetes.objects import Store, WatchKey, wanted
from telemetry.kubernetes.prober import Prober
from telemetry.kubernetes.settings import KubernetesSettings
from telemetry.kubernetes.view import build_view
from telemetry.kubernetes.watcher import Watcher
from telemetry.source_instruments import SourceInstruments

_LOG = logging.getLogger(__name__)
_REST = 9.0  # at most a tenth of the time goes into views


class KubernetesFleetSource:
    """A `telemetry.fleet_source.FleetSource`."""

    name = "kubernetes"

    def __init__(
        self, settings: KubernetesSettings, clock: Clock, registry: CollectorRegistry
    ) -> None:
        """Prepare; nothing is asked before start()."""
        self._settings = settings
        self._clock = clock
        self._store = Store()
        self._instruments = SourceInstruments(self, clock, registry)
        self._prober = Prober(settings, clock, on_change=self._touch)
        self._watchers: dict[WatchKey, tuple[Watcher, asyncio.Task[None]]] = {}
        self._touched = asyncio.Event()
        self._first = asyncio.Event()
        self._view = FleetView(fleet=Fleet(()))
        self._models: dict[str, frozenset[str]] = {}  # backend -> what it served last
        self._publish: Callable[[FleetView], None] | None = None
        self._client: KubeClient | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, publish: Callable[[FleetView], None]) -> FleetView:
        """Watch, and give the first view once every list has come.

        Raises:
            FleetSourceError: No configuration, or no first view in time; says what is missing.
        """
        self._client = await KubeClient.connect(self._settings.kubeconfig)
        self._tasks = [
            asyncio.create_task(self._compose_for_ever(), name="discovery"),
            asyncio.create_task(self._prober.run(), name="discovery-models"),
        ]
        self._touch()
        try:
            async with asyncio.timeout(self._settings.start_timeout_seconds):
                await self._first.wait()
        except TimeoutError:
            failures = [str(each.failure) for each, _ in self._watchers.values() if each.failure]
            await self.stop()
            seconds = self._settings.start_timeout_seconds
            why = failures[0] if failures else "The lists have not all come."
            raise FleetSourceError(f"Kubernetes: no view within {seconds:g} s. {why}") from None
        self._publish = publish
        return self._view

    async def stop(self) -> None:
        """End all watches."""
        self._publish = None
        tasks = [*self._tasks, *(task for _, task in self._watchers.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks, self._watchers = [], {}
        await self._prober.aclose()
        if self._client is not None:
            await self._client.aclose()

    def state(self, *, now_seconds: float) -> SourceState:
        """Current while every watch that the view needs goes on."""
        needed = [each for each, _ in self._watchers.values() if not each.absent]
        times = [each.confirmed_seconds for each in needed]
        known = [seconds for seconds in times if seconds is not None]
        age_seconds = now_seconds - min(known) if known else None
        failing = [each for each in needed if each.failure is not None and not each.key.optional]
        if failing or not self._first.is_set():
            why = str(failing[0].failure) if failing else "The lists have not all come yet."
            return SourceState(
                current=False,
                detail=f"The fleet is served as last seen. {why}",
                age_seconds=age_seconds,
            )
        replicas = sum(1 for _ in self._view.fleet.replicas())
        return SourceState(
            current=True,
            detail=f"The fleet is as the cluster has it: {replicas} replicas.",
            age_seconds=age_seconds,
        )

    def _touch(self) -> None:
        self._touched.set()

    def _note_failure(self, key: WatchKey, failure: ApiRequestError) -> None:
        self._instruments.failures.labels(self.name, key.plural, failure.reason).inc()

    async def _compose_for_ever(self) -> None:
        """Make a view of what has changed; the supervisor that a fault in it ends at."""
        while True:
            await self._touched.wait()
            self._touched.clear()
            started_seconds = self._clock.monotonic_seconds()
            try:
                await self._compose()
            except Exception:  # noqa: BLE001 - supervisor: the last view stays in force
                _LOG.exception("discovery failed")
            spent_seconds = self._clock.monotonic_seconds() - started_seconds
            # Requests share this loop: 1,000 pods took 65 ms here, so big fleets wait longer.
            await asyncio.sleep(max(self._settings.settle_seconds, _REST * spent_seconds))

    async def _compose(self) -> None:
        await self._watch_what_is_wanted()
        if all(each.settled for each, _ in self._watchers.values()):
            found = find(self._settings, self._store)
            self._prober.set_endpoints(found.endpoints)
            if self._first.is_set() or not self._prober.pending:
                view = build_view(self._settings, self._store, found, self._prober.served)
                self._adopt(view)
                self._instruments.note_state()

    async def _watch_what_is_wanted(self) -> None:
        """Begin and end watches; an object may name pods to watch that were not known before."""
        keys = wanted(self._settings, self._store)
        gone = [key for key in self._watchers if key not in keys]
        for key in gone:
            _, task = self._watchers.pop(key)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._store.forget(gone)
        for key in keys:
            if key not in self._watchers:
                watcher = self._watcher(key)
                task = asyncio.create_task(watcher.run(), name=f"discovery-{key}")
                self._watchers[key] = (watcher, task)

    def _watcher(self, key: WatchKey) -> Watcher:
        assert self._client is not None, "started"
        return Watcher(
            key,
            client=self._client,
            store=self._store,
            settings=self._settings,
            clock=self._clock,
            on_change=self._touch,
            on_failure=self._note_failure,
        )

    def _adopt(self, view: FleetView) -> None:
        """Publish what differs from the last view."""
        view = self._with_memory(view)
        if view == self._view and self._first.is_set():
            return
        self._view = view
        self._instruments.note_published(view)
        self._first.set()
        if self._publish is not None:
            self._publish(view)

    def _with_memory(self, view: FleetView) -> FleetView:
        """Add what one moment cannot know: models scaled to zero, endpoints that do not answer."""
        for backend in view.fleet.backends:
            self._models[backend.name] = frozenset(
                model for replica in backend.replicas for model in replica.models
            )
        seen = {model for models in self._models.values() for model in models}
        problems = sorted({*view.problems, *self._prober.problems()})
        return replace(
            view,
            absent_models=tuple(sorted(seen.difference(view.fleet.models()))),
            problems=tuple(problems),
        )
