"""The conditions that placement adds to a configuration's status. Pure."""

from collections.abc import Mapping, Sequence

from capper.api.room_blocks import Placement
from capper.decide.policy import Mode
from capper.racks.matrix import MatrixInForce

_RESTARTS = "each change of a template's affinity starts every pod of that Deployment anew"

Conditions = dict[str, tuple[bool, str, str]]


def conditions_of(
    placement: Placement,
    mode: Mode,
    *,
    racks: Sequence[str],
    nodes: Mapping[str, int],
    matrix: MatrixInForce,
    doubts: Sequence[str],
    problems: Sequence[str],
) -> Conditions:
    """Type -> (holds, reason, sentence).

    Args:
        placement: The block.
        mode: Of the configuration.
        racks: Of `rackConstraints`.
        nodes: Nodes by rack.
        matrix: In force.
        doubts: Sensors that are not believed.
        problems: Queries and writes that failed.
    """
    found: Conditions = {"PlacementReady": _ready(placement, mode, racks, nodes, problems)}
    if matrix.problem:
        found["MatrixUnusable"] = (True, "MatrixUnusable", _sentence([matrix.problem]))
    if doubts:
        found["RackSensorDoubted"] = (True, "RackSensorDoubted", _sentence(doubts))
    if placement.mode == "DeploymentAffinity":
        found["RestartsPods"] = (True, "DeploymentAffinity", _sentence([_RESTARTS]))
    return found


def not_yet(why: str) -> Conditions:
    """While nothing can be placed because something is not known yet."""
    return {"PlacementReady": (False, "NotKnownYet", _sentence([why]))}


def _ready(
    placement: Placement,
    mode: Mode,
    racks: Sequence[str],
    nodes: Mapping[str, int],
    problems: Sequence[str],
) -> tuple[bool, str, str]:
    known = [rack for rack in racks if nodes.get(rack)]
    if not racks:
        return (False, "NoRacks", "rackConstraints names no rack.")
    if not known:
        label = placement.rack_label
        return (False, "NoNodes", f"No node carries the label {label} with a rack of the list.")
    if mode is not Mode.ENFORCE:
        return (False, mode.value, f"The mode is {mode.value}: gates are lifted as they are.")
    if problems:
        return (False, "Troubled", _sentence(problems))
    lacking = [rack for rack in racks if rack not in known]
    said = f"{len(known)} of {len(racks)} racks have nodes"
    return (True, "Placing", _sentence([said, *(f"{rack} has none" for rack in lacking)]))


def _sentence(parts: Sequence[str]) -> str:
    return "; ".join(part.removesuffix(".") for part in parts) + "."
