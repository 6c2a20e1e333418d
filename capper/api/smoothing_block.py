"""Dealing services over the power tree."""

from typing import Annotated

from pydantic import Field

from capper.api.fields import Count, Seconds
from capper.api.rules import ApiModel


class Smoothing(ApiModel):
    """Deal services over the power tree so that their peaks do not meet."""

    enabled: bool = False
    """Switch."""
    history_seconds: Annotated[float, Field(ge=604_800, le=5_184_000)] = 604_800
    """History that the scores rest on: a week at least."""
    clusters: Count = 4
    """Groups of services with like traces."""
    refresh_seconds: Seconds = 86_400
    """How often the plan is made anew."""
