"""The rules of the API server for pods that matter to placement and draining."""

from kube_api.failures import invalid

_MUTABLE = ("activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeSelector", "affinity")
_GRACE_SECONDS = 30


def admit(pod):
    """A new pod: pending, and gated when it has scheduling gates."""
    status = pod.setdefault("status", {})
    status["phase"] = "Pending"
    if pod["spec"].get("schedulingGates"):
        status["conditions"] = [
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
        ]


def check_update(resource, before, after):
    """Gates only ever go; while there are any, node selection may be narrowed; the rest stays."""
    name, old, new = before["metadata"]["name"], before["spec"], after["spec"]
    problems = []
    gates = [{gate["name"] for gate in spec.get("schedulingGates", ())} for spec in (old, new)]
    if not gates[1] <= gates[0]:
        problems.append(("spec.schedulingGates", "Forbidden: only deletion is allowed"))
    changed = [
        field
        for field in sorted({*old, *new})
        if old.get(field) != new.get(field) and field not in _MUTABLE and not _images(field)
    ]
    selector = old.get("nodeSelector") or {}
    if old.get("nodeSelector") != new.get("nodeSelector"):
        narrowed = selector.items() <= (new.get("nodeSelector") or {}).items()
        if not gates[0] or not narrowed:
            changed.append("nodeSelector")
    if old.get("affinity") != new.get("affinity") and not gates[0]:
        changed.append("affinity")
    problems += [
        (f"spec.{field}", "Forbidden: pod updates may not change this field") for field in changed
    ]
    if problems:
        raise invalid(resource, name, problems)


def grace_seconds(pod, asked):
    """How long a pod is let terminate; one that no kubelet has is gone at once."""
    if not pod["spec"].get("nodeName"):
        return 0
    if asked is not None:
        return asked
    return pod["spec"].get("terminationGracePeriodSeconds", _GRACE_SECONDS)


def _images(field):
    return field in ("containers", "initContainers")
