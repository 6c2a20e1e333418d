"""Router and capper in one process: one snapshot, one price board, one event loop."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import grpc
from prometheus_client import CollectorRegistry

from capper.actuators.local import LocalWorkloads
from capper.api.files import InvalidConfigError, parse
from capper.decide.observation import RouterForecast
from capper.external_scaler.allowances import AllowanceHolder
from capper.external_scaler.server import ExternalScaler
from capper.loop import CappingLoop, LoopSettings
from capper.operator.journal import Journal, LocalJournal
from capper.operator.leaving import RestoreError
from capper.operator.snapshot_observer import SnapshotObserver
from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.capper_file import CapperSection
from headrace.config_errors import BadInputError, load_documents
from headrace.local_fleet import ServedFleet
from router.decide.picker import Picker

_log = logging.getLogger(__name__)
_STOP_SECONDS = 2.0


class CappingStartError(Exception):
    """The capper cannot be started; the sentence says why."""


class _Capper(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Capping:
    """The capper of a router's process.

    Attributes:
        allowances: What the KEDA external scaler answers from.
        loop: The loop; None before start where a cluster's lease decides who runs it.
        scaler_port: Actual port of the external scaler, once started.
    """

    def __init__(
        self,
        section: CapperSection,
        *,
        prices: PriceHolder,
        snapshots: SnapshotHolder,
        picker: Picker,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        """Put the parts together; nothing is opened before start().

        Raises:
            BadInputError: When a configuration file cannot be used.
        """
        self._section = section
        self._prices = prices
        self._snapshots = snapshots
        self._picker = picker
        self._clock = clock
        self._registry = registry
        self.allowances = AllowanceHolder()
        self.loop: CappingLoop | None = None
        self.scaler_port: int | None = None
        self._scaler: grpc.aio.Server | None = None
        self._fleet = ServedFleet(
            snapshots,
            clock.monotonic_seconds,
            scheme=None if section.sleep == "none" else section.sleep,
        )
        self._capper = self._cluster() if section.kubernetes is not None else self._local()

    def seen_by_router(self, snapshot: FleetSnapshot) -> FleetSnapshot:
        """The snapshot without the replicas that sleep."""
        return self._fleet.seen_by_router(snapshot)

    async def start(self) -> None:
        """Begin.

        Raises:
            FleetSourceError: When there is no usable configuration of a cluster.
            CappingStartError: When the external scaler's address is not to be had.
        """
        scaler = self._section.external_scaler
        if scaler is not None:
            self._scaler = grpc.aio.server()
            handler = ExternalScaler(self.allowances, self._clock).handler()
            self._scaler.add_generic_rpc_handlers((handler,))
            try:
                address = f"{scaler.host}:{scaler.port}"
                self.scaler_port = self._scaler.add_insecure_port(address)
            except RuntimeError as error:
                raise CappingStartError(f"capper.external_scaler: {error}.") from error
            await self._scaler.start()
        await self._capper.start()

    async def stop(self) -> None:
        """Stop. In a cluster what is in force stays; replicas that sleep here are woken."""
        await self._capper.stop()
        await self._fleet.stop()
        if self._scaler is not None:
            await self._scaler.stop(_STOP_SECONDS)

    def to_dict(self) -> dict[str, Any]:
        """What the loop decided last, by configuration."""
        reports = {} if self.loop is None else self.loop.reports
        return {
            name: {
                "explanation": report.plan.explanation,
                "domains": [
                    {
                        "name": one.name,
                        "watts": one.watts,
                        "cap_watts": one.cap_watts,
                        "band": one.band.name.capitalize(),
                        "price_ratio": report.state.domains[one.name].price_ratio
                        if one.name in report.state.domains
                        else 1.0,
                        "shed": one.shed.name.lower(),
                    }
                    for one in report.plan.domains
                ],
                "targets": [
                    {
                        "ref": one.ref,
                        "current_replicas": one.current_replicas,
                        "bound": one.bound,
                        "why": one.why.sentence,
                    }
                    for one in report.plan.targets
                ],
            }
            for name, report in reports.items()
        }

    def _loop(self, workloads: Any, journal: Journal) -> CappingLoop:
        section = self._section
        self.loop = CappingLoop(
            workloads=workloads,
            observer=SnapshotObserver(self._snapshots, self._clock),
            clock=self._clock,
            prices=self._prices,
            journal=journal,
            settings=LoopSettings(
                period_seconds=section.period_seconds,
                observe_timeout_seconds=section.observe_timeout_seconds,
                status_seconds=section.status_seconds,
            ),
            allowances=self.allowances,
            forecasts=lambda: forecasts(self._picker),
            fleet=self._known_fleet,
        )
        return self.loop

    def _known_fleet(self) -> Fleet:
        return self._snapshots.current.fleet

    def _local(self) -> _Capper:
        loop = self._loop(LocalWorkloads(self._fleet), LocalJournal())
        return LocalCapper(loop, self._section.configs, self._section.period_seconds)

    def _cluster(self) -> _Capper:
        # Its clients take a second to import, which only those who use them should wait for.
        from capper.actuators.kubernetes import KubernetesWorkloads  # noqa: PLC0415 - see above
        from capper.operator.cluster import (  # noqa: PLC0415 - see above
            ClusterCapper,
            ClusterSettings,
        )
        from capper.operator.leader import LeaseSettings  # noqa: PLC0415 - see above

        section = self._section.kubernetes
        assert section is not None, "asked by the caller"
        name = os.environ.get("POD_NAME") or socket.gethostname()
        settings = ClusterSettings(
            kubeconfig=None if section.kubeconfig is None else str(section.kubeconfig),
            namespaces=section.namespaces,
            period_seconds=self._section.period_seconds,
            board_seconds=6.0 * self._section.period_seconds,
            lease=LeaseSettings(
                namespace=section.lease_namespace,
                name=section.lease_name,
                identity=f"{name}_{uuid.uuid4().hex[:8]}",
                duration_seconds=section.lease_seconds,
                deadline_seconds=section.lease_seconds * 2.0 / 3.0,
                retry_seconds=section.lease_seconds / 7.5,
            ),
        )
        return ClusterCapper(
            settings,
            self._clock,
            lambda api, journal: self._loop(KubernetesWorkloads(api), journal),
            prices=self._prices,
            fleet=self._known_fleet,
        )


class LocalCapper:
    """Follows configuration files; a file that is changed counts from the next turn on."""

    def __init__(self, loop: CappingLoop, paths: tuple[Path, ...], period_seconds: float) -> None:
        """Read the files once.

        Raises:
            BadInputError: When one cannot be used.
        """
        self._loop = loop
        self._paths = paths
        self._period_seconds = period_seconds
        self._documents = _read(paths)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take the configurations up and begin to turn."""
        for document in self._documents.values():
            await self._loop.put(document)
        self._tasks = [
            asyncio.create_task(self._loop.run(), name="capping loop"),
            asyncio.create_task(self._watch(), name="capping files"),
        ]

    async def stop(self) -> None:
        """Stop turning."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(self._period_seconds)
            try:
                documents = _read(self._paths)
            except BadInputError as error:
                if str(error) != said:
                    _log.warning("%s The last good configurations stay in force.", error)
                said = str(error)
                continue
            said = ""
            await self._take(documents)

    async def _take(self, documents: Mapping[str, Any]) -> None:
        for name in self._documents.keys() - documents.keys():
            try:
                await self._loop.remove(self._documents[name])
            except RestoreError as error:
                _log.warning("%s: %s", name, error)
                documents = {**documents, name: self._documents[name]}
        for name, document in documents.items():
            if document != self._documents.get(name):
                await self._loop.put(document)
        self._documents = dict(documents)


def _read(paths: tuple[Path, ...]) -> dict[str, Any]:
    """All configurations of the files, by "namespace/name"."""
    found: dict[str, Any] = {}
    for path in paths:
        for document in load_documents(path):
            try:
                metadata = parse(document).metadata
            except InvalidConfigError as error:
                sentences = [f"{path}: {problem}" for problem in error.problems]
                raise BadInputError(*sentences) from error
            name = f"{metadata.namespace}/{metadata.name}"
            if name in found:
                raise BadInputError(f"{path}: {name} is given twice.")
            found[name] = document
    return found


def forecasts(picker: Picker) -> dict[str, RouterForecast]:
    """By backend: requests in flight, and what the committed sets need of it and leave out."""
    commitments = picker.commitments().values()
    committed = frozenset(one for each in commitments for one in each.addresses)
    units: dict[str, list[tuple[str, int]]] = {}
    for unit in picker.units():
        units.setdefault(unit.backend.name, []).append((unit.address, unit.account.running))
    return {
        backend: RouterForecast(
            in_flight_requests=sum(running for _, running in there),
            demand_replicas=sum(address in committed for address, _ in there)
            if commitments
            else None,
            unneeded_replicas=sum(
                address not in committed and not running for address, running in there
            )
            if commitments
            else None,
        )
        for backend, there in units.items()
    }
