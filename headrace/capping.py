"""Router and capper in one process: one snapshot, one price board, one event loop."""

import logging
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import grpc
from prometheus_client import CollectorRegistry

from capper.actuators.local import LocalWorkloads
from capper.decide.observation import RouterForecast
from capper.external_scaler.allowances import AllowanceHolder
from capper.external_scaler.server import ExternalScaler
from capper.loop import CappingLoop, LoopSettings
from capper.metrics import CapperMetrics
from capper.operator.journal import Journal, LocalJournal
from capper.operator.snapshot_observer import SnapshotObserver
from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.capper_file import CapperSection, ExternalScalerSection
from headrace.capping_files import LocalCapper
from headrace.capping_inputs import ChosenObserver, forecasts, with_waiting
from headrace.local_fleet import ServedFleet
from router.admission.demand import WaitingDemand
from router.decide.picker import Picker
from router.extproc.tls import CertificateError, Certificates

_log = logging.getLogger(__name__)
_STOP_SECONDS = 2.0


class CappingStartError(Exception):
    """The capper cannot be started; the sentence says why."""


class _Capper(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def leads(self) -> bool: ...


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
        waiting: Callable[[], Mapping[str, WaitingDemand]],
    ) -> None:
        """Put the parts together; nothing is opened before start().

        Args:
            section: Of the serve file.
            prices: What the router reads.
            snapshots: The fleet, replicas that sleep included.
            picker: Its ledger and commitments are what the router knows.
            clock: Of the process.
            registry: For metrics.
            waiting: Requests that wait in the router, by model.

        Raises:
            BadInputError: When a configuration file cannot be used.
        """
        self._section = section
        self._prices = prices
        self._snapshots = snapshots
        self._picker = picker
        self._waiting = waiting
        self._clock = clock
        self._metrics = CapperMetrics(registry, clock)
        self.allowances = AllowanceHolder()
        self.loop: CappingLoop | None = None
        self.scaler_port: int | None = None
        self._scaler: grpc.aio.Server | None = None
        self._fleet = ServedFleet(
            snapshots,
            clock.monotonic_seconds,
            scheme=None if section.sleep == "none" else section.sleep,
        )
        url = section.prometheus_url
        self._observer = ChosenObserver(
            SnapshotObserver(snapshots, clock), None if url is None else str(url), clock
        )
        self._capper = self._cluster() if section.kubernetes is not None else self._local()

    def seen_by_router(self, snapshot: FleetSnapshot) -> FleetSnapshot:
        """The snapshot without the replicas that sleep."""
        return self._fleet.seen_by_router(snapshot)

    async def start(self) -> None:
        """Begin.

        Raises:
            FleetSourceError: When there is no usable configuration of a cluster.
            CappingStartError: When the external scaler's address or certificate is of no use.
        """
        if self._section.external_scaler is not None:
            await self._answer_keda(self._section.external_scaler)
        await self._capper.start()
        self._metrics.watch_leader(self._capper.leads)

    async def stop(self) -> None:
        """Stop. In a cluster what is in force stays; replicas that sleep here are woken."""
        await self._capper.stop()
        if self.loop is not None:
            await self.loop.aclose()
        await self._observer.aclose()
        await self._fleet.stop()
        if self._scaler is not None:
            await self._scaler.stop(_STOP_SECONDS)

    async def _answer_keda(self, section: ExternalScalerSection) -> None:
        server, tls = grpc.aio.server(), section.tls()
        server.add_generic_rpc_handlers((ExternalScaler(self.allowances, self._clock).handler(),))
        address = f"{section.host}:{section.port}"
        try:
            if tls is None:
                self.scaler_port = server.add_insecure_port(address)
            else:
                credentials = Certificates(tls, self._clock).credentials()
                self.scaler_port = server.add_secure_port(address, credentials)
        except CertificateError as error:
            raise CappingStartError(f"capper.external_scaler: {error}") from error
        except RuntimeError as error:
            raise CappingStartError(f"capper.external_scaler: {error}.") from error
        self._scaler = server
        await server.start()

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
            observer=self._observer,
            clock=self._clock,
            prices=self._prices,
            journal=journal,
            settings=LoopSettings(
                period_seconds=section.period_seconds,
                observe_timeout_seconds=section.observe_timeout_seconds,
                status_seconds=section.status_seconds,
            ),
            allowances=self.allowances,
            forecasts=self._forecasts,
            fleet=self._known_fleet,
            listeners=(self._metrics.record,),
        )
        return self.loop

    def _forecasts(self) -> Mapping[str, RouterForecast]:
        fleet = self._known_fleet()
        return with_waiting(forecasts(self._picker), fleet, self._waiting(), self._awake)

    def _awake(self, backend: str) -> int:
        there = self._fleet.replicas(backend)
        return 0 if there is None else there.awake

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
