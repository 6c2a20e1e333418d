"""What the user asks of the capper: caps, targets, and every number of the decision.

Translated from the PowerCappingConfig resource or the local configuration by others; nothing here
knows Kubernetes. Watts are of the domain's inlet, temperatures Celsius, clocks hertz.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from capper.decide.clock_model import ClockCurve
from capper.decide.tuning import Brakes, Clocks, Freshness, Limits, Pacing, Prices, Thresholds

ROOT = "fleet"
"""Customary name of the domain of all watts."""


class Mode(StrEnum):
    """How far the capper may go."""

    OBSERVE = "Observe"
    RECOMMEND = "Recommend"
    ENFORCE = "Enforce"


class Rung(StrEnum):
    """The rungs of the ladder, the gentlest first."""

    PRICE = "price"
    CLOCKS = "clocks"
    LIMITS = "limits"
    REPLICAS = "replicas"
    BRAKE = "brake"


class TargetKind(StrEnum):
    """What holds the bound of a target; the actuator is chosen by it."""

    SCALED_OBJECT = "ScaledObject"
    INFERENCE_SERVICE = "InferenceService"
    LLM_INFERENCE_SERVICE = "LLMInferenceService"
    HORIZONTAL_POD_AUTOSCALER = "HorizontalPodAutoscaler"
    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    LOCAL = "Local"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCap:
    """One of the caps of a domain, with where it comes from.

    Attributes:
        source: For status, a noun phrase: "powerCapLimit", "carbon schedule", "share of row-1".
        watts: Not negative.
    """

    source: str
    watts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPolicy:
    """A part of the power tree: the fleet, a row, a PDU, a rack.

    Attributes:
        name: Unique in the policy.
        parent: The domain that feeds it; None for the root, of which there is one.
        caps: All that limit its watts; the lowest counts. Empty: no limit of its own.
        max_inlet_celsius: Highest inlet temperature, or None.
        coverage_required: Whether unknown coverage makes its readings partial.
    """

    name: str
    parent: str | None = None
    caps: tuple[NamedCap, ...] = ()
    max_inlet_celsius: float | None = None
    coverage_required: bool = False

    @property
    def cap(self) -> NamedCap | None:
        """The lowest of its caps; None when it has none."""
        return min(self.caps, key=lambda cap: cap.watts, default=None)


@dataclass(frozen=True, slots=True)
class LimitRange:
    """Power limits that the boards of one replica can keep, all of them together.

    Attributes:
        lowest_watts: No lower limit holds under load.
        highest_watts: The most that the replica draws; a limit there is none.
    """

    lowest_watts: float
    highest_watts: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPolicy:
    """One workload that is kept under the caps.

    Attributes:
        ref: Unique, "Kind/namespace/name"; names it in plans, status and state.
        kind: What holds its bound.
        backend: Name of the backend in the fleet, for prices and clocks; None when unknown.
        domain: The domain that feeds it where no reading says where its replicas are.
        min_replicas: Never fewer.
        max_replicas: Never more, whatever the watts; None leaves that to the workload.
        priority: Higher keeps its replicas and clocks longer.
        replica_watts: Declared power of one more replica; None: measured (95th percentile).
        clocks: How its time and power follow the clock; None: its clocks are not touched.
        limit_range: Power limits that its boards can keep; None: none is set.
        prefers_pause: Growth is stopped by pausing scale-out where the workload supports it.
    """

    ref: str
    kind: TargetKind = TargetKind.SCALED_OBJECT
    backend: str | None = None
    domain: str = ROOT
    min_replicas: int = 1
    max_replicas: int | None = None
    priority: int = 0
    replica_watts: float | None = None
    clocks: ClockCurve | None = None
    limit_range: LimitRange | None = None
    prefers_pause: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One PowerCappingConfig as the decision sees it.

    Attributes:
        name: For messages, "namespace/name".
        domains: The power tree; one root, parents before children or not.
        targets: Workloads, refs unique.
        mode: Observe, Recommend or Enforce.
        rungs: The actuators that may be used.
        thresholds: Bands around the caps.
        freshness: When measurements are believed.
        pacing: Margins, ramps and guards.
        prices: First rung.
        clocks: Second rung.
        limits: The net beneath the clocks.
        brakes: Last rung.
        high_priority: Targets of at least this priority are touched by the upper clock threshold
            only (POLCA's two classes).
    """

    name: str = "default/default"
    domains: tuple[DomainPolicy, ...]
    targets: tuple[TargetPolicy, ...]
    mode: Mode = Mode.OBSERVE
    rungs: frozenset[Rung] = frozenset({Rung.PRICE, Rung.REPLICAS, Rung.BRAKE})
    thresholds: Thresholds = field(default_factory=Thresholds)
    freshness: Freshness = field(default_factory=Freshness)
    pacing: Pacing = field(default_factory=Pacing)
    prices: Prices = field(default_factory=Prices)
    clocks: Clocks = field(default_factory=Clocks)
    limits: Limits = field(default_factory=Limits)
    brakes: Brakes = field(default_factory=Brakes)
    high_priority: int = 1
