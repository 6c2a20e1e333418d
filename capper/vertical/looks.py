"""What the VerticalPodAutoscalers of one configuration come to. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from capper.api.vertical_block import VerticalStatus
from capper.kube.kinds import KubeObject, at
from capper.vertical.conflicts import conflicts
from capper.vertical.fragmentation import Fragment, Need, fragments, rooms
from capper.vertical.host_share import HostRates, extra_watts
from capper.vertical.recommendation import Vpa, unsupported, vpa_of
from capper.vertical.requests import Requests, pod_requests

CONFLICT, UNSUPPORTED, FRAGMENTED, UNREAD = (
    "AutoscalerConflict",
    "VerticalUnsupported",
    "GpuFragmented",
    "VerticalUnread",
)
_SHOWN = 3


class UnreadError(Exception):
    """The cluster could not be read; the message is a whole sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPods:
    """A target, the owner of its pods, and the pods.

    Attributes:
        ref: Of the target, as it is written.
        namespace: Of all of it.
        owner: (kind, name) of what owns the pods.
        template: Spec that new pods get.
        pods: Specs of those that run.
    """

    ref: str
    namespace: str
    owner: tuple[str, str]
    template: KubeObject
    pods: Sequence[KubeObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was read of the cluster.

    Attributes:
        targets: Those whose pods' owner is known.
        vpas: VerticalPodAutoscalers of their namespaces.
        scaled_objects: KEDA's there.
        autoscalers: HorizontalPodAutoscalers there.
        nodes: All.
        pods: All.
        blind: Why nodes or pods are not all known, a sentence; empty: they are.
    """

    targets: Sequence[TargetPods] = ()
    vpas: Sequence[KubeObject] = ()
    scaled_objects: Sequence[KubeObject] = ()
    autoscalers: Sequence[KubeObject] = ()
    nodes: Sequence[KubeObject] = ()
    pods: Sequence[KubeObject] = ()
    blind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerticalLook:
    """What is said of them.

    Attributes:
        statuses: One for each target with a VerticalPodAutoscaler.
        extra_watts: Target -> host watts by which its next replica differs.
        conditions: Type -> (holds, reason, sentence); what does not hold is left out.
    """

    statuses: tuple[VerticalStatus, ...] = ()
    extra_watts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    conditions: Mapping[str, tuple[bool, str, str]] = field(
        default_factory=lambda: MappingProxyType({})
    )


def look_at(seen: Seen, rates: HostRates) -> VerticalLook:
    """Judge what was read.

    A VerticalPodAutoscaler that names GPUs is not used at all.
    """
    aimed = {(one.namespace, *one.owner) for one in seen.targets}
    refused = [problem for obj in seen.vpas if _aims(obj) in aimed for problem in unsupported(obj)]
    vpas = [
        vpa
        for obj in seen.vpas
        if not unsupported(obj)
        and (vpa := vpa_of(obj)) is not None
        and (vpa.namespace, *vpa.target) in aimed
    ]
    by_owner = {(vpa.namespace, *vpa.target): vpa for vpa in vpas}
    statuses, needs = [], []
    extras: dict[str, float] = {}
    for target in seen.targets:
        vpa = by_owner.get((target.namespace, *target.owner))
        following = pod_requests(target.template, None if vpa is None else vpa.requests())
        running = [pod_requests(spec) for spec in target.pods]
        extra = extra_watts(running, following, rates)
        extras[target.ref] = extras.get(target.ref, 0.0) + extra
        needs.append(_need(target, following, vpa))
        if vpa is not None:
            statuses.append(_status(target, vpa, following, extra))
    told: dict[str, tuple[str, list[str]]] = {
        UNREAD: ("FreeGpusUnknown", [seen.blind] if seen.blind else []),
        UNSUPPORTED: ("GpuResources", refused),
        CONFLICT: ("SharedMetric", list(_conflicts(vpas, seen))),
        FRAGMENTED: (
            "FreeGpus",
            _fragment_sentences(
                [] if seen.blind else fragments(rooms(seen.nodes, seen.pods), needs)
            ),
        ),
    }
    return VerticalLook(
        statuses=tuple(statuses),
        extra_watts={ref: watts for ref, watts in extras.items() if watts},
        conditions={
            kind: (True, reason, " ".join(sentences))
            for kind, (reason, sentences) in told.items()
            if sentences
        },
    )


def _aims(obj: KubeObject) -> tuple[str, str, str]:
    target = at(obj, ("spec", "targetRef")) or {}
    namespace = at(obj, ("metadata", "namespace")) or "default"
    return (namespace, target.get("kind", ""), target.get("name", ""))


def _conflicts(vpas: Sequence[Vpa], seen: Seen) -> Iterator[str]:
    for namespace in dict.fromkeys(vpa.namespace for vpa in vpas):
        yield from conflicts(
            [vpa for vpa in vpas if vpa.namespace == namespace],
            [one for one in seen.scaled_objects if _namespace(one) == namespace],
            [one for one in seen.autoscalers if _namespace(one) == namespace],
        )


def _namespace(obj: KubeObject) -> str:
    return at(obj, ("metadata", "namespace")) or "default"


def _need(target: TargetPods, following: Requests, vpa: Vpa | None) -> Need:
    recommended = None
    if vpa is not None and vpa.targets:
        recommended = pod_requests(target.template, vpa.targets)
    return Need(
        target="/".join(target.owner),
        requests=following,
        node_selector=target.template.get("nodeSelector") or {},
        recommended=recommended,
    )


def _status(target: TargetPods, vpa: Vpa, following: Requests, extra: float) -> VerticalStatus:
    return VerticalStatus(
        target=target.ref,
        autoscaler=vpa.name,
        update_mode=vpa.mode,
        cpu_cores=following.cpu_cores or None,
        memory_bytes=following.memory_bytes or None,
        extra_watts=extra,
    )


def _fragment_sentences(found: Sequence[Fragment]) -> list[str]:
    if not found:
        return []
    total = sum(one.gpus for one in found)
    sentences = [f"{total} GPUs on {len(found)} nodes are free and no next replica fits there."]
    sentences += [
        f"{one.node}: {one.gpus} {one.resource}: {one.suggestion}" for one in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        sentences.append(f"And {len(found) - _SHOWN} nodes more.")
    return sentences
