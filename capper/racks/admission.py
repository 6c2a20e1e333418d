"""What the webhook answers: a pod that is created gets the gate, everything else passes. Pure.

AdmissionReview and JSONPatch as in admission.k8s.io/v1. Nothing is asked of anybody, so an answer
takes no longer than reading the pod.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from capper.racks.marks import GATE, OPT_IN_LABEL

_API_VERSION = "admission.k8s.io/v1"


class ReviewError(Exception):
    """The body is no AdmissionReview; the sentence says why."""


def answer(body: bytes) -> tuple[dict[str, Any], bool]:
    """The review with its response, and whether the pod is gated now.

    Raises:
        ReviewError: The body is not an AdmissionReview of admission.k8s.io/v1.
    """
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ReviewError("the body is not JSON.") from error
    request = review.get("request") if isinstance(review, dict) else None
    if not isinstance(request, dict) or review.get("apiVersion") != _API_VERSION:
        raise ReviewError(f"the body is not an AdmissionReview of {_API_VERSION} with a request.")
    uid = request.get("uid")
    if not isinstance(uid, str) or not uid:
        raise ReviewError("request.uid: must be a text.")
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    patch = _patch(request)
    if patch:
        encoded = base64.b64encode(json.dumps(patch).encode()).decode()
        response |= {"patchType": "JSONPatch", "patch": encoded}
    return {"apiVersion": _API_VERSION, "kind": "AdmissionReview", "response": response}, bool(
        patch
    )


def _patch(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Adds the gate to a pod on its way into a cluster; nothing for anything else."""
    if request.get("operation") != "CREATE" or request.get("subResource"):
        return []
    kind, pod = request.get("kind"), request.get("object")
    if not isinstance(kind, Mapping) or kind.get("kind") != "Pod" or kind.get("group"):
        return []
    spec = pod.get("spec") if isinstance(pod, Mapping) else None
    if not isinstance(pod, Mapping) or not isinstance(spec, Mapping):
        return []
    gates = spec.get("schedulingGates") or []
    # A pod that has a node already cannot have a gate: the API server would refuse it.
    if spec.get("nodeName") or _opted_out(pod) or GATE in _names(gates):
        return []
    if not gates:
        return [{"op": "add", "path": "/spec/schedulingGates", "value": [{"name": GATE}]}]
    return [{"op": "add", "path": "/spec/schedulingGates/-", "value": {"name": GATE}}]


def _opted_out(pod: Mapping[str, Any]) -> bool:
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return labels.get(OPT_IN_LABEL) == "disabled"


def _names(gates: Any) -> set[str]:
    found = gates if isinstance(gates, list) else []
    return {str(gate.get("name")) for gate in found if isinstance(gate, Mapping)}
