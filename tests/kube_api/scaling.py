"""The scale subresource of any resource that has one."""

import copy


def as_scale(resource, obj):
    """The Scale of an object."""
    replicas_path, status_path, selector_path = resource.scale_paths
    scale = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: obj["metadata"][key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        },
        "spec": {"replicas": _at(obj, replicas_path) or 0},
        "status": {"replicas": _at(obj, status_path) or 0},
    }
    if selector_path and (selector := _at(obj, selector_path)):
        scale["status"]["selector"] = selector
    return scale


def set_replicas(resource, obj, replicas):
    """The object with another number of replicas."""
    after = copy.deepcopy(obj)
    node, names = after, resource.scale_paths[0].strip(".").split(".")
    for name in names[:-1]:
        node = node.setdefault(name, {})
    node[names[-1]] = replicas
    return after


def _at(obj, path):
    for name in path.strip(".").split("."):
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj
