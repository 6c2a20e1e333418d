"""One leader: a coordination.k8s.io Lease, held by renewing it.

Times are compared as client-go compares them: not the holder's clock with ours, but how long the
record has stayed the same by our own monotonic clock. The official client's own election keeps its
record in an annotation of a ConfigMap or needs its typed models; kopf's peering needs two CRDs.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from capper.kube.api import KubeApi, KubeError, NotFoundError
from capper.kube.kinds import LEASE, KubeObject, at
from capper.operator.timestamps import rfc3339_micro
from fleet.clock import Clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """The lease.

    Attributes:
        namespace: Where it lies.
        name: Its name.
        identity: Ours, unique among the replicas.
        duration_seconds: Nobody else leads within this time of the last renewal.
        deadline_seconds: A leader that cannot renew for this long stops leading; less than the
            duration, so that two never lead at once.
        retry_seconds: From one attempt to the next.
    """

    namespace: str
    name: str = "headrace-capper"
    identity: str
    duration_seconds: float = 15.0
    deadline_seconds: float = 10.0
    retry_seconds: float = 2.0


class LeaderElection:
    """Runs for the lease, and does the leader's work while it holds it.

    Attributes:
        leading: Whether it holds the lease.
        holder_is_alive: Whether somebody, we or another, renewed it within its duration.
    """

    def __init__(self, api: KubeApi, clock: Clock, settings: LeaseSettings) -> None:
        """Prepare; nothing happens before `run`."""
        self._api = api
        self._clock = clock
        self._settings = settings
        self._seen: tuple[str, str] | None = None
        self._seen_seconds = float("-inf")
        self.leading = False

    @property
    def holder_is_alive(self) -> bool:
        """Whether the record has changed within its duration."""
        age_seconds = self._clock.monotonic_seconds() - self._seen_seconds
        return self._seen is not None and age_seconds < self._settings.duration_seconds

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaign, lead, campaign again, for ever; on cancellation the lease is given back."""
        settings = self._settings
        try:
            while True:
                if await self._try():
                    await self._lead(lead)
                await asyncio.sleep(settings.retry_seconds)
        finally:
            if self.leading:
                self.leading = False
                with contextlib.suppress(KubeError):
                    await self._write(await self._get(), holder="")

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Do the leader's work until the lease is lost, or the work ends by itself."""
        self.leading = True
        _log.info("leading, by lease %s/%s", self._settings.namespace, self._settings.name)
        work = asyncio.ensure_future(lead())
        try:
            await self._renew_while(work)
        except asyncio.CancelledError:
            await _ended(work)
            raise
        await _ended(work)
        self.leading = False
        _log.warning("leading no more")

    async def _renew_while(self, work: asyncio.Future[None]) -> None:
        settings = self._settings
        renewed_seconds = self._clock.monotonic_seconds()
        while not work.done():
            await asyncio.wait([work], timeout=settings.retry_seconds)
            asked_seconds = self._clock.monotonic_seconds()
            left_seconds = renewed_seconds + settings.deadline_seconds - asked_seconds
            if left_seconds <= 0.0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_seconds):
                    if await self._try():
                        renewed_seconds = asked_seconds
                    elif self._seen is not None and self._seen[0] != settings.identity:
                        return

    async def _try(self) -> bool:
        """Take or renew the lease; False when another holds it or nobody answers."""
        settings = self._settings
        try:
            lease = await self._get()
            if lease is None:
                return await self._create()
            holder = at(lease, ("spec", "holderIdentity")) or ""
            record = (holder, at(lease, ("spec", "renewTime")) or "")
            if record != self._seen:
                self._seen = record
                self._seen_seconds = self._clock.monotonic_seconds()
            if holder in {"", settings.identity} or not self.holder_is_alive:
                await self._write(lease, holder=settings.identity)
                return True
        except KubeError as error:
            if error.code != HTTPStatus.CONFLICT:
                _log.warning("lease %s/%s: %s", settings.namespace, settings.name, error)
        return False

    async def _get(self) -> KubeObject | None:
        try:
            return await self._api.get(LEASE, self._settings.namespace, self._settings.name)
        except NotFoundError:
            return None

    async def _create(self) -> bool:
        settings = self._settings
        body = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"namespace": settings.namespace, "name": settings.name},
            "spec": self._spec(settings.identity, transitions=0),
        }
        self._saw(await self._api.create(LEASE, settings.namespace, body))
        return True

    async def _write(self, lease: KubeObject | None, *, holder: str) -> None:
        """Write only over the version that was read: of two that try, one gets a conflict."""
        if lease is None:
            return
        settings = self._settings
        before = at(lease, ("spec", "holderIdentity"))
        spec = self._spec(holder, transitions=at(lease, ("spec", "leaseTransitions")) or 0)
        if before == holder:
            spec.pop("acquireTime")
        else:
            spec["leaseTransitions"] += 1
        version = lease["metadata"]["resourceVersion"]
        fields = {"metadata": {"resourceVersion": version}, "spec": spec}
        self._saw(await self._api.merge(LEASE, settings.namespace, settings.name, fields))

    def _saw(self, lease: KubeObject) -> None:
        self._seen = (lease["spec"].get("holderIdentity", ""), lease["spec"]["renewTime"])
        self._seen_seconds = self._clock.monotonic_seconds()

    def _spec(self, holder: str, *, transitions: int) -> KubeObject:
        now = rfc3339_micro(self._clock.epoch_seconds())
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, round(self._settings.duration_seconds)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }


async def _ended(work: asyncio.Future[None]) -> None:
    """End the work; what made it fail is logged, since nobody else asks."""
    work.cancel()
    (result,) = await asyncio.gather(work, return_exceptions=True)
    if isinstance(result, Exception):
        _log.error("the leader's work failed", exc_info=result)
