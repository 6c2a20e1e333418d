"""Builders of Kubernetes objects with sensible defaults."""


def ready_pod(  # noqa: PLR0913 - a pod has that many sides, each with a default
    namespace,
    name,
    ip,
    *,
    labels=None,
    annotations=None,
    node="",
    owner=("ReplicaSet", "llama-6c9f"),
    gpus=1,
    gpu_resource="nvidia.com/gpu",
    ready=True,
):
    """A running pod; with a node name it is deleted gracefully, without one at once."""
    container = {"name": "main", "image": "vllm"}
    if gpus:
        container["resources"] = {"limits": {gpu_resource: str(gpus)}}
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels or {})}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if owner is not None:
        metadata["ownerReferences"] = [owner_reference(*owner)]
    status = {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    spec = {"containers": [container], **({"nodeName": node} if node else {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def owner_reference(kind, name):
    """A controller's mark on what it owns."""
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "name": name,
        "uid": f"uid-{kind}-{name}".lower(),
        "controller": True,
    }


def node(name, labels):
    """A node with labels."""
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": dict(labels)}}


def inference_pool(namespace, name, match_labels, ports=(8000,)):
    """An InferencePool of Gateway API Inference Extension v1."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "selector": {"matchLabels": dict(match_labels)},
            "targetPorts": [{"number": port} for port in ports],
            "endpointPickerRef": {"name": "headrace", "port": {"number": 9002}},
        },
    }


def endpoint_slice(namespace, name, service, endpoints, *, ports=((None, 8000),)):
    """An EndpointSlice; `endpoints` are (ip, pod name, conditions)."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [ip],
                "conditions": dict(conditions),
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
            }
            for ip, pod, conditions in endpoints
        ],
        "ports": [
            {"port": port, "protocol": "TCP", **({"name": label} if label else {})}
            for label, port in ports
        ],
    }


def of_pool(pool, *, group="inference.networking.k8s.io"):
    """A poolRef."""
    return {"group": group, "kind": "InferencePool", "name": pool}


def objective(namespace, name, pool, priority):
    """An InferenceObjective of llm-d."""
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceObjective",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"priority": priority, "poolRef": of_pool(pool)},
    }


def model_rewrite(namespace, name, pool, rules):
    """An InferenceModelRewrite; `rules` are (models, ((target, weight), ...))."""
    return {
        "apiVersion": "llm-d.ai/v1alpha2",
        "kind": "InferenceModelRewrite",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "poolRef": of_pool(pool),
            "rules": [
                {
                    "matches": [{"model": {"type": "Exact", "value": model}} for model in models],
                    "targets": [
                        {"modelRewrite": target, "weight": weight} for target, weight in targets
                    ],
                }
                for models, targets in rules
            ],
        },
    }
