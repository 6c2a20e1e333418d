"""Patches of pods, their eviction, and events about them."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

from capper.kube.api import KubeApi, KubeError
from capper.kube.kinds import EVENT, KubeObject
from capper.operator.event_body import event_body
from capper.racks.marks import POD
from capper.racks.pods import name_of
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_REFUSED = range(400, 500)


class RefusedError(Exception):
    """The API server says no, and would again: the pod is gone, or is not what it was.

    Attributes:
        forbidden: It is the right that lacks.
    """

    def __init__(self, message: str, *, forbidden: bool) -> None:
        """Say what was refused in one sentence."""
        super().__init__(message)
        self.forbidden = forbidden


class PodWriter:
    """Writes to pods of one cluster."""

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        """Write through `api`; `clock` for the names and times of events."""
        self._api = api
        self._clock = clock
        self._number = 0

    async def patch(self, pod: Mapping[str, Any], fields: KubeObject) -> None:
        """Merge fields into a pod.

        Raises:
            RefusedError: Nothing was changed, and asking again is of no use.
            KubeError: Nobody knows whether it was changed.
        """
        namespace, name = name_of(pod)
        try:
            await self._api.merge(POD, namespace, name, fields)
        except KubeError as error:
            if error.code in _REFUSED and error.code != HTTPStatus.TOO_MANY_REQUESTS:
                forbidden = error.code == HTTPStatus.FORBIDDEN
                raise RefusedError(str(error), forbidden=forbidden) from error
            raise

    async def evict(self, pod: Mapping[str, Any]) -> bool:
        """Ask for an eviction; False: a PodDisruptionBudget says not now.

        Raises:
            KubeError: Nobody knows whether it was evicted.
        """
        namespace, name = name_of(pod)
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": pod["metadata"]["uid"]}},
        }
        try:
            await self._api.create(POD, namespace, body, name=name, part="eviction")
        except KubeError as error:
            if error.code == HTTPStatus.TOO_MANY_REQUESTS:
                return False
            raise
        return True

    async def tell(
        self,
        pod: Mapping[str, Any],
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
    ) -> None:
        """Post an event about a pod; one that cannot be posted is a log line."""
        namespace, name = name_of(pod)
        self._number += 1
        about = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": namespace,
            "name": name,
            "uid": pod["metadata"]["uid"],
        }
        now_seconds = self._clock.epoch_seconds()
        body = event_body(
            about, kind, reason, message, number=self._number, now_seconds=now_seconds
        )
        try:
            await self._api.create(EVENT, namespace, body)
        except KubeError as error:
            _log.warning("an event of pod %s/%s is lost: %s", namespace, name, error)
