"""The cluster's objects as last seen: which are wanted, and how events change them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind

KubeObject = Mapping[str, Any]
"""An object as the API sends it; never changed."""

POOL_VERSIONS = {"inference.networking.k8s.io": "v1", "inference.networking.x-k8s.io": "v1alpha2"}
"""API group of an InferencePool -> the version that is read."""

_POLICY_GROUP, _POLICY_VERSION = "llm-d.ai", "v1alpha2"


class WatchKey(NamedTuple):
    """One list of objects to be kept current.

    Attributes:
        group: API group; "" for the core.
        version: Of the group.
        plural: Of the resource.
        namespace: "" for all, or for resources without.
        labels: Label selector.
        fields: Field selector.
        optional: The view is complete without it: its CRD may be absent, or the role not allow it.
        metadata_only: Labels and annotations are all that is needed.
    """

    group: str
    version: str
    plural: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    optional: bool = False
    metadata_only: bool = False

    def __str__(self) -> str:
        """For sentences."""
        resource = f"{self.plural}.{self.group}" if self.group else self.plural
        return f"{resource} in {self.namespace}" if self.namespace else resource


_LABELLED = ("namespace", "name", "labels")
_NOISE = ("managedFields", "resourceVersion", "generation")

NODES = WatchKey("", "v1", "nodes", optional=True, metadata_only=True)


class Store:
    """Objects by what they were watched as. Mutable, without I/O."""

    def __init__(self) -> None:
        """Start empty."""
        self._objects: dict[WatchKey, dict[tuple[str, str], KubeObject]] = {}

    def replace(self, key: WatchKey, objects: Iterable[KubeObject]) -> bool:
        """Take a fresh list; True when it tells anything new."""
        fresh = {_identity(obj): _essence(key, obj) for obj in objects}
        changed = self._objects.get(key) != fresh
        self._objects[key] = fresh
        return changed

    def apply(self, key: WatchKey, kind: str, obj: KubeObject) -> bool:
        """Take one event of a watch; True when it tells anything new."""
        known = self._objects.setdefault(key, {})
        if kind == "DELETED":
            return known.pop(_identity(obj), None) is not None
        essence = _essence(key, obj)
        changed = known.get(_identity(obj)) != essence
        known[_identity(obj)] = essence
        return changed

    def forget(self, keys: Iterable[WatchKey]) -> None:
        """Drop what is no longer watched."""
        for key in keys:
            self._objects.pop(key, None)

    def has(self, key: WatchKey) -> bool:
        """Whether a list has come."""
        return key in self._objects

    def of(self, key: WatchKey) -> list[KubeObject]:
        """The objects of a watch, by namespace and name."""
        known = self._objects.get(key, {})
        return [known[identity] for identity in sorted(known)]

    def one(self, key: WatchKey) -> KubeObject | None:
        """The only object of a watch, if it is there."""
        return next(iter(self.of(key)), None)


def wanted(settings: KubernetesSettings, store: Store) -> dict[WatchKey, None]:
    """Everything to be watched, as far as is known by now; ordered, without repetition."""
    keys = dict.fromkeys([NODES])
    for target in settings.targets:
        keys.update(dict.fromkeys(_of_target(target, store)))
    return keys


def pool_key(target: Target) -> WatchKey:
    """Of an InferencePool."""
    version = POOL_VERSIONS.get(target.group, "v1")
    fields = f"metadata.name={target.name}"
    return WatchKey(target.group, version, "inferencepools", target.namespace, fields=fields)


def service_key(target: Target) -> WatchKey:
    """Of a Service."""
    return WatchKey("", "v1", "services", target.namespace, fields=f"metadata.name={target.name}")


def slices_key(target: Target) -> WatchKey:
    """Of a Service's EndpointSlices."""
    labels = f"kubernetes.io/service-name={target.name}"
    return WatchKey("discovery.k8s.io", "v1", "endpointslices", target.namespace, labels)


def policy_keys(target: Target) -> tuple[WatchKey, WatchKey]:
    """InferenceObjectives and InferenceModelRewrites beside a pool."""
    objectives, rewrites = (
        WatchKey(_POLICY_GROUP, _POLICY_VERSION, plural, target.namespace, optional=True)
        for plural in ("inferenceobjectives", "inferencemodelrewrites")
    )
    return objectives, rewrites


def pods_key(target: Target, store: Store) -> WatchKey | None:
    """Of the pods of a target; None while its object, which has the selector, is not known."""
    labels = pod_labels(target, store)
    if not labels:
        return None
    selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    # A Service's slices already say which pods are ready: the pods only tell the hardware.
    optional = target.kind is TargetKind.SERVICE
    return WatchKey("", "v1", "pods", target.namespace, selector, optional=optional)


def pod_labels(target: Target, store: Store) -> Mapping[str, str]:
    """The labels that pods of a target must have; empty while not known."""
    match target.kind:
        case TargetKind.SELECTOR:
            return target.match_labels
        case TargetKind.INFERENCE_SERVICE:
            return {"serving.kserve.io/inferenceservice": target.name}
        case TargetKind.LLM_INFERENCE_SERVICE:
            # KServe labels prefill and multi-node worker pods otherwise: those take no requests.
            return {
                "app.kubernetes.io/part-of": "llminferenceservice",
                "app.kubernetes.io/name": target.name,
                "app.kubernetes.io/component": "llminferenceservice-workload",
            }
        case TargetKind.SERVICE:
            return at(store.one(service_key(target)), "spec", "selector") or {}
        case TargetKind.INFERENCE_POOL:
            selector = at(store.one(pool_key(target)), "spec", "selector") or {}
            return selector.get("matchLabels", {}) if _is_v1(target) else selector


def at(obj: KubeObject | None, *path: str) -> Any:
    """The value under nested keys, or None as soon as one is missing."""
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def named(obj: KubeObject) -> str:
    """Namespace and name, for sentences."""
    return "/".join(filter(None, _identity(obj)))


def _is_v1(target: Target) -> bool:
    return POOL_VERSIONS.get(target.group, "v1") == "v1"


def _of_target(target: Target, store: Store) -> Iterator[WatchKey]:
    if target.kind is TargetKind.INFERENCE_POOL:
        yield pool_key(target)
        yield from policy_keys(target)
    elif target.kind is TargetKind.SERVICE:
        yield service_key(target)
        yield slices_key(target)
    pods = pods_key(target, store)
    if pods is not None:
        yield pods


def _essence(key: WatchKey, obj: KubeObject) -> KubeObject:
    """What can matter of an object: nodes and their managers write themselves anew all the time."""
    metadata = obj["metadata"]
    if key.metadata_only:
        kept = {name: metadata[name] for name in _LABELLED if name in metadata}
        return {"metadata": kept}
    kept = {name: value for name, value in metadata.items() if name not in _NOISE}
    return {**obj, "metadata": kept}


def _identity(obj: KubeObject) -> tuple[str, str]:
    return at(obj, "metadata", "namespace") or "", at(obj, "metadata", "name") or ""
