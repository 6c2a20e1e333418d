"""What pods ask of a node: cores, bytes, GPUs. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from capper.kube.kinds import KubeObject, at

_QUANTITY = re.compile(
    r"^(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?P<suffix>[KMGTPE]i|[numkMGTPE])?$"
)
_SUFFIXES: dict[str | None, float] = {
    None: 1.0,
    **{letter: 1e-9 * 1000.0**power for power, letter in enumerate("num")},
    **{letter: 1000.0**power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)},
}
_GPU = re.compile(r"^(nvidia\.com/(gpu|mig-.+)|amd\.com/gpu|gpu\.intel\.com/.+)(\.shared)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What one pod or container asks for, or what a node has.

    Attributes:
        cpu_cores: Cores.
        memory_bytes: Bytes.
        gpus: Resource -> count: "nvidia.com/gpu", slices included.
    """

    cpu_cores: float = 0.0
    memory_bytes: float = 0.0
    gpus: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def plus(self, other: "Requests", sign: int = 1) -> "Requests":
        """The sum, or with a sign of -1 the difference."""
        names = {**self.gpus, **other.gpus}
        return Requests(
            cpu_cores=self.cpu_cores + sign * other.cpu_cores,
            memory_bytes=self.memory_bytes + sign * other.memory_bytes,
            gpus={name: self.gpus.get(name, 0) + sign * other.gpus.get(name, 0) for name in names},
        )


def quantity(text: Any) -> float | None:
    """A Kubernetes quantity ("250m", "1.5Gi", 2) in its base unit; None where it is none."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    match = _QUANTITY.match(str(text).strip())
    if match is None:
        return None
    value = float(match["number"]) * _SUFFIXES[match["suffix"]]
    return value if math.isfinite(value) and value >= 0.0 else None


def is_gpu(resource: str) -> bool:
    """Whether a resource is a GPU or a slice of one."""
    return _GPU.match(resource) is not None


def requests_of_resources(resources: Mapping[str, Any] | None) -> Requests:
    """Of a ResourceList; what is not a quantity counts as nothing asked for."""
    listed = resources or {}
    return Requests(
        cpu_cores=quantity(listed.get("cpu")) or 0.0,
        memory_bytes=quantity(listed.get("memory")) or 0.0,
        gpus={
            name: int(count)
            for name, text in listed.items()
            if is_gpu(name) and (count := quantity(text)) is not None
        },
    )


def container_requests(
    container: KubeObject, replaced: Mapping[str, Any] | None = None
) -> Requests:
    """Of one container, as the API server defaults them: a limit alone is the request, too.

    Args:
        container: Of a pod's spec.
        replaced: Requests that count instead, such as a recommendation.
    """
    limits = at(container, ("resources", "limits")) or {}
    requests = at(container, ("resources", "requests")) or {}
    return requests_of_resources({**limits, **requests, **(replaced or {})})


def pod_requests(
    spec: KubeObject, replaced: Mapping[str, Mapping[str, Any]] | None = None
) -> Requests:
    """Of a pod: the sum of its containers, at least its largest init container, and its overhead.

    Init containers that go on (`restartPolicy: Always`) count with the containers.

    Args:
        spec: Of the pod or of a template.
        replaced: Container name -> requests that count instead.
    """
    known = replaced or {}
    inits = spec.get("initContainers") or ()
    staying = [one for one in inits if one.get("restartPolicy") == "Always"]
    total = _sum(
        container_requests(one, known.get(one.get("name", "")))
        for one in (*(spec.get("containers") or ()), *staying)
    )
    for one in inits:
        if one not in staying:
            total = _largest(total, container_requests(one))
    return total.plus(requests_of_resources(spec.get("overhead")))


def _sum(parts: Iterable[Requests]) -> Requests:
    total = Requests()
    for one in parts:
        total = total.plus(one)
    return total


def _largest(one: Requests, other: Requests) -> Requests:
    names = {**one.gpus, **other.gpus}
    return Requests(
        cpu_cores=max(one.cpu_cores, other.cpu_cores),
        memory_bytes=max(one.memory_bytes, other.memory_bytes),
        gpus={name: max(one.gpus.get(name, 0), other.gpus.get(name, 0)) for name in names},
    )
