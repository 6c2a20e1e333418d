"""Which pod has which board: the kubelet's pod-resources API, over its socket on the node.

Field numbers as in Kubernetes' `podresources/v1`; what is not asked for is left out of the
description and skipped. Boards that are given by dynamic resource allocation have no UUID there.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

from capper.proto import message_classes, serialized

_PREFIX = "nvidia.com/"
_METHOD = "/v1.PodResourcesLister/List"
_CLASSES = message_classes(
    "v1",
    {
        "ListPodResourcesRequest": (),
        "ContainerDevices": ((1, "resource_name", "string"), (2, "device_ids", "*string")),
        "ContainerResources": ((1, "name", "string"), (2, "devices", "*ContainerDevices")),
        "PodResources": (
            (1, "name", "string"),
            (2, "namespace", "string"),
            (3, "containers", "*ContainerResources"),
        ),
        "ListPodResourcesResponse": ((1, "pod_resources", "*PodResources"),),
    },
)
Request = _CLASSES["ListPodResourcesRequest"]
Response = _CLASSES["ListPodResourcesResponse"]


class OwnersUnknownError(Exception):
    """Nobody says whose the boards are."""


class KubeletOwners:
    """Asks the kubelet of this node."""

    def __init__(
        self,
        socket: Path,
        board_of_instance: Callable[[str], str | None],
        *,
        timeout_seconds: float = 2.0,
    ) -> None:
        """Prepare.

        Args:
            socket: The kubelet's.
            board_of_instance: The board of a MIG instance, None when it is not known.
            timeout_seconds: For an answer.
        """
        self._socket = socket
        self._board_of_instance = board_of_instance
        self._timeout_seconds = timeout_seconds

    async def owners(self) -> dict[str, frozenset[str]]:
        """Board -> "namespace/pod" of those that have it.

        Raises:
            OwnersUnknownError: The kubelet does not answer.
        """
        async with grpc.aio.insecure_channel(f"unix://{self._socket.absolute()}") as channel:
            call = channel.unary_unary(
                _METHOD, request_serializer=serialized, response_deserializer=Response.FromString
            )
            try:
                answer = await call(Request(), timeout=self._timeout_seconds)
            except grpc.aio.AioRpcError as error:
                said = error.details() or error.code().name
                raise OwnersUnknownError(f"{self._socket}: the kubelet: {said}.") from error
        return self._of(answer)

    def _of(self, answer: Any) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for pod in answer.pod_resources:
            for device in _devices(pod):
                # A board that is shared in time has its number behind the UUID.
                uuid: str | None = device.partition("::")[0]
                if uuid is not None and uuid.startswith("MIG-"):
                    uuid = self._board_of_instance(uuid)
                if uuid is not None:
                    found.setdefault(uuid, set()).add(f"{pod.namespace}/{pod.name}")
        return {uuid: frozenset(pods) for uuid, pods in found.items()}


def _devices(pod: Any) -> Iterator[str]:
    for container in pod.containers:
        for devices in container.devices:
            if devices.resource_name.startswith(_PREFIX):
                yield from devices.device_ids
