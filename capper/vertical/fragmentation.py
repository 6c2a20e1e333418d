"""GPUs that are free and that no next replica can use, and what would help. Pure.

Only node selectors are looked at: affinity, taints and topology spread may keep more from fitting.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from capper.kube.kinds import KubeObject, at
from capper.vertical.requests import Requests, pod_requests, requests_of_resources

_ENDED = frozenset({"Succeeded", "Failed"})
_GIBIBYTE = 1024.0**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The next replica of a target.

    Attributes:
        target: Its name in sentences.
        requests: What it asks for.
        node_selector: Labels that its node must have.
        recommended: What a VerticalPodAutoscaler recommends that it asks for; None: nothing.
    """

    target: str
    requests: Requests
    node_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    recommended: Requests | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRoom:
    """A node that takes pods.

    Attributes:
        name: Its name.
        free: What is not asked for by its pods.
        labels: Of the node.
    """

    name: str
    free: Requests
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """Free GPUs of a node that nothing can use.

    Attributes:
        node: Where.
        resource: Which GPUs.
        gpus: How many.
        suggestion: One sentence.
    """

    node: str
    resource: str
    gpus: int
    suggestion: str


def rooms(nodes: Iterable[KubeObject], pods: Iterable[KubeObject]) -> list[NodeRoom]:
    """What is free on the nodes that are open for new pods."""
    taken: dict[str, Requests] = {}
    for pod in pods:
        node = at(pod, ("spec", "nodeName"))
        if node and at(pod, ("status", "phase")) not in _ENDED:
            taken[node] = taken.get(node, Requests()).plus(pod_requests(pod["spec"]))
    found = []
    for node in nodes:
        if at(node, ("spec", "unschedulable")):
            continue
        name = node["metadata"]["name"]
        allocatable = requests_of_resources(at(node, ("status", "allocatable")))
        found.append(
            NodeRoom(
                name=name,
                free=allocatable.plus(taken.get(name, Requests()), -1),
                labels=at(node, ("metadata", "labels")) or {},
            )
        )
    return found


def fragments(nodes: Sequence[NodeRoom], needs: Sequence[Need]) -> list[Fragment]:
    """Free GPUs by node that no next replica of any target fits, nodes in order of their names.

    GPUs of a resource that no target on that node asks for are somebody else's.
    """
    found = []
    for node in sorted(nodes, key=lambda one: one.name):
        for resource, count in sorted(node.free.gpus.items()):
            users = [one for one in needs if _may_run(one, node, resource)]
            if count > 0 and users and not any(_fits(one.requests, node.free) for one in users):
                suggestion = min(
                    (_hint(one, node, resource) for one in users), key=lambda it: it[0]
                )
                found.append(
                    Fragment(
                        node=node.name, resource=resource, gpus=count, suggestion=suggestion[1]
                    )
                )
    return found


def _may_run(need: Need, node: NodeRoom, resource: str) -> bool:
    if not need.requests.gpus.get(resource):
        return False
    return all(node.labels.get(key) == value for key, value in need.node_selector.items())


def _fits(requests: Requests, free: Requests) -> bool:
    return not any(_short(requests, free))


def _short(requests: Requests, free: Requests) -> Iterator[str]:
    for name, count in requests.gpus.items():
        if count > free.gpus.get(name, 0):
            yield name
    if requests.cpu_cores > free.cpu_cores:
        yield "cpu"
    if requests.memory_bytes > free.memory_bytes:
        yield "memory"


def _hint(need: Need, node: NodeRoom, resource: str) -> tuple[int, str]:
    """(how hard, sentence); CPU and memory are changed more easily than GPUs per replica."""
    short = list(_short(need.requests, node.free))
    lacking = [name for name in short if name in ("cpu", "memory")]
    if len(lacking) < len(short):
        gpus, free = need.requests.gpus[resource], node.free.gpus.get(resource, 0)
        if gpus <= free:
            other = next(name for name in short if name not in lacking)
            return (2, f"{need.target} also needs {other}, which {node.name} lacks.")
        sentence = (
            f"{need.target} needs {gpus} GPUs a replica: a set-up with {free} a replica would fit,"
            f" or put replicas of {gpus} GPUs on nodes of their own so that none are left over."
        )
        return (1, sentence)
    asked = " and ".join(_amount(name, need.requests) for name in lacking)
    there = " and ".join(_amount(name, node.free) for name in lacking)
    sentence = (
        f"{need.target} asks for {asked} a replica, and {there} are left there: lower the request"
    )
    if need.recommended is not None and _fits(need.recommended, node.free):
        told = " and ".join(_amount(name, need.recommended) for name in lacking)
        sentence += f", its VerticalPodAutoscaler recommends {told}, which would fit"
    return (0, f"{sentence}.")


def _amount(resource: str, requests: Requests) -> str:
    if resource == "cpu":
        return f"{max(requests.cpu_cores, 0.0):.3g} cores"
    return f"{max(requests.memory_bytes, 0.0) / _GIBIBYTE:.3g} GiB"
