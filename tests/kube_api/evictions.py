"""The Eviction subresource of pods: a pod goes as its disruption budgets allow."""

import copy

from kube_api.failures import ApiError
from kube_api.writes import lookup

_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


def evict(store, writes, resource, namespace, name):
    """Delete the pod and note it in its budget, or 429."""
    pod = lookup(store, resource, namespace, name)
    labels = pod["metadata"].get("labels", {})
    for budget in store.objects("poddisruptionbudgets.policy", namespace):
        selector = budget["spec"].get("selector", {}).get("matchLabels", {})
        if not selector.items() <= labels.items():
            continue
        allowed = budget.get("status", {}).get("disruptionsAllowed", 0)
        if allowed <= 0:
            raise ApiError(429, _REFUSED, reason="TooManyRequests")
        noted = copy.deepcopy(budget)
        noted["status"]["disruptionsAllowed"] = allowed - 1
        store.write("poddisruptionbudgets.policy", noted)
    writes.delete(resource, pod)
    return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
