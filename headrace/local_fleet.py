"""Replicas of a served fleet put to sleep and woken, without Kubernetes.

A replica that is to sleep is first hidden from the router, so that it gets no more requests, and
is still measured. Where vLLM's sleep mode is on, it is told to sleep once it has nothing to do.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import aiohttp

from capper.actuators.local import LocalReplicas
from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Backend, Fleet, Replica

_log = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_TIMEOUT = aiohttp.ClientTimeout(total=60.0, sock_connect=2.0)


@dataclass(slots=True)
class _Sleeper:
    """A replica that does not serve.

    Attributes:
        hidden_seconds: Since when it gets no requests.
        wanted: Whether it is to serve again.
        asleep: Whether it was told to sleep.
        task: Tells it.
    """

    hidden_seconds: float
    wanted: bool = False
    asleep: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class ServedFleet:
    """Implements capper.actuators.local.LocalFleet on the fleet of a router in this process."""

    def __init__(
        self, snapshots: SnapshotHolder, now_seconds: Callable[[], float], *, scheme: str | None
    ) -> None:
        """Act on the fleet of `snapshots`.

        Args:
            snapshots: The whole fleet, sleeping replicas included.
            now_seconds: Monotonic time.
            scheme: "http" or "https" of vLLM's `/sleep` and `/wake_up`; None: replicas are only
                hidden, and idle.
        """
        self._snapshots = snapshots
        self._now_seconds = now_seconds
        self._scheme = scheme
        self._sleepers: dict[str, _Sleeper] = {}
        self._visible: tuple[Fleet, frozenset[str], Fleet] | None = None

    # What the router sees

    def seen_by_router(self, snapshot: FleetSnapshot) -> FleetSnapshot:
        """The snapshot without the replicas that get no requests."""
        hidden = frozenset(self._sleepers)
        if not hidden:
            return snapshot
        if self._visible is None or self._visible[:2] != (snapshot.fleet, hidden):
            backends = tuple(_without(backend, hidden) for backend in snapshot.fleet.backends)
            self._visible = (snapshot.fleet, hidden, Fleet(backends))
        # The same object while nothing changes: the picker rebuilds its pools for a new one.
        return replace(snapshot, fleet=self._visible[2])

    # What the capper asks

    def replicas(self, backend: str) -> LocalReplicas | None:
        """See LocalFleet."""
        there = self._of(backend)
        if there is None:
            return None
        away = [self._sleepers[one.address] for one in there if one.address in self._sleepers]
        waking = sum(one.wanted for one in away)
        return LocalReplicas(awake=len(there) - len(away) + waking, total=len(there), waking=waking)

    async def set_awake(self, backend: str, count: int) -> None:
        """See LocalFleet. Returns at once; replicas follow as they can.

        The last replica of the fleet that serves a model sleeps only where `count` is zero: a
        backend of several models may so keep more than `count`.
        """
        there = self._of(backend) or ()
        serving = [one for one in there if self._serves(one)]
        away = [one for one in there if not self._serves(one)]
        excess = len(serving) - count
        for one in sorted(serving, key=lambda one: self._load(one.address)):
            if excess <= 0:
                break
            if count == 0 or not self._is_last_of_a_model(one):
                self._hide(one.address)
                excess -= 1
        away.sort(key=lambda one: not self._is_last_of_a_model(one))
        for one in away[: max(0, -excess)]:
            self._want(one.address)

    async def stop(self) -> None:
        """Stop telling replicas anything; those that were told to sleep are woken once more."""
        for sleeper in self._sleepers.values():
            if sleeper.task is not None:
                sleeper.task.cancel()
        tasks = [one.task for one in self._sleepers.values() if one.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        asleep = [address for address, one in self._sleepers.items() if one.asleep]
        await asyncio.gather(*(self._tell(address, "wake_up") for address in asleep))

    def _of(self, backend: str) -> tuple[Replica, ...] | None:
        for one in self._snapshots.current.fleet.backends:
            if one.name == backend:
                return one.replicas
        return None

    def _serves(self, replica: Replica) -> bool:
        sleeper = self._sleepers.get(replica.address)
        return sleeper is None or sleeper.wanted

    def _is_last_of_a_model(self, replica: Replica) -> bool:
        """Whether without it nobody in the fleet serves one of its models."""
        others = {
            model
            for other in self._snapshots.current.fleet.replicas()
            if other.address != replica.address and self._serves(other)
            for model in other.models
        }
        return not others.issuperset(replica.models)

    def _load(self, address: str) -> float:
        """Requests on it; the emptiest sleeps first. Unknown is as much as any."""
        running = self._snapshots.current.signal(address, SignalKind.RUNNING_REQUESTS)
        return float("inf") if running is None else running.value

    def _hide(self, address: str) -> None:
        sleeper = self._sleepers.get(address)
        if sleeper is None:
            sleeper = self._sleepers[address] = _Sleeper(self._now_seconds())
        sleeper.wanted = False
        self._follow(address, sleeper)

    def _want(self, address: str) -> None:
        sleeper = self._sleepers[address]
        sleeper.wanted = True
        if sleeper.asleep or (sleeper.task is not None and not sleeper.task.done()):
            self._follow(address, sleeper)
        else:
            del self._sleepers[address]

    def _follow(self, address: str, sleeper: _Sleeper) -> None:
        if self._scheme is not None and (sleeper.task is None or sleeper.task.done()):
            sleeper.task = asyncio.create_task(self._settle(address, sleeper))

    async def _settle(self, address: str, sleeper: _Sleeper) -> None:
        """Bring one replica to where it is to be; ends when it is there."""
        while True:
            if sleeper.wanted:
                if not sleeper.asleep or await self._tell(address, "wake_up"):
                    self._sleepers.pop(address, None)
                    return
            elif sleeper.asleep:
                return
            elif self._is_idle(address, sleeper.hidden_seconds):
                sleeper.asleep = await self._tell(address, "sleep")
                if sleeper.asleep:
                    continue
            await asyncio.sleep(_POLL_SECONDS)

    def _is_idle(self, address: str, since_seconds: float) -> bool:
        """Whether a reading from after it was hidden shows no request."""
        for kind in (SignalKind.RUNNING_REQUESTS, SignalKind.WAITING_REQUESTS):
            signal = self._snapshots.current.signal(address, kind)
            if signal is None or signal.observed_seconds <= since_seconds or signal.value > 0:
                return False
        return True

    async def _tell(self, address: str, what: str) -> bool:
        url = f"{self._scheme}://{address}/{what}"
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.post(url) as answer,
            ):
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("%s: %r", url, error)
            return False
        return True


def _without(backend: Backend, hidden: frozenset[str]) -> Backend:
    return replace(
        backend, replicas=tuple(one for one in backend.replicas if one.address not in hidden)
    )
