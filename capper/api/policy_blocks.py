"""How the loop decides: thresholds, freshness, safety and the rungs of its ladder."""

from typing import Annotated, ClassVar

from pydantic import Field

from capper.api.fields import (
    Count,
    PositiveRatio,
    PositiveSeconds,
    Ratio,
    Replicas,
    Seconds,
)
from capper.api.rules import ApiModel, Rule


class Thresholds(ApiModel):
    """Bands around the cap, each with its way out, in parts of the cap."""

    watch_ratio: PositiveRatio = 0.80
    """From here a target may grow by one replica at a time (max = current + 1)."""
    watch_leave_ratio: PositiveRatio = 0.75
    """Below this for long enough the Watch band is left."""
    restrict_ratio: PositiveRatio = 0.95
    """From here no target grows (max = current), and the ladder begins."""
    restrict_leave_ratio: PositiveRatio = 0.90
    """Below this for long enough the Restrict band is left."""
    shed_ratio: PositiveRatio = 1.0
    """From here power is shed."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.watchLeaveRatio < self.watchRatio",
            lambda it: it.watch_leave_ratio < it.watch_ratio,
            "must be below watchRatio",
            "watchLeaveRatio",
        ),
        Rule(
            "self.watchRatio < self.restrictRatio",
            lambda it: it.watch_ratio < it.restrict_ratio,
            "must be below restrictRatio",
            "watchRatio",
        ),
        Rule(
            "self.restrictLeaveRatio < self.restrictRatio",
            lambda it: it.restrict_leave_ratio < it.restrict_ratio,
            "must be below restrictRatio",
            "restrictLeaveRatio",
        ),
        Rule(
            "self.watchRatio <= self.restrictLeaveRatio",
            lambda it: it.watch_ratio <= it.restrict_leave_ratio,
            "must not be above restrictLeaveRatio",
            "watchRatio",
        ),
        Rule(
            "self.restrictRatio <= self.shedRatio",
            lambda it: it.restrict_ratio <= it.shed_ratio,
            "must not be above shedRatio",
            "restrictRatio",
        ),
    )


class Freshness(ApiModel):
    """When measurements are believed."""

    stale_after_seconds: PositiveSeconds = 45
    """A sample older than this is stale: what was decided is held."""
    safe_after_seconds: PositiveSeconds = 300
    """Stale for this long: `safeMaxReplicas` rules, and nothing grows."""
    min_coverage_ratio: Ratio = 0.8
    """Fewer reporting boards than this count as stale."""
    worst_of_samples: Count = 3
    """The largest of this many last samples is what is compared with the cap."""
    safe_max_replicas: Replicas | None = None
    """Bound of each target while blind; by default its current replicas."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.staleAfterSeconds < self.safeAfterSeconds",
            lambda it: it.stale_after_seconds < it.safe_after_seconds,
            "must be below safeAfterSeconds",
            "staleAfterSeconds",
        ),
    )


class Safety(ApiModel):
    """Margins, ramps and guards."""

    spike_margin_ratio: Ratio = 0.12
    """Part of the cap kept for spikes when one more replica is admitted (POLCA: 11.8 % in 40 s)."""
    dwell_seconds: Seconds = 300
    """A band is left after this long below its way out at the earliest."""
    leave_samples: Count = 3
    """And after this many samples in a row below it."""
    shed_interval_seconds: PositiveSeconds = 60
    """At most one replica of a target is taken away in this time."""
    grow_interval_seconds: PositiveSeconds = 120
    """At most one is given back in this time."""
    grow_jitter_ratio: Ratio = 0.2
    """Spread of that time, so that targets do not grow together."""
    max_direction_changes: Count = 4
    """More changes of direction than this in `oscillationWindowSeconds` freeze the target."""
    oscillation_window_seconds: PositiveSeconds = 1800
    """Time in which changes of direction are counted."""
    oscillation_freeze_seconds: PositiveSeconds = 1800
    """How long such a target is left as it is."""
    escalate_after_seconds: Seconds = 30
    """Over the cap, the faster rungs have this long before replicas go."""
    max_reverts: Count = 3
    """Reverts by another writer after which a bound is left alone."""


class Price(ApiModel):
    """The first rung: watts in a crowded domain cost the router more."""

    enabled: bool = True
    """Let the capper set prices."""
    max_factor: Annotated[float, Field(ge=1, le=100)] = 4.0
    """Highest multiplier on joules."""
    steps: Count = 12
    """Prices between 1 and the highest: few, so that noise does not move the router."""


class ReplicaBounds(ApiModel):
    """The third rung: fewer replicas."""

    enabled: bool = True
    """Let the capper lower replica bounds."""
    prefer_paused_scale_out: bool = True
    """Stop growth by KEDA's annotation `autoscaling.keda.sh/paused-scale-out` where it exists."""
    take_ownership: bool = False
    """Also write bounds that another manager applies (GitOps), instead of `FieldConflict`."""
    evict_after_seconds: PositiveSeconds | None = None
    """Over a cap for this long, replicas that do not fit are evicted; by default never."""


class Brake(ApiModel):
    """The last rung: far over the cap for too long, sheddable and then all new work is refused."""

    enabled: bool = True
    """Let the capper shed requests."""
    ratio: PositiveRatio = 1.05
    """Power over the cap, in parts of it, from which the brake may act."""
    after_seconds: Seconds = 30
    """Only after this long above it; twice as long: all new work."""
    hold_seconds: Seconds = 60
    """Calm for this long, one level is let go."""


class ExternalScaler(ApiModel):
    """The KEDA external scaler, for users whose Git owns the bounds."""

    enabled: bool = False
    """Report the allowed replicas to KEDA instead of writing bounds."""
