"""Where the loop writes what it did: the configuration's status and its events."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

from capper.api import API_VERSION, GROUP, KIND
from capper.api.config import PowerCappingConfig
from capper.kube.api import FIELD_MANAGER, KubeApi, KubeError
from capper.kube.kinds import EVENT, POWER_CAPPING_CONFIG
from capper.operator.timestamps import rfc3339

_log = logging.getLogger(__name__)
_QUEUED_EVENTS = 256


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


class KubernetesJournal:
    """Writes the status subresource by server-side apply, and posts events.

    Events are posted one after the other in the background, so that no action waits for them.
    """

    def __init__(self, api: KubeApi) -> None:
        """Write through `api`."""
        self._api = api
        self._events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(_QUEUED_EVENTS)
        self._number = 0

    async def write(self, config: PowerCappingConfig, status: Mapping[str, Any]) -> bool:
        """See Journal."""
        metadata = config.metadata
        try:
            await self._api.apply(
                POWER_CAPPING_CONFIG,
                metadata.namespace,
                metadata.name,
                {"status": dict(status)},
                force=True,  # the status is nobody else's
                part="status",
            )
        except KubeError as error:
            _log.warning("%s/%s: status not written: %s", metadata.namespace, metadata.name, error)
            return False
        return True

    def tell(self, config: PowerCappingConfig, event: Event, *, now_seconds: float) -> None:
        """See Journal."""
        self._number += 1
        metadata, time = config.metadata, rfc3339(now_seconds)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata.name}.{int(now_seconds * 1e6):x}.{self._number}",
                "namespace": metadata.namespace,
            },
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": metadata.namespace,
                "name": metadata.name,
                "uid": metadata.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1024],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": f"{GROUP}/{FIELD_MANAGER}",
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        try:
            self._events.put_nowait((metadata.namespace, body))
        except asyncio.QueueFull:
            _log.warning("an event is lost, the API server takes none: %s", event.message)

    async def post_events(self) -> None:
        """Post what was told, for ever."""
        while True:
            namespace, body = await self._events.get()
            try:
                await self._api.create(EVENT, namespace, body)
            except KubeError as error:
                _log.warning("an event is lost: %s", error)
