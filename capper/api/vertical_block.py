"""VerticalPodAutoscalers of the targets, and what the status says of them."""

from typing import Annotated

from pydantic import Field

from capper.api.rules import ApiModel


class Vertical(ApiModel):
    """Read the VerticalPodAutoscalers of the targets, and nodes and pods for free GPUs."""

    enabled: bool = False
    """Switch."""
    cpu_core_watts: Annotated[float, Field(ge=0, le=100)] = 5.0
    """Host watts of a requested core: assumed, about 350 W over 56 cores at four fifths."""
    memory_gibibyte_watts: Annotated[float, Field(ge=0, le=10)] = 0.3
    """Host watts of a requested GiB: assumed, about 10 W for a module of 32 GiB."""
    refresh_seconds: Annotated[float, Field(ge=10, le=86_400)] = 120
    """How often they are read."""


class VerticalStatus(ApiModel):
    """What a VerticalPodAutoscaler does to a target."""

    target: str
    """The target, as it is written."""
    autoscaler: str
    """Name of the VerticalPodAutoscaler."""
    update_mode: str
    """Off, Initial, Recreate, InPlaceOrRecreate, InPlace or Auto."""
    cpu_cores: float | None = None
    """Cores that the next replica requests."""
    memory_bytes: float | None = None
    """Bytes that the next replica requests."""
    extra_watts: float = 0.0
    """Host watts by which the next replica differs from the running ones."""
