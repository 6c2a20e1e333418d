"""What the capper wants of the boards of its targets, as claims of their pods. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from capper.clocks.lease import OnExpiry
from capper.clocks.messages import Claim, HoldRequest
from capper.decide.clock_model import ClockCurve
from fleet.topology import Backend, Fleet, Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Of all leases of one configuration.

    Attributes:
        lease_seconds: Not renewed for so long, a board is given back.
        on_expiry: Or held at its safe limit.
        net_watts: Power limit of each board beneath its clock, and the safe one; None: none.
    """

    lease_seconds: float = 60.0
    on_expiry: OnExpiry = OnExpiry.RESTORE
    net_watts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLock:
    """What one target is to be held to.

    Attributes:
        ref: Target.
        backend: Name of its backend; None: the router does not know it.
        curve: How it follows its clock, for the router's profile.
        hertz: Highest clock; None: not locked.
        limit_watts: Power limit of one replica, all its boards together; None: none.
    """

    ref: str
    backend: str | None
    curve: ClockCurve | None = None
    hertz: float | None = None
    limit_watts: float | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return self.hertz is None and self.limit_watts is None


def request_of(holder: str, locks: Iterable[TargetLock], fleet: Fleet, terms: Terms) -> HoldRequest:
    """All that a configuration wants, for every agent: each takes what is on its node."""
    return HoldRequest(
        holder=holder,
        claims=[claim for lock in locks for claim in _claims(lock, fleet, terms)],
        lease_seconds=terms.lease_seconds,
        on_lease_expiry=terms.on_expiry.value,
        safe_limit_watts=terms.net_watts or 0.0,
    )


def owners_of(lock: TargetLock, fleet: Fleet) -> tuple[str, ...]:
    """Its replicas, as agents know them."""
    return tuple(owner_of(one) for backend in _backend(lock, fleet) for one in backend.replicas)


def owner_of(replica: Replica) -> str:
    """Its pod as "namespace/pod", or the address of a replica that is none."""
    if replica.namespace is not None and replica.pod is not None:
        return f"{replica.namespace}/{replica.pod}"
    return replica.address


def _claims(lock: TargetLock, fleet: Fleet, terms: Terms) -> Iterator[Claim]:
    if lock.empty and terms.net_watts is None:
        return
    for backend in _backend(lock, fleet):
        limits = [terms.net_watts]
        if lock.limit_watts is not None:
            limits.append(lock.limit_watts / backend.gpus_per_replica)
        known = [watts for watts in limits if watts is not None]
        for replica in backend.replicas:
            yield Claim(
                owner=owner_of(replica),
                workload=lock.ref,
                gpu_uuids=replica.gpu_uuids,
                max_clock_hertz=lock.hertz or 0.0,
                limit_watts=min(known, default=0.0),
            )


def _backend(lock: TargetLock, fleet: Fleet) -> tuple[Backend, ...]:
    return tuple(one for one in fleet.backends if one.name == lock.backend)
