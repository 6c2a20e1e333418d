"""GPU clocks: the second rung of the ladder."""

from typing import ClassVar, Literal

from pydantic import Field

from capper.api.fields import (
    MegaHertz,
    PositiveRatio,
    PositiveSeconds,
    PositiveWatts,
    Priority,
    Ratio,
    Watts,
)
from capper.api.rules import ApiModel, Rule


class GpuClocks(ApiModel):
    """The second rung: lower SM clocks, through the node agent."""

    enabled: bool = False
    """Let the capper lower clocks."""
    low_ratio: PositiveRatio = 0.80
    """Watts above this part of the cap are taken from workloads of low priority (POLCA's T1)."""
    high_ratio: PositiveRatio = 0.89
    """Watts above this part of the cap are taken from all (POLCA's T2)."""
    deep_ratio: PositiveRatio = 0.95
    """Only for watts above this part of the cap may clocks go below the knee."""
    deep_floor_ratio: Ratio = 0.5
    """And never below this part of the full clock."""
    high_priority: Priority = 1
    """Workloads of at least this priority are touched above `highRatio` only."""
    base_mega_hertz: MegaHertz | None = Field(default=None, alias="baseMHz")
    """Clock without a lock; needed where clocks are to be lowered."""
    knee_mega_hertz: MegaHertz = Field(default=1095, alias="kneeMHz")
    """Below this clock voltage does not fall any more (A100, fitted to Perseus' sweeps)."""
    time_share_ratio: Ratio = 0.1
    """Part of the time that scales with the clock; decode 0 to 0.3, assumed."""
    power_share_ratio: Ratio = 0.5
    """Part of dynamic power that scales with the clock; decode 0.3 to 0.8, assumed."""
    static_watts: Watts = 0
    """Power of one replica that no clock changes."""
    min_mega_hertz: MegaHertz = Field(default=1000, alias="minMHz")
    """Never lower than this: below the knee of the clock curve nothing is saved."""
    max_mega_hertz: MegaHertz | None = Field(default=None, alias="maxMHz")
    """Never higher than this; by default what the board allows."""
    power_limit_watts: PositiveWatts | None = None
    """Board power limit, kept as a safety net."""
    lowest_limit_watts: PositiveWatts | None = None
    """Lowest power limit that one replica can keep under load, all its boards together."""
    highest_limit_watts: PositiveWatts | None = None
    """The most that one replica draws. With both given the capper deals power limits that add up to
    no more than the caps; the boards keep them by themselves."""
    limit_margin_ratio: Ratio = 0
    """Part of a cap that dealt limits leave free, for boards that measure themselves wrong."""
    lease_seconds: PositiveSeconds = 60
    """A clock that is not renewed for this long is given back."""
    on_lease_expiry: Literal["Restore", "HoldSafeLimit"] = "Restore"
    """Restore full clocks (latency first), or hold the safe limit (breakers first)."""
    ramp_up_seconds: PositiveSeconds = 30
    """One step up in this time."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxMHz) || self.minMHz <= self.maxMHz",
            lambda it: it.max_mega_hertz is None or it.min_mega_hertz <= it.max_mega_hertz,
            "must not be above maxMHz",
            "minMHz",
        ),
        Rule(
            "!self.enabled || has(self.baseMHz)",
            lambda it: not it.enabled or it.base_mega_hertz is not None,
            "is needed where clocks are enabled",
            "baseMHz",
        ),
        Rule(
            "has(self.lowestLimitWatts) == has(self.highestLimitWatts)",
            lambda it: (it.lowest_limit_watts is None) == (it.highest_limit_watts is None),
            "goes with highestLimitWatts: give both or none",
            "lowestLimitWatts",
        ),
        Rule(
            "!has(self.lowestLimitWatts) || !has(self.highestLimitWatts) || "
            "self.lowestLimitWatts <= self.highestLimitWatts",
            lambda it: (
                it.lowest_limit_watts is None
                or it.highest_limit_watts is None
                or it.lowest_limit_watts <= it.highest_limit_watts
            ),
            "must not be above highestLimitWatts",
            "lowestLimitWatts",
        ),
        Rule(
            "self.lowRatio <= self.highRatio",
            lambda it: it.low_ratio <= it.high_ratio,
            "must not be above highRatio",
            "lowRatio",
        ),
    )
