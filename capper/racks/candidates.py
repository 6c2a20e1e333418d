"""Pods as the decisions take them: what each draws, where it may go, whose it is. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from capper.api.room_blocks import Placement
from capper.decide.gates import Fate, GateDecision, GatedPod, GateRules, RoomView
from capper.decide.placement import rank
from capper.decide.plan import Plan, TargetDecision
from capper.decide.policy import Mode, Policy
from capper.operator.report import TurnReport
from capper.racks.node_fit import Labels, open_racks, racks_of
from capper.racks.pods import Pod, age_seconds, declared_watts, nodes_to_racks, owner_of, rack_of

_OWNERS = ("Deployment", "StatefulSet", "LeaderWorkerSet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The cluster as one configuration sees it.

    Attributes:
        pods: Of its namespace.
        nodes: With their labels.
        gated: Pods at their gate that are its to place.
    """

    pods: Sequence[Pod]
    nodes: Sequence[Pod]
    gated: Sequence[Pod]

    def racks(self, placement: Placement) -> dict[str, list[Labels]]:
        """Labels of the nodes of each rack."""
        return racks_of(self.nodes, placement.rack_label)


class Candidate(NamedTuple):
    """A replica of a target.

    Attributes:
        pod: It.
        rack: Where it runs.
        watts: Of one replica; None: unknown.
        open_racks: Where else it may go.
    """

    pod: Pod
    rack: str | None
    watts: float | None
    open_racks: frozenset[str]


class Wish(NamedTuple):
    """Where a Deployment's pods should go.

    Attributes:
        name: Of the Deployment.
        racks: With room, best first.
    """

    name: str
    racks: Sequence[str]


def owners_of(policy: Policy, plan: Plan) -> dict[str, TargetDecision]:
    """Owner of pods -> what was decided for its target."""
    decided = {one.ref: one for one in plan.targets}
    return {
        one.backend: decided[one.ref]
        for one in policy.targets
        if one.backend is not None and one.ref in decided
    }


def watts_of(pod: Pod, owners: Mapping[str, TargetDecision], placement: Placement) -> float | None:
    """By its annotation, its target's figure, the block's, or the largest of all targets'."""
    owned = owners.get(owner_of(pod) or "")
    known = [one.replica_watts for one in owners.values() if one.replica_watts is not None]
    told = (
        declared_watts(pod),
        None if owned is None else owned.replica_watts,
        placement.watts_per_replica,
        max(known, default=None),
    )
    return next((watts for watts in told if watts is not None and watts > 0.0), None)


def service_of(pod: Pod, services: Collection[str]) -> str | None:
    """The service of smoothing that it is a replica of, "Kind/namespace/workload"; None: none."""
    namespace, name = pod["metadata"]["namespace"], owner_of(pod)
    named = (f"{kind}/{namespace}/{name}" for kind in _OWNERS)
    return next((one for one in named if one in services), None)


def gated_pods(
    seen: Seen,
    report: TurnReport,
    placement: Placement,
    *,
    now_epoch_seconds: float,
    services: Collection[str] = (),
) -> list[GatedPod]:
    """The pods at their gate; `services` are those that smoothing knows."""
    owners = owners_of(report.policy, report.plan)
    racks = seen.racks(placement)
    return [
        GatedPod(
            key=pod["metadata"]["uid"],
            age_seconds=age_seconds(pod, now_epoch_seconds),
            watts=watts_of(pod, owners, placement),
            racks=open_racks(pod, racks),
            service=service_of(pod, services),
        )
        for pod in seen.gated
    ]


def not_in_force(decisions: Sequence[GateDecision], why: str) -> tuple[GateDecision, ...]:
    """Every gate lifted as it is; where it would have gone is said."""
    return tuple(
        GateDecision(
            key=one.key,
            fate=Fate.LET_GO,
            reason=why if one.rack is None else f"{why}; it would have gone to rack {one.rack}",
        )
        for one in decisions
    )


def why_not_in_force(placement: Placement, mode: Mode, known: bool) -> str:
    """Why no pod is placed at all; empty: they are.

    Args:
        placement: The block.
        mode: Of the configuration.
        known: Whether a node carries the rack label.
    """
    if mode is not Mode.ENFORCE:
        return f"the mode is {mode.value}"
    if placement.mode != "SchedulingGates":
        return f"placement.mode is {placement.mode}"
    if not known:
        return f"no node that can be seen carries the label {placement.rack_label}"
    return ""


def candidates(seen: Seen, report: TurnReport, placement: Placement) -> list[Candidate]:
    """Replicas of the configuration's targets that run."""
    owners = owners_of(report.policy, report.plan)
    racks = seen.racks(placement)
    by_node = nodes_to_racks(seen.nodes, placement.rack_label)
    return [
        Candidate(
            pod, rack_of(pod, by_node), watts_of(pod, owners, placement), open_racks(pod, racks)
        )
        for pod in seen.pods
        if owner_of(pod) in owners
    ]


def wishes(
    owners: Mapping[str, TargetDecision], room: RoomView, placement: Placement, rules: GateRules
) -> list[Wish]:
    """Where each Deployment's pods should go, by the rack for one more of them."""
    found = []
    for name, decision in sorted(owners.items()):
        watts = decision.replica_watts or placement.watts_per_replica
        if watts is None or not decision.ref.startswith(("Deployment/", "ScaledObject/")):
            continue
        ranking = rank(
            rules.policy,
            room.racks,
            room.feeds,
            replica_watts=watts,
            model=room.model,
            factors=room.factors,
            rules=rules.placement,
        )
        found.append(Wish(name, [choice.rack for choice in ranking.choices]))
    return found
