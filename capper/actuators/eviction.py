"""Which pod goes when one has to. Pure."""

from collections.abc import Sequence

from capper.kube.kinds import KubeObject, Path, at

_DELETION_COST: Path = (
    "metadata",
    "annotations",
    "controller.kubernetes.io/pod-deletion-cost",
)


def victim(pods: Sequence[KubeObject], *, floor: int) -> str | None:
    """Name of the pod to evict; None: none may go.

    As a ReplicaSet chooses: one that is not ready before one that is, then the lowest deletion
    cost, then the youngest. A ready one only while at least `floor` ready ones stay, and none at
    all while another one is ending: its watts are to be seen first.
    """
    if any(at(pod, ("metadata", "deletionTimestamp")) for pod in pods):
        return None
    running = [pod for pod in pods if at(pod, ("status", "phase")) in {"Pending", "Running"}]
    ready = [pod for pod in running if _is_ready(pod)]
    choice = [pod for pod in running if not _is_ready(pod)] or ready
    if not choice or (choice is ready and len(ready) <= floor):
        return None
    names = sorted(choice, key=lambda pod: str(pod["metadata"].get("name")))
    youngest = sorted(names, key=_created, reverse=True)
    name: str = min(youngest, key=_cost)["metadata"]["name"]
    return name


def _is_ready(pod: KubeObject) -> bool:
    conditions = at(pod, ("status", "conditions")) or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _created(pod: KubeObject) -> str:
    return str(at(pod, ("metadata", "creationTimestamp")) or "")


def _cost(pod: KubeObject) -> int:
    """Its deletion cost; 0 where it has none or one that is no number."""
    try:
        return int(at(pod, _DELETION_COST) or 0)
    except ValueError:
        return 0
