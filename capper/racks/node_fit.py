"""Which racks have a node that a pod may go to, by the nodes' labels. Pure.

Labels only: whether a node has free boards is the scheduler's to know. Semantics of nodeSelector
and required node affinity as in Kubernetes; fields of nodes are not looked at.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from capper.kube.kinds import at

Labels = Mapping[str, str]


def racks_of(nodes: Iterable[Mapping[str, Any]], rack_label: str) -> dict[str, list[Labels]]:
    """Labels of the nodes of each rack."""
    found: dict[str, list[Labels]] = {}
    for node in nodes:
        labels = at(node, ("metadata", "labels")) or {}
        if labels.get(rack_label):
            found.setdefault(labels[rack_label], []).append(labels)
    return found


def open_racks(pod: Mapping[str, Any], racks: Mapping[str, Iterable[Labels]]) -> frozenset[str]:
    """Racks with a node that the pod's selector and required affinity let it go to."""
    return frozenset(
        rack for rack, nodes in racks.items() if any(_fits(pod, labels) for labels in nodes)
    )


def _fits(pod: Mapping[str, Any], labels: Labels) -> bool:
    selector = at(pod, ("spec", "nodeSelector")) or {}
    if not selector.items() <= labels.items():
        return False
    path = ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    terms = at(pod, ("spec", "affinity", *path))
    return terms is None or any(_matches(term, labels) for term in terms)


def _matches(term: Mapping[str, Any], labels: Labels) -> bool:
    asked = term.get("matchExpressions") or ()
    if not asked and not term.get("matchFields"):
        return False  # an empty term selects no node
    return all(_holds(one, labels) for one in asked)


def _holds(asked: Mapping[str, Any], labels: Labels) -> bool:
    value, values = labels.get(asked["key"]), asked.get("values") or ()
    bound, number = _number(next(iter(values), None)), _number(value)
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
        "Gt": number is not None and bound is not None and number > bound,
        "Lt": number is not None and bound is not None and number < bound,
    }
    return answers.get(asked.get("operator", ""), False)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
