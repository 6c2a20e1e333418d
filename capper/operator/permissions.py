"""What the capper may do in a cluster: one table, from which the ClusterRole is made. Pure.

tests/cluster/test_operator_permissions.py runs the whole operator as a user with exactly these
rules and compares the table with the requests that were made: neither more nor less.
"""

from typing import Any, NamedTuple

from capper.api import GROUP, PLURAL


class Permission(NamedTuple):
    """One rule.

    Attributes:
        group: API group; "" is the core group.
        resource: Plural, with its subresource after a slash.
        verbs: Allowed on it.
        why: Reason, for the reader of the role.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str


PERMISSIONS: tuple[Permission, ...] = (
    Permission(GROUP, PLURAL, ("get", "list", "watch", "patch"), "to follow; finalizer"),
    Permission(GROUP, f"{PLURAL}/status", ("patch",), "what was seen, decided and done"),
    Permission("", "events", ("create",), "one for each action"),
    Permission("coordination.k8s.io", "leases", ("get", "create", "patch"), "one leader"),
    Permission("keda.sh", "scaledobjects", ("get", "list", "patch"), "maxReplicaCount, pause"),
    Permission("serving.kserve.io", "inferenceservices", ("get", "list", "patch"), "maxReplicas"),
    Permission(
        "serving.kserve.io", "llminferenceservices", ("get", "list", "patch"), "maxReplicas"
    ),
    Permission(
        "autoscaling", "horizontalpodautoscalers", ("get", "list", "patch"), "wishes, maxReplicas"
    ),
    Permission("apps", "deployments", ("get", "list", "patch"), "replicas, the value before ours"),
    Permission("apps", "deployments/scale", ("patch",), "of those that nothing scales"),
    Permission("apps", "statefulsets", ("get", "list", "patch"), "as of deployments"),
    Permission("apps", "statefulsets/scale", ("patch",), "as of deployments"),
    Permission("leaderworkerset.x-k8s.io", "leaderworkersets", ("get", "list"), "replicas"),
    Permission("policy", "poddisruptionbudgets", ("list",), "floors"),
    Permission("", "pods", ("list",), "which one to evict, where that is asked for"),
    Permission("", "pods/eviction", ("create",), "emergency eviction, off by default"),
    Permission("", "pods", ("watch", "patch"), "gates and racks of new pods, deletion costs"),
    Permission("", "nodes", ("list", "watch"), "which racks there are, by their labels"),
    Permission(
        "autoscaling.k8s.io", "verticalpodautoscalers", ("list",), "requests of the next replica"
    ),
)


def rules() -> list[dict[str, Any]]:
    """The rules of a ClusterRole."""
    return [
        {"apiGroups": [one.group], "resources": [one.resource], "verbs": list(one.verbs)}
        for one in PERMISSIONS
    ]
