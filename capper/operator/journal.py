"""Where the loop writes what it did: the configuration's status and its events."""

import logging
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from capper.api.config import PowerCappingConfig

_log = logging.getLogger(__name__)


class Event(NamedTuple):
    """Something worth telling.

    Attributes:
        type: As Kubernetes has it.
        reason: One word.
        message: One sentence.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Journal(Protocol):
    """Keeps statuses, tells events."""

    async def write(self, config: PowerCappingConfig, status: Mapping[str, Any]) -> bool:
        """Keep a status in the place of the one before; False when it could not be kept."""
        ...

    def tell(self, config: PowerCappingConfig, event: Event, *, now_seconds: float) -> None:
        """Tell an event; one that cannot be told is lost."""
        ...


class LocalJournal:
    """Without Kubernetes: events are log lines, a status is kept in memory.

    Attributes:
        statuses: By "namespace/name".
    """

    def __init__(self) -> None:
        """Start empty."""
        self.statuses: dict[str, Mapping[str, Any]] = {}

    async def write(self, config: PowerCappingConfig, status: Mapping[str, Any]) -> bool:
        """See Journal."""
        self.statuses[f"{config.metadata.namespace}/{config.metadata.name}"] = status
        return True

    def tell(self, config: PowerCappingConfig, event: Event, *, now_seconds: float) -> None:
        """See Journal."""
        del now_seconds
        level = logging.WARNING if event.type == "Warning" else logging.INFO
        _log.log(level, "%s: %s: %s", config.metadata.name, event.reason, event.message)
