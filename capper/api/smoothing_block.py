"""Dealing services over the power tree, and what the status says of it."""

from typing import Annotated, ClassVar

from pydantic import Field

from capper.api.fields import MAX_ITEMS, Count, PositiveRatio, Query
from capper.api.rules import ApiModel, Rule


class Smoothing(ApiModel):
    """Deal services over the power tree so that their peaks do not meet."""

    enabled: bool = False
    """Switch."""
    history_seconds: Annotated[float, Field(ge=604_800, le=5_184_000)] = 604_800
    """History that the scores rest on: a week at least."""
    step_seconds: Annotated[int, Field(ge=60, le=3600)] = 300
    """Between two readings of the history; must divide a week."""
    clusters: Count = 4
    """Groups of services with like traces."""
    refresh_seconds: Annotated[float, Field(ge=600, le=2_592_000)] = 86_400
    """How often the plan is made anew."""
    min_coverage_ratio: PositiveRatio = 0.8
    """Part of the history for which there must be readings; with less there is no plan."""
    query: Query | None = None
    """PromQL with labels `service`, `instance`, `leaf` (the rack); by default Headrace's rules."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "604800 % self.stepSeconds == 0",
            lambda it: 604_800 % it.step_seconds == 0,
            "must divide a week of 604800 s",
            "stepSeconds",
        ),
    )


class SmoothingNodeStatus(ApiModel):
    """A node of the power tree over the mean week."""

    name: str
    """Rack or domain."""
    instances: int
    """Replicas below it."""
    peak_watts: float
    """Weekly peak as they hang now."""
    planned_peak_watts: float
    """The same as planned."""
    headroom_watts: float | None = None
    """Cap less the weekly peak now; none without a cap."""
    asynchrony: float
    """Sum of the replicas' peaks over the peak of their sum: 1, all peak together."""


class SmoothingStatus(ApiModel):
    """The plan that smoothing rests on."""

    planned_time: str
    """When it was made, RFC 3339."""
    history_seconds: float
    """Length of the history."""
    services: int
    """Services with a trace."""
    lower_peaks_ratio: float | None = None
    """By how much the racks' peaks would be lower together; none where not all racks are known."""
    nodes: Annotated[tuple[SmoothingNodeStatus, ...], Field(max_length=MAX_ITEMS)] = ()
    """Each node, the whole first."""
    notes: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    """What is odd in the history."""
