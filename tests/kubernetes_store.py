"""The pure half of Kubernetes discovery on objects of a test's own making."""

from kube_objects import inference_pool

from telemetry.kubernetes.endpoints import find
from telemetry.kubernetes.objects import Store, WatchKey, wanted
from telemetry.kubernetes.settings import KubernetesSettings, Target, TargetKind
from telemetry.kubernetes.view import build_view
from telemetry.served_models import ServedModels

NAMESPACE = "llm"
LLAMA = ServedModels(base=("llama-8b",), root="meta-llama/Llama-3.1-8B")
_PLURALS = {
    "Pod": "pods",
    "Node": "nodes",
    "Service": "services",
    "EndpointSlice": "endpointslices",
    "InferencePool": "inferencepools",
    "InferenceObjective": "inferenceobjectives",
    "InferenceModelRewrite": "inferencemodelrewrites",
}


def pool_target(name="pool"):
    return Target(kind=TargetKind.INFERENCE_POOL, namespace=NAMESPACE, name=name)


def settings_for(*targets, **changes):
    return KubernetesSettings(targets=targets or (pool_target(),), **changes)


def identified(obj, *, created="2026-01-01T00:00:00Z"):
    """With what the API server adds."""
    metadata = obj["metadata"]
    uid = metadata.get("uid") or f"uid-{metadata.get('namespace')}-{metadata['name']}"
    return {**obj, "metadata": {"creationTimestamp": created, **metadata, "uid": uid}}


def llama_pool(name="pool", ports=(8000,), **changes):
    return identified(inference_pool(NAMESPACE, name, {"app": "llama"}, ports), **changes)


def selects(key: WatchKey, obj):
    """As the API server decides what a watch shows."""
    metadata = obj["metadata"]
    labels = metadata.get("labels", {})
    pairs = [part.split("=") for part in key.labels.split(",") if part]
    return (
        key.plural == _PLURALS[obj["kind"]]
        and key.namespace in ("", metadata.get("namespace"))
        and all(labels.get(name) == value for name, value in pairs)
        and key.fields in ("", f"metadata.name={metadata['name']}")
    )


def listed(settings, objects):
    """A store of fresh lists of everything wanted, found out step by step as the shell does."""
    store = Store()
    while missing := [key for key in wanted(settings, store) if not store.has(key)]:
        for key in missing:
            store.replace(key, [obj for obj in objects if selects(key, obj)])
    return store


def view_of(settings, objects, served=None):
    """The view of `objects` where every replica serves LLAMA unless told otherwise."""
    store = listed(settings, objects)
    found = find(settings, store)
    everywhere = {endpoint.address: LLAMA for endpoint in found.endpoints}
    return build_view(settings, store, found, everywhere if served is None else served)


def addresses(view):
    return [replica.address for replica in view.fleet.replicas()]
