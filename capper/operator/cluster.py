"""The capper of a Kubernetes cluster: one leader acts, the others only repeat its prices."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from kubernetes.aio.client import ApiClient

from capper.api.config import PowerCappingConfig
from capper.api.files import InvalidConfigError, parse
from capper.api.translate import policy_of
from capper.clocks.clock_board import ClockedFleet, followed
from capper.external_scaler.allowances import AllowanceHolder
from capper.kube.api import KubeApi, KubeError
from capper.kube.kinds import POWER_CAPPING_CONFIG, KubeObject
from capper.loop import CappingLoop
from capper.operator.entry import state_of
from capper.operator.following import FollowedAllowances
from capper.operator.handlers import FINALIZER, KopfThread
from capper.operator.kube_journal import KubernetesJournal
from capper.operator.leader import LeaderElection, LeaseSettings
from capper.operator.leaving import RestoreError
from capper.operator.prices import fleet_board
from capper.racks.keeper import RackKeeper
from fleet.clock import Clock
from fleet.price import PriceHolder
from fleet.topology import Fleet
from telemetry.kubernetes.client import load_configuration

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Which cluster, and how.

    Attributes:
        kubeconfig: File; None: the pod's own account, or the user's file.
        namespaces: Whose configurations are followed; none: all.
        lease: Of the leader.
        period_seconds: In which followers repeat the leader's prices and allowances.
        board_seconds: How long these hold.
        status_age_seconds: A status that has not changed for longer says nothing of allowances;
            more than twice the time in which the leader writes one in any case.
    """

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    lease: LeaseSettings
    period_seconds: float = 5.0
    board_seconds: float = 30.0
    status_age_seconds: float = 150.0


LoopFactory = Callable[[KubeApi, KubernetesJournal], CappingLoop]
RacksFactory = Callable[[ApiClient, CappingLoop], RackKeeper]


class ClusterCapper:
    """Runs a loop while it leads.

    Attributes:
        election: Once started.
        loop: Once started.
    """

    election: LeaderElection
    loop: CappingLoop

    def __init__(
        self,
        settings: ClusterSettings,
        clock: Clock,
        make_loop: LoopFactory,
        *,
        prices: PriceHolder,
        allowances: AllowanceHolder | None = None,
        fleet: Callable[[], Fleet] | None = None,
        make_racks: RacksFactory | None = None,
        clocked: ClockedFleet | None = None,
    ) -> None:
        """Prepare.

        Args:
            settings: Which cluster.
            clock: For the lease.
            make_loop: Makes the loop on a cluster; it writes to the same `prices`.
            prices: What the router of this process reads.
            allowances: What the external scaler of this process reads; also the loop's.
            fleet: Its topology.
            make_racks: Makes who places new pods on racks; None: nobody does.
            clocked: The clocks that the router of this process reads; also the loop's.
        """
        self._settings = settings
        self._clock = clock
        self._make_loop = make_loop
        self._prices = prices
        self._allowances = allowances
        self._followed = FollowedAllowances(clock, stale_seconds=settings.status_age_seconds)
        self._fleet = fleet
        self._make_racks = make_racks
        self._clocked = clocked
        self._racks: RackKeeper | None = None
        self._client: ApiClient | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to campaign; returns at once, whether the API server answers or not.

        Raises:
            FleetSourceError: When there is no usable configuration of a cluster.
        """
        self._client = ApiClient(await load_configuration(self._settings.kubeconfig))
        self._api = KubeApi(self._client)
        self._journal = KubernetesJournal(self._api)
        self.election = LeaderElection(self._api, self._clock, self._settings.lease)
        self.loop = self._make_loop(self._api, self._journal)
        if self._make_racks is not None:
            self._racks = self._make_racks(self._client, self.loop)
            self.loop.companion = self._racks
        self._tasks = [
            asyncio.create_task(self.election.run(self._lead), name="capper leader election"),
            asyncio.create_task(self._follow(), name="capper follower"),
        ]

    async def stop(self) -> None:
        """Stop. What is in force stays in force."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]  # the client has no types

    def leads(self) -> bool:
        """Whether this process holds the lease."""
        return self.election.leading

    async def _lead(self) -> None:
        """The leader's work, until cancelled."""
        self.loop.clear()
        await self._take_up()
        watch = KopfThread(
            self.loop,
            kubeconfig=self._settings.kubeconfig,
            namespaces=self._settings.namespaces,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.loop.run())
                group.create_task(watch.run())
                group.create_task(self._journal.post_events())
                if self._racks is not None:
                    group.create_task(self._racks.run())
        finally:
            self.loop.grid.cooling.hold()

    async def _take_up(self) -> None:
        """All configurations before the first turn: else it would say that there are none.

        Only those whose finalizer is there already: what is done for the others could not be put
        back if they were deleted now. kopf adds it and then hands them over.
        """
        while True:
            try:
                documents = await self._configs()
            except KubeError as error:
                _log.warning("configurations cannot be listed: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for document in documents:
                metadata = document["metadata"]
                guarded = FINALIZER in (metadata.get("finalizers") or ())
                if guarded and "deletionTimestamp" not in metadata:
                    try:
                        await self.loop.put(document)
                    except (InvalidConfigError, RestoreError) as error:
                        _log.warning("%s: %s", document["metadata"]["name"], error)
            return

    async def _configs(self) -> list[KubeObject]:
        scopes = self._settings.namespaces or (None,)
        return [
            document
            for scope in scopes
            for document in await self._api.find(POWER_CAPPING_CONFIG, scope)
        ]

    async def _follow(self) -> None:
        """While another leads: its prices and allowances, from the statuses that it writes."""
        while True:
            await asyncio.sleep(self._settings.period_seconds)
            if self.election.leading or not self.election.holder_is_alive:
                continue
            try:
                configs = [one for document in await self._configs() if (one := _valid(document))]
            except KubeError as error:
                _log.warning("configurations cannot be listed: %s", error)
                continue
            if not self.election.leading:
                self._repeat(configs)

    def _repeat(self, configs: list[PowerCappingConfig]) -> None:
        expires = self._clock.monotonic_seconds() + self._settings.board_seconds
        fleet = None if self._fleet is None else self._fleet()
        parts = [(policy_of(one), state_of(one.status)) for one in configs]
        self._prices.current = fleet_board(parts, fleet, expires_seconds=expires)
        if self._clocked is not None:
            known = [(policy_of(one), one.status) for one in configs]
            self._clocked.current = followed(known, expires_seconds=expires)
        if self._allowances is not None:
            self._allowances.publish(self._followed.board(configs, expires_seconds=expires))


def _valid(document: KubeObject) -> PowerCappingConfig | None:
    try:
        return parse(document)
    except InvalidConfigError:
        return None
