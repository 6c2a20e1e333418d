"""What the capper saw in one turn of its loop. Unknown is None, never 0; ages are seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple


class Sample(NamedTuple):
    """One measurement.

    Attributes:
        value: As it came, in the unit of its place; may be NaN, a sentinel or a lie.
        age_seconds: Since it was measured, not since it arrived.
    """

    value: float | None
    age_seconds: float


class PowerSource(IntEnum):
    """Where watts were measured; the first that can be used is."""

    QUERY = 0  # the resource's own query
    PDU = 1
    BMC = 2
    BOARDS = 3  # GPU boards times a factor for the host


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerReading:
    """Watts of a domain from one source.

    Attributes:
        source: Where they come from.
        samples: Any order; the newest three count.
        coverage_ratio: Part of the meters that report; None when that cannot be known.
        limit_watts: Sum of the limits of what is measured, for the sanity filter; None: unknown.
        host_ratio: Whole watts over measured ones (GPU boards are about half of a server).
    """

    source: PowerSource = PowerSource.QUERY
    samples: tuple[Sample, ...] = ()
    coverage_ratio: float | None = None
    limit_watts: float | None = None
    host_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainReading:
    """One domain.

    Attributes:
        power: One entry per source.
        inlet_celsius: Samples of the hottest inlet.
    """

    power: tuple[PowerReading, ...] = ()
    inlet_celsius: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterForecast:
    """What the router knows of a backend before telemetry does.

    Attributes:
        in_flight_requests: In its ledger.
        demand_replicas: How many its commitment needs for the load.
        unneeded_replicas: How many it has left out: taking these loses no token.
        packed_tokens_per_joule: Of a replica that is filled to the objective, by its profile.
    """

    in_flight_requests: int | None = None
    demand_replicas: int | None = None
    unneeded_replicas: int | None = None
    packed_tokens_per_joule: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReading:
    """One workload.

    Attributes:
        age_seconds: Of the facts from the API server (replicas and bounds).
        spec_replicas: Of its scale.
        status_replicas: Pods that exist, terminating ones included where known.
        desired_replicas: What its autoscaler wishes.
        ready_replicas: Pods that serve.
        pending_replicas: Pods that are scheduled or waiting and do not draw their watts yet.
        min_replicas: The workload's own minimum.
        least_bound: Smallest bound that its object can hold; None: any.
        max_replicas: The bound that is in the object now.
        disruption_floor: Ready replicas that a PodDisruptionBudget asks for.
        scale_out_paused: Whether its scale-out is paused now; None when not supported.
        watts: Of all its replicas together.
        replica_watts_p95: 95th percentile of watts per replica over the last hour.
        next_extra_watts: By how much the next replica's host watts differ: it has other requests.
        output_tokens_per_second: Of all its replicas.
        tokens_per_joule: Output tokens per joule; None where idle or half-blind.
        clock_hertz: Lowest SM clock lock that is in force; None when unlocked or unknown.
        domain_shares: Domain -> part of its replicas there (sums to 1); empty: its policy's domain.
        forecast: The router's.
    """

    age_seconds: float = 0.0
    spec_replicas: int | None = None
    status_replicas: int | None = None
    desired_replicas: int | None = None
    ready_replicas: int | None = None
    pending_replicas: int | None = None
    min_replicas: int | None = None
    least_bound: int | None = None
    max_replicas: int | None = None
    disruption_floor: int | None = None
    scale_out_paused: bool | None = None
    watts: float | None = None
    replica_watts_p95: float | None = None
    next_extra_watts: float = 0.0
    output_tokens_per_second: float | None = None
    tokens_per_joule: float | None = None
    clock_hertz: float | None = None
    domain_shares: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    forecast: RouterForecast | None = None

    @property
    def current_replicas(self) -> int | None:
        """Race-free: the largest of spec, status and the autoscaler's wish; None: none known.

        A bound below any of the three would delete pods at the autoscaler's next turn.
        """
        counts = (self.spec_replicas, self.status_replicas, self.desired_replicas)
        return max((count for count in counts if count is not None and count >= 0), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One turn of the loop.

    Attributes:
        domains: By name; a missing one was not seen at all.
        targets: By ref; a missing one was not seen at all.
    """

    domains: Mapping[str, DomainReading] = field(default_factory=lambda: MappingProxyType({}))
    targets: Mapping[str, TargetReading] = field(default_factory=lambda: MappingProxyType({}))
