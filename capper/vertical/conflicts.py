"""Where a horizontal and a vertical autoscaler pull at the same metric. Pure.

Both act on CPU (or memory) relative to requests: the vertical one changes the requests by which the
horizontal one measures, so each undoes the other's signal.
"""

from collections.abc import Iterable, Iterator, Sequence

from capper.kube.kinds import KubeObject, at
from capper.vertical.recommendation import RESOURCES, Vpa

_KEDA_PREFIX = "keda-hpa-"


def conflicts(
    vpas: Iterable[Vpa], scaled_objects: Sequence[KubeObject], autoscalers: Sequence[KubeObject]
) -> list[str]:
    """One sentence for each horizontal autoscaler that shares a metric with a vertical one.

    Args:
        vpas: Of one namespace; those that only recommend are in nobody's way.
        scaled_objects: KEDA's of that namespace.
        autoscalers: HorizontalPodAutoscalers of it; those that KEDA makes are told of as KEDA's.
    """
    found = []
    for vpa in vpas:
        if not vpa.acts:
            continue
        for scaler, resources in _scalers(vpa, scaled_objects, autoscalers):
            shared = sorted(resources & vpa.controlled())
            if shared:
                found.append(
                    f"{scaler} scales {'/'.join(vpa.target)} on {' and '.join(shared)}, whose"
                    f" requests VerticalPodAutoscaler {vpa.name} ({vpa.mode}) sets: leave them out"
                    " of controlledResources, set updateMode Off, or scale on another metric."
                )
    return found


def _scalers(
    vpa: Vpa, scaled_objects: Sequence[KubeObject], autoscalers: Sequence[KubeObject]
) -> Iterator[tuple[str, set[str]]]:
    """Horizontal autoscalers of the target, and the resources that they scale on."""
    for obj in scaled_objects:
        if _target(obj) == vpa.target:
            triggers = at(obj, ("spec", "triggers")) or ()
            kinds = {one.get("type") for one in triggers} & set(RESOURCES)
            yield f"ScaledObject {obj['metadata']['name']}", kinds
    for obj in autoscalers:
        name = obj["metadata"]["name"]
        if _target(obj) == vpa.target and not name.startswith(_KEDA_PREFIX):
            metrics = at(obj, ("spec", "metrics")) or ()
            yield f"HorizontalPodAutoscaler {name}", set(_resources(metrics))


def _resources(metrics: Sequence[KubeObject]) -> Iterator[str]:
    for metric in metrics:
        part = metric.get("resource") or metric.get("containerResource") or {}
        if part.get("name") in RESOURCES:
            yield part["name"]


def _target(obj: KubeObject) -> tuple[str, str]:
    ref = at(obj, ("spec", "scaleTargetRef")) or {}
    return (ref.get("kind", "Deployment"), ref.get("name", ""))
