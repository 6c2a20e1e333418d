"""The kinds that the capper reads and writes: their paths, and where each keeps its bounds. Pure.

KServe and KEDA: field names and defaults as in their CRDs (serving.kserve.io v1beta1 and v1alpha2,
keda.sh v1alpha1); autoscaling/v2 and apps/v1 as in Kubernetes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KubeObject = dict[str, Any]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind.

    Attributes:
        name: Kind.
        api_version: Group and version that is spoken.
        plural: In paths.
        max_path: Field of the largest number of replicas; None: it has none.
        min_path: Field of the smallest.
        default_min: Where that is not set.
        default_max: Where the largest is not set; None: not bounded.
    """

    name: str
    api_version: str
    plural: str
    max_path: Path | None = None
    min_path: Path | None = None
    default_min: int = 1
    default_max: int | None = None


SCALED_OBJECT = Kind(
    name="ScaledObject",
    api_version="keda.sh/v1alpha1",
    plural="scaledobjects",
    max_path=("spec", "maxReplicaCount"),
    min_path=("spec", "minReplicaCount"),
    default_min=0,
    default_max=100,
)
INFERENCE_SERVICE = Kind(
    name="InferenceService",
    api_version="serving.kserve.io/v1beta1",
    plural="inferenceservices",
    max_path=("spec", "predictor", "maxReplicas"),
    min_path=("spec", "predictor", "minReplicas"),
)
LLM_INFERENCE_SERVICE = Kind(
    name="LLMInferenceService",
    api_version="serving.kserve.io/v1alpha2",
    plural="llminferenceservices",
    max_path=("spec", "scaling", "maxReplicas"),
    min_path=("spec", "scaling", "minReplicas"),
)
AUTOSCALER = Kind(
    name="HorizontalPodAutoscaler",
    api_version="autoscaling/v2",
    plural="horizontalpodautoscalers",
    max_path=("spec", "maxReplicas"),
    min_path=("spec", "minReplicas"),
)
DEPLOYMENT = Kind(name="Deployment", api_version="apps/v1", plural="deployments")
STATEFUL_SET = Kind(name="StatefulSet", api_version="apps/v1", plural="statefulsets")
LEADER_WORKER_SET = Kind(
    name="LeaderWorkerSet",
    api_version="leaderworkerset.x-k8s.io/v1",
    plural="leaderworkersets",
)
POWER_CAPPING_CONFIG = Kind(
    name="PowerCappingConfig",
    api_version="powercapping.climatik-project.ai/v1",
    plural="powercappingconfigs",
)
POD = Kind(name="Pod", api_version="v1", plural="pods")
EVENT = Kind(name="Event", api_version="v1", plural="events")
LEASE = Kind(name="Lease", api_version="coordination.k8s.io/v1", plural="leases")
DISRUPTION_BUDGET = Kind(
    name="PodDisruptionBudget", api_version="policy/v1", plural="poddisruptionbudgets"
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        SCALED_OBJECT,
        INFERENCE_SERVICE,
        LLM_INFERENCE_SERVICE,
        AUTOSCALER,
        DEPLOYMENT,
        STATEFUL_SET,
        LEADER_WORKER_SET,
    )
}
KSERVE = frozenset({INFERENCE_SERVICE.name, LLM_INFERENCE_SERVICE.name})
"""Owners that put their children back: they are written instead."""


def at(obj: Mapping[str, Any], path: Path) -> Any:
    """The value at a path, None where any part is missing."""
    value: Any = obj
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def placed(path: Path, value: Any) -> KubeObject:
    """An object with nothing but `value` at `path`."""
    for part in reversed(path):
        value = {part: value}
    nested: KubeObject = value
    return nested


def merged(*objects: Mapping[str, Any]) -> KubeObject:
    """Objects laid over each other, nested ones too."""
    result: KubeObject = {}
    for obj in objects:
        for key, value in obj.items():
            known = result.get(key)
            both = isinstance(known, dict) and isinstance(value, Mapping)
            result[key] = merged(known, value) if both and known is not None else value
    return result


def managers(obj: Mapping[str, Any], path: Path) -> Iterator[tuple[str, str]]:
    """(name, operation) of the managers that own the field at `path`, or all of what it is in."""
    for entry in at(obj, ("metadata", "managedFields")) or ():
        owned = entry.get("fieldsV1") or {}
        for part in path:
            owned = owned.get(f"f:{part}")
            if not owned:  # not there, or an atomic whole
                break
        if owned is not None:
            yield entry["manager"], entry["operation"]


def controller_of(obj: Mapping[str, Any]) -> tuple[str, str] | None:
    """(kind, name) of the owner that controls the object."""
    for owner in at(obj, ("metadata", "ownerReferences")) or ():
        if owner.get("controller"):
            return owner["kind"], owner["name"]
    return None
