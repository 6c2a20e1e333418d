"""What the capper remembers from turn to turn, explicit and small enough for a status field.

Times are epoch seconds, so that they outlive the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType


class Band(IntEnum):
    """How near to its limit a domain is."""

    NORMAL = 0
    WATCH = 1
    RESTRICT = 2
    SHED = 3


@dataclass(frozen=True, slots=True)
class Latch:
    """One threshold with hysteresis.

    Attributes:
        since_seconds: When it was entered; None while it is not.
        below_since_seconds: Since when it is below its way out, without a break.
        below_samples: Measurements below it, without a break.
    """

    since_seconds: float | None = None
    below_since_seconds: float | None = None
    below_samples: int = 0


Latches = tuple[Latch, Latch, Latch]
"""Watch, Restrict, Shed."""

OPEN: Latches = (Latch(), Latch(), Latch())


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainState:
    """Memory of one domain.

    Attributes:
        power: Latches of watts.
        heat: Latches of the inlet temperature.
        counted_seconds: Measurement time of the newest sample that the power latches counted.
        heat_counted_seconds: The same for temperature.
        usable_seconds: When watts were last usable; the first turn counts, too.
        heat_usable_seconds: The same for temperature.
        same_value: Last believed watts, to find a frozen sensor.
        same_since_seconds: Since when they are the same to the last bit.
        same_work: Work (tokens/s, else replicas) at that time.
        price_ratio: In force.
        price_seconds: When it last changed.
        over_since_seconds: Since when it is over its cap, without a break; None: it is not.
        braking_since_seconds: Since when it is over the brake's ratio.
        calm_since_seconds: Since when the brake could be let go.
        shed_level: In force (0 nothing, 1 sheddable, 2 all).
        other_watts: What draws there without a power limit, by the newest sample.
        other_before_watts: The same by the sample before.
        other_seconds: When the newest was measured.
    """

    power: Latches = OPEN
    heat: Latches = OPEN
    counted_seconds: float | None = None
    heat_counted_seconds: float | None = None
    usable_seconds: float | None = None
    heat_usable_seconds: float | None = None
    same_value: float | None = None
    same_since_seconds: float | None = None
    same_work: float | None = None
    price_ratio: float = 1.0
    price_seconds: float | None = None
    over_since_seconds: float | None = None
    braking_since_seconds: float | None = None
    calm_since_seconds: float | None = None
    shed_level: int = 0
    other_watts: float | None = None
    other_before_watts: float | None = None
    other_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """Memory of one target.

    Attributes:
        touched: Whether its object holds a bound of ours.
        original_max: What it held before; None while touched: it held none.
        written_max: What was last written; None: nothing is.
        written_current: How many replicas ran then.
        written_seconds: When.
        shed_seconds: When a bound below the running replicas was last written.
        grown_seconds: When the bound was last raised.
        direction: 1 when the last change of the bound was up, -1 down, 0 none yet.
        turned_seconds: Times of its changes of direction within the window.
        frozen_until_seconds: No rise before then.
        reverts: Times that another writer undid the bound.
        reverted_seconds: When it last did.
        safe_max: Static bound while blind; None while seeing.
        paused: Whether its scale-out is paused by us.
        clock_hertz: Lock in force, None for none.
        clock_seconds: When it was last changed.
        limit_watts: Power limit of a replica in force, None for none.
        limit_seconds: When it was last changed.
        starved_since_seconds: Since when power limits cannot feed all of its replicas; None: they
            can.
    """

    touched: bool = False
    original_max: int | None = None
    written_max: int | None = None
    written_current: int | None = None
    written_seconds: float | None = None
    shed_seconds: float | None = None
    grown_seconds: float | None = None
    direction: int = 0
    turned_seconds: tuple[float, ...] = ()
    frozen_until_seconds: float | None = None
    reverts: int = 0
    reverted_seconds: float | None = None
    safe_max: int | None = None
    paused: bool = False
    clock_hertz: float | None = None
    clock_seconds: float | None = None
    limit_watts: float | None = None
    limit_seconds: float | None = None
    starved_since_seconds: float | None = None

    @property
    def holds_anything(self) -> bool:
        """Whether something of ours is in force, to be put back in the end."""
        locked = self.clock_hertz is not None or self.limit_watts is not None
        return self.touched or self.paused or locked


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Watts set aside for replicas that are coming but do not draw them yet.

    Attributes:
        domain: Where.
        watts: How many.
        until_seconds: Void after this.
    """

    domain: str
    watts: float
    until_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that outlives a turn.

    Attributes:
        domains: By name.
        targets: By ref.
        reservations: By the holder's key (a pod's uid, "placement/...").
    """

    domains: Mapping[str, DomainState] = field(default_factory=lambda: MappingProxyType({}))
    targets: Mapping[str, TargetState] = field(default_factory=lambda: MappingProxyType({}))
    reservations: Mapping[str, Reservation] = field(default_factory=lambda: MappingProxyType({}))
