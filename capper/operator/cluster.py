"""The capper of a Kubernetes cluster: one leader acts, the others only repeat its prices."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from kubernetes.aio.client import ApiClient

from capper.api.files import InvalidConfigError, parse
from capper.api.translate import policy_of
from capper.decide.policy import Policy
from capper.decide.state import State
from capper.kube.api import KubeApi, KubeError
from capper.kube.kinds import POWER_CAPPING_CONFIG, KubeObject
from capper.loop import CappingLoop
from capper.operator.entry import state_of
from capper.operator.handlers import FINALIZER, KopfThread
from capper.operator.kube_journal import KubernetesJournal
from capper.operator.leader import LeaderElection, LeaseSettings
from capper.operator.leaving import RestoreError
from capper.operator.prices import fleet_board
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
        period_seconds: In which followers repeat the leader's prices.
        board_seconds: How long these hold.
    """

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    lease: LeaseSettings
    period_seconds: float = 5.0
    board_seconds: float = 30.0


LoopFactory = Callable[[KubeApi, KubernetesJournal], CappingLoop]


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
        fleet: Callable[[], Fleet] | None = None,
    ) -> None:
        """Prepare.

        Args:
            settings: Which cluster.
            clock: For the lease.
            make_loop: Makes the loop on a cluster; it writes to the same `prices`.
            prices: What the router of this process reads.
            fleet: Its topology.
        """
        self._settings = settings
        self._clock = clock
        self._make_loop = make_loop
        self._prices = prices
        self._fleet = fleet
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
        async with asyncio.TaskGroup() as group:
            group.create_task(self.loop.run())
            group.create_task(watch.run())
            group.create_task(self._journal.post_events())

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
        """While another leads: its prices, from the statuses that it writes."""
        while True:
            await asyncio.sleep(self._settings.period_seconds)
            if self.election.leading or not self.election.holder_is_alive:
                continue
            try:
                parts = [part for one in await self._configs() if (part := _followed(one))]
            except KubeError as error:
                _log.warning("configurations cannot be listed: %s", error)
                continue
            if not self.election.leading:
                expires = self._clock.monotonic_seconds() + self._settings.board_seconds
                fleet = None if self._fleet is None else self._fleet()
                self._prices.current = fleet_board(parts, fleet, expires_seconds=expires)


def _followed(document: KubeObject) -> tuple[Policy, State] | None:
    try:
        config = parse(document)
    except InvalidConfigError:
        return None
    return policy_of(config), state_of(config.status)
