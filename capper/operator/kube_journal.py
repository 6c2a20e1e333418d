"""The journal of a cluster: the status subresource, and events."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from capper.api import API_VERSION, KIND
from capper.api.config import PowerCappingConfig
from capper.kube.api import KubeApi, KubeError
from capper.kube.kinds import EVENT, POWER_CAPPING_CONFIG
from capper.operator.event_body import event_body
from capper.operator.journal import Event

_log = logging.getLogger(__name__)
_QUEUED_EVENTS = 256


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
        metadata = config.metadata
        about = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": metadata.namespace,
            "name": metadata.name,
            "uid": metadata.uid,
        }
        body = event_body(
            about,
            event.type,
            event.reason,
            event.message,
            number=self._number,
            now_seconds=now_seconds,
        )
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
