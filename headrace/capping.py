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
from capper.advisors import Advisors
from capper.clocks.clock_board import ClockedFleet
from capper.decide.observation import RouterForecast
from capper.external_scaler.allowances import AllowanceHolder
from capper.external_scaler.server import ExternalScaler
from capper.loop import CappingLoop, LoopSettings
from capper.metrics import CapperMetrics
from capper.operator.journal import Journal, LocalJournal
from capper.operator.snapshot_observer import SnapshotObserver
from capper.secret_keys import Secrets
from capper.smoothing.watch import HistoryAccess, SmoothingWatch
from capper.vertical.watch import VerticalWatch
from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.capper_file import CapperSection, ExternalScalerSection
from headrace.capping_errors import CappingStartError
from headrace.capping_files import LocalCapper
from headrace.capping_inputs import ChosenObserver, forecasts, with_waiting
from headrace.cooling_supply import AskedSupply
from headrace.local_fleet import ServedFleet
from headrace.rack_placement import racks_factory
from router.admission.demand import WaitingDemand
from router.decide.picker import Picker
from router.extproc.tls import CertificateError, Certificates

_log = logging.getLogger(__name__)
_STOP_SECONDS = 2.0


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
        self._registry = registry
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
        self._clocked = ClockedFleet()
        self._gpu_locks = (
            None
            if section.gpu_clocks is None
            else section.gpu_clocks.locks(self._known_fleet, self._clocked, clock)
        )
        url = section.prometheus_url
        self._prometheus = section.prometheus.settings(
            None if url is None else str(url), patience_seconds=section.observe_timeout_seconds
        )
        self._observer = ChosenObserver(
            SnapshotObserver(snapshots, clock, self._fleet.seen_by_router), self._prometheus, clock
        )
        self._capper = self._cluster() if section.kubernetes is not None else self._local()

    def seen_by_router(self, snapshot: FleetSnapshot) -> FleetSnapshot:
        """The snapshot without the replicas that sleep, and with the clocks that are locked."""
        awake = self._fleet.seen_by_router(snapshot)
        return self._clocked.seen_by_router(awake, now_seconds=self._clock.monotonic_seconds())

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
        if self.loop is not None and self._capper.leads():
            await self.loop.let_go()
        await self._capper.stop()
        if self.loop is not None:
            await self.loop.aclose()
        if self._gpu_locks is not None:
            # In a cluster another leader renews the leases, or they run out.
            await self._gpu_locks.aclose(release=self._section.kubernetes is None)
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
        """What the loop decided, did and said last, by configuration."""
        loop = self.loop
        if loop is None:
            return {}
        return {
            name: {
                **loop.told(name),
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
            for name, report in loop.reports.items()
        }

    def _loop(
        self,
        workloads: Any,
        journal: Journal,
        secrets: Secrets | None = None,
        vertical: VerticalWatch | None = None,
    ) -> CappingLoop:
        section, asked = self._section, self._prometheus
        history = HistoryAccess(url=asked.url, headers=asked.headers, ca_file=asked.ca_file)
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
            secrets=secrets,
            clocks=self._gpu_locks,
            forecasts=self._forecasts,
            fleet=self._known_fleet,
            listeners=(self._metrics.record,),
        )
        self.loop.grid.supply = AskedSupply(asked, self._clock)
        self.loop.adviser = Advisors(
            journal,
            self._clock,
            smoothing=SmoothingWatch(history, self._clock),
            vertical=vertical,
        )
        return self.loop

    def _forecasts(self) -> Mapping[str, RouterForecast]:
        fleet = self._known_fleet()
        known = forecasts(self._picker, now_seconds=self._clock.monotonic_seconds())
        return with_waiting(known, fleet, self._waiting(), self._awake)

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
        from capper.kube.secrets import ClusterSecrets  # noqa: PLC0415 - see above
        from capper.operator.cluster import (  # noqa: PLC0415 - see above
            ClusterCapper,
            ClusterSettings,
        )
        from capper.operator.leader import LeaseSettings  # noqa: PLC0415 - see above
        from capper.vertical.reading import VerticalReader  # noqa: PLC0415 - see above

        section = self._section.kubernetes
        assert section is not None, "asked by the caller"
        name = os.environ.get("POD_NAME") or socket.gethostname()
        settings = ClusterSettings(
            kubeconfig=None if section.kubeconfig is None else str(section.kubeconfig),
            namespaces=section.followed_in(os.environ),
            period_seconds=self._section.period_seconds,
            board_seconds=6.0 * self._section.period_seconds,
            status_age_seconds=2.0 * self._section.status_seconds
            + 6.0 * self._section.period_seconds,
            lease=LeaseSettings(
                namespace=section.lease_in(os.environ),
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
            lambda api, journal: self._loop(
                KubernetesWorkloads(api),
                journal,
                ClusterSecrets(api, self._clock),
                VerticalWatch(VerticalReader(api), self._clock),
            ),
            prices=self._prices,
            allowances=self.allowances,
            fleet=self._known_fleet,
            make_racks=racks_factory(self._prometheus, self._clock, self._registry),
            clocked=self._clocked,
        )
