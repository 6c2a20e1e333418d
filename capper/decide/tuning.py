"""The numbers of the loop that an operator may change, each with the reason for its default."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Bands around a cap, in parts of it; each is entered at one ratio and left below another.

    Replica bounds alone take 40 s and more to act, in which inference power rose by up to 11.8 %
    in POLCA's row: without clocks, a restrict ratio of 0.88 is what can be defended. 0.80 and 0.95
    are the original design's.
    """

    watch_ratio: float = 0.80
    watch_leave_ratio: float = 0.75
    restrict_ratio: float = 0.95
    restrict_leave_ratio: float = 0.90
    shed_ratio: float = 1.0

    @property
    def shed_leave_ratio(self) -> float:
        """Shedding ends where restricting begins."""
        return self.restrict_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """When a measurement is believed.

    Attributes:
        stale_after_seconds: Three scrapes of 15 s.
        safe_after_seconds: Blind for this long: static bounds, no growth.
        min_coverage_ratio: Part of the boards that must report; less is no data, not less power.
        worst_of_samples: The largest of so many last samples is compared with the cap.
        limit_ratio: Watts above this many times the sum of the boards' limits are a lie.
        frozen_after_seconds: A value that stays the same to the last bit for this long, while the
            work changed by `frozen_work_ratio`, is a sensor that hangs.
        frozen_work_ratio: See above.
        safe_max_replicas: Bound of each target while blind; None: what it had.
    """

    stale_after_seconds: float = 45.0
    safe_after_seconds: float = 300.0
    min_coverage_ratio: float = 0.8
    worst_of_samples: int = 3
    limit_ratio: float = 1.2
    frozen_after_seconds: float = 300.0
    frozen_work_ratio: float = 0.25
    safe_max_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """Fast down, slow up.

    Attributes:
        spike_margin_ratio: Part of the cap kept free when growth is admitted: the largest rise
            in one control latency of 40 s (POLCA: 11.8 %).
        regrow_gap_ratio: Part of the cap by which growth must fit better than it has to before a
            bound is raised again, so that noise of this size moves nothing.
        dwell_seconds: Time below its way out after which a band is left.
        leave_samples: New samples below it in a row that this takes too.
        shed_interval_seconds: At most `shed_replicas` of a target are taken in this time.
        shed_replicas: One where replicas are pods that take minutes to come back.
        grow_interval_seconds: At most one is given back in this time.
        grow_jitter_ratio: Spread of that time, so that targets do not grow together.
        escalate_after_seconds: Over the cap, faster rungs have this long before replicas go.
        max_direction_changes: More of them than this in the window freeze a bound's way up.
        oscillation_window_seconds: Time in which they are counted.
        oscillation_freeze_seconds: How long the way up stays shut.
        settle_seconds: Time that a written bound has to show in the workload.
        max_reverts: Reverts by another writer after which the bound is left alone.
        evict_after_seconds: Over the cap for this long, replicas that do not fit are evicted;
            None: never.
    """

    spike_margin_ratio: float = 0.12
    regrow_gap_ratio: float = 0.05
    dwell_seconds: float = 300.0
    leave_samples: int = 3
    shed_interval_seconds: float = 60.0
    shed_replicas: int = 1
    grow_interval_seconds: float = 120.0
    grow_jitter_ratio: float = 0.2
    escalate_after_seconds: float = 30.0
    max_direction_changes: int = 4
    oscillation_window_seconds: float = 1800.0
    oscillation_freeze_seconds: float = 1800.0
    settle_seconds: float = 30.0
    max_reverts: int = 3
    evict_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The price of power, proportional between the way into Watch and the cap.

    Attributes:
        max_ratio: Multiplier on joules at the cap.
        steps: Prices between 1 and the highest; few, so that noise does not move the router.
        fall_seconds: One step down in this time; up is at once.
    """

    max_ratio: float = 4.0
    steps: int = 12
    fall_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """GPU clocks: two thresholds as in POLCA (ASPLOS'24), low priority first.

    Attributes:
        low_ratio: Watts above this part of the cap are taken from low-priority targets (T1).
        high_ratio: Watts above this part of the cap are taken from all (T2).
        deep_ratio: Watts above this part of the cap, with all clocks at their knee, are taken below
            it: that saves little and costs time, but keeps the cap and every request.
        deep_floor_ratio: Lowest clock then, in parts of the full one.
        gap_ratio: Hysteresis: clocks rise only while watts stay this part of the cap lower.
        min_hertz: Never lower, whatever the knee.
        max_hertz: Never higher; None: the board's.
        step_hertz: Clocks are set in multiples of this (NVIDIA boards: 15 MHz).
        settle_seconds: Time until measured watts show a clock: the worst-of-3 window and the lag.
        ramp_up_seconds: One rise in this time, by at most `ramp_up_ratio` of the range.
        ramp_up_ratio: See above.
    """

    low_ratio: float = 0.80
    high_ratio: float = 0.89
    deep_ratio: float = 0.95
    deep_floor_ratio: float = 0.5
    gap_ratio: float = 0.05
    min_hertz: float = 1.0e9
    max_hertz: float | None = None
    step_hertz: float = 15e6
    settle_seconds: float = 45.0
    ramp_up_seconds: float = 30.0
    ramp_up_ratio: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Board power limits: the net beneath the clocks, kept by the boards themselves.

    Attributes:
        margin_ratio: Part of a cap that limits leave free, where boards measure themselves wrong.
        step_watts: Limits are whole multiples of this, so that noise of a watt moves nothing.
        settle_seconds: Nothing is raised this soon after a limit was changed: what was lowered
            must hold first. An agent reads back what it has set.
        raise_gap_ratio: A limit rises only by more than this part of the highest.
        steep_ratio: Part of the range above the lowest limit in which decodes at large batches
            slow down steeply: boards are given that much first (H100 at its lowest limit: a step
            of 128 takes 1.33 times as long, 5 % of the range above it 1.23; simulated).
    """

    margin_ratio: float = 0.0
    step_watts: float = 1.0
    settle_seconds: float = 1.0
    raise_gap_ratio: float = 0.02
    steep_ratio: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Brakes:
    """The last rung: refuse work.

    Attributes:
        ratio: Power over the cap from which it may act.
        after_seconds: Above it for this long: sheddable requests are refused; twice as long: all.
        hold_seconds: Once below the way out of Restrict for this long, one level is let go.
    """

    ratio: float = 1.05
    after_seconds: float = 30.0
    hold_seconds: float = 60.0
