"""The one patch of a gated pod: where it goes, what is reserved for it, its gate gone. Pure.

While a pod is gated its node selection may be narrowed and no more (KEP-3838): selectors are added,
terms get expressions, preferences may change. One merge patch does all of it, so that a capper that
dies leaves a pod either gated as it was or placed with its reservation.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from capper.kube.kinds import KubeObject, at
from capper.racks.marks import GATE, RACK_LABEL, RESERVED_UNTIL, RESERVED_WATTS

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT = 100


def placed(
    pod: Mapping[str, Any],
    *,
    rack: str,
    rack_label: str,
    watts: float,
    until_epoch_seconds: float,
    require: bool = False,
    avoid: Sequence[str] = (),
) -> KubeObject:
    """The merge patch that sends a gated pod to a rack.

    Args:
        pod: As it is.
        rack: Chosen.
        rack_label: Node label that names racks.
        watts: Reserved there.
        until_epoch_seconds: When the reservation ends in any case.
        require: Only that rack, not only rather that rack.
        avoid: Racks that it must not go to.
    """
    spec = _ungated(pod)
    if require:
        spec["nodeSelector"] = {rack_label: rack}
    elif at(pod, ("spec", "nodeSelector", rack_label)) is None:
        spec["affinity"] = {"nodeAffinity": narrowed(pod, rack, rack_label, avoid)}
    return {
        **_same(pod),
        "metadata": {
            **_same(pod)["metadata"],
            "labels": {RACK_LABEL: rack},
            "annotations": {
                RESERVED_WATTS: f"{watts:.0f}",
                RESERVED_UNTIL: f"{until_epoch_seconds:.0f}",
            },
        },
        "spec": spec,
    }


def let_go(pod: Mapping[str, Any]) -> KubeObject:
    """The merge patch that lifts the gate and changes nothing else."""
    return {**_same(pod), "spec": _ungated(pod)}


def is_gated(pod: Mapping[str, Any]) -> bool:
    """Whether it waits at our gate."""
    return GATE in {gate.get("name") for gate in at(pod, ("spec", "schedulingGates")) or ()}


def narrowed(
    pod: Mapping[str, Any], rack: str, rack_label: str, avoid: Sequence[str]
) -> dict[str, Any]:
    """Its node affinity with the rack preferred, and those to avoid excluded."""
    affinity = copy.deepcopy(at(pod, ("spec", "affinity", "nodeAffinity"))) or {}
    wish = {
        "weight": _WEIGHT,
        "preference": {"matchExpressions": [_expression(rack_label, "In", [rack])]},
    }
    found: dict[str, Any] = {**affinity, _PREFERRED: [*(affinity.get(_PREFERRED) or ()), wish]}
    if avoid:
        away = _expression(rack_label, "NotIn", sorted(avoid))
        terms = at(affinity, (_REQUIRED, "nodeSelectorTerms")) or [{}]
        first = not affinity.get(_REQUIRED)
        found[_REQUIRED] = {
            "nodeSelectorTerms": [
                # An empty term of the user's selects nothing, and must stay as it is.
                {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), away]}
                if term or first
                else term
                for term in terms
            ]
        }
    return found


def _expression(key: str, operator: str, values: list[str]) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": values}


def _same(pod: Mapping[str, Any]) -> KubeObject:
    """Makes the API server refuse the patch for a pod of the same name that is another one."""
    return {"metadata": {"uid": pod["metadata"]["uid"]}}


def _ungated(pod: Mapping[str, Any]) -> dict[str, Any]:
    gates = at(pod, ("spec", "schedulingGates")) or ()
    others = [gate for gate in gates if gate.get("name") != GATE]
    return {"schedulingGates": others or None}
