"""What the capper reads off a pod: its owner, its rack, what is reserved for it. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from capper.kube.kinds import at, controller_of
from capper.operator.timestamps import epoch_of
from capper.racks.marks import DECLARED_WATTS, RACK_LABEL, RESERVED_UNTIL, RESERVED_WATTS

Pod = Mapping[str, Any]

_SETTLE_SECONDS = 60.0
"""A pod that has been ready for so long is in the measurements: three scrapes and a bit."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """Watts set aside.

    Attributes:
        key: Uid of the pod.
        rack: Where.
        watts: How many.
        until_epoch_seconds: Void after this.
    """

    key: str
    rack: str
    watts: float
    until_epoch_seconds: float


def reservation_of(
    pod: Pod, racks_by_node: Mapping[str, str], *, now_epoch_seconds: float
) -> Reserved | None:
    """What is still set aside for a pod; None once it draws, ends, or its time is over.

    A pod that only preferred its rack counts where the scheduler put it.
    """
    rack, annotations = at(pod, ("metadata", "labels", RACK_LABEL)), _annotations(pod)
    watts, until = (_number(annotations.get(key)) for key in (RESERVED_WATTS, RESERVED_UNTIL))
    if not rack or watts is None or watts <= 0.0 or until is None or until <= now_epoch_seconds:
        return None
    if at(pod, ("metadata", "deletionTimestamp")) or phase(pod) in {"Succeeded", "Failed"}:
        return None
    ready = ready_since_epoch_seconds(pod)
    if ready is not None and now_epoch_seconds - ready >= _SETTLE_SECONDS:
        return None
    node = at(pod, ("spec", "nodeName"))
    rack = racks_by_node.get(node, rack) if node else rack
    return Reserved(pod["metadata"]["uid"], rack, watts, until)


def declared_watts(pod: Pod) -> float | None:
    """What its annotation says that it will draw."""
    watts = _number(_annotations(pod).get(DECLARED_WATTS))
    return watts if watts is not None and watts > 0.0 else None


def age_seconds(pod: Pod, now_epoch_seconds: float) -> float:
    """Since it was created; 0 where that cannot be read."""
    created = created_epoch_seconds(pod)
    return 0.0 if created is None else max(0.0, now_epoch_seconds - created)


def created_epoch_seconds(pod: Pod) -> float | None:
    """When it was created."""
    return epoch_of(at(pod, ("metadata", "creationTimestamp")) or "")


def ready_since_epoch_seconds(pod: Pod) -> float | None:
    """Since when it has been ready; None: it is not."""
    for one in at(pod, ("status", "conditions")) or ():
        if one.get("type") == "Ready" and one.get("status") == "True":
            return epoch_of(one.get("lastTransitionTime") or "") or 0.0
    return None


def phase(pod: Pod) -> str:
    """As Kubernetes has it."""
    return at(pod, ("status", "phase")) or ""


def is_live(pod: Pod) -> bool:
    """Neither ended nor ending."""
    ended = phase(pod) in {"Succeeded", "Failed"}
    return not ended and not at(pod, ("metadata", "deletionTimestamp"))


def owner_of(pod: Pod) -> str | None:
    """Name of the Deployment, StatefulSet or LeaderWorkerSet that it is a replica of."""
    owner = controller_of(pod)
    if owner is None:
        return None
    kind, name = owner
    digest = at(pod, ("metadata", "labels", "pod-template-hash"))
    if kind != "ReplicaSet":
        return name
    if digest and name.endswith(f"-{digest}"):
        return name.removesuffix(f"-{digest}")
    return name.rpartition("-")[0] or name


def is_of_replica_set(pod: Pod) -> bool:
    """Whether deletion costs decide when it goes; a StatefulSet goes by its numbers."""
    owner = controller_of(pod)
    return owner is not None and owner[0] == "ReplicaSet"


def name_of(pod: Pod) -> tuple[str, str]:
    """Namespace and name."""
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def nodes_to_racks(nodes: Iterable[Mapping[str, Any]], rack_label: str) -> dict[str, str]:
    """Node -> rack."""
    found = {}
    for node in nodes:
        rack = at(node, ("metadata", "labels", rack_label))
        if rack:
            found[node["metadata"]["name"]] = rack
    return found


def rack_of(pod: Pod, racks_by_node: Mapping[str, str]) -> str | None:
    """Where it runs; None: nowhere yet, or on a node without a rack."""
    return racks_by_node.get(at(pod, ("spec", "nodeName")) or "")


def _annotations(pod: Pod) -> Mapping[str, Any]:
    return at(pod, ("metadata", "annotations")) or {}


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
