"""From what a user names to the object that has to be written.

KServe puts its Deployments, autoscalers and ScaledObjects back, so a reference to one of them is
followed to the service that controls it. A Deployment with a ScaledObject or an autoscaler is
bounded there, one without either by its scale.
"""

from dataclasses import dataclass
from typing import Any

from capper.actuators.workloads import Trouble, WorkloadError
from capper.kube.api import KubeApi
from capper.kube.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    INFERENCE_SERVICE,
    KINDS,
    KSERVE,
    LEADER_WORKER_SET,
    LLM_INFERENCE_SERVICE,
    SCALED_OBJECT,
    Kind,
    KubeObject,
    Path,
    at,
    controller_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Where a reference leads.

    Attributes:
        kind: Kind of the object that is written.
        namespace: Of everything here.
        name: Its name.
        obj: The object, as just read.
        pods: (kind, name) of the objects that own the pods.
        autoscalers: For each of `pods` the names under which its autoscaler may be found, the
            likeliest first.
        pod_labels: Labels of its pods; empty when unknown.
    """

    kind: Kind
    namespace: str
    name: str
    obj: KubeObject
    pods: tuple[tuple[Kind, str], ...]
    autoscalers: tuple[tuple[str, ...], ...]
    pod_labels: dict[str, Any]

    @property
    def written(self) -> str:
        """Ref of the object that is written."""
        return f"{self.kind.name}/{self.namespace}/{self.name}"

    @property
    def is_plain(self) -> bool:
        """Whether nothing scales it: its number of replicas is what is written."""
        return self.kind.max_path is None

    @property
    def is_silent(self) -> bool:
        """Whether the object cannot tell that its bound is ours."""
        return self.kind.name in KSERVE


class Resolver:
    """Follows references in one cluster."""

    def __init__(self, api: KubeApi) -> None:
        """Look things up through `api`."""
        self._api = api

    async def resolve(self, ref: str) -> Resolution:
        """Follow "Kind/namespace/name".

        Raises:
            WorkloadError: When its kind has no replicas.
            KubeError: When the API server does not know it or does not answer.
        """
        kind_name, namespace, name = ref.split("/")
        kind = KINDS.get(kind_name)
        if kind is None:
            raise WorkloadError(
                Trouble.UNSUPPORTED, f"{ref}: kind must be one of {', '.join(KINDS)}."
            )
        obj = await self._api.get(kind, namespace, name)
        owner = controller_of(obj)
        if owner is not None and owner[0] in KSERVE | {SCALED_OBJECT.name}:
            return await self.resolve(f"{owner[0]}/{namespace}/{owner[1]}")
        if kind.max_path is None:
            scaler = await self._scaler_of(kind, namespace, name)
            if scaler is not None:
                return await self.resolve(scaler)
        pods = _pods(kind, name, obj)
        return Resolution(
            kind=kind,
            namespace=namespace,
            name=name,
            obj=obj,
            pods=pods,
            autoscalers=_autoscalers(kind, name, obj, pods),
            pod_labels=await self._pod_labels(kind, namespace, obj, pods),
        )

    async def _scaler_of(self, kind: Kind, namespace: str, name: str) -> str | None:
        """Ref of the ScaledObject or autoscaler that scales a workload."""
        for scaler in (SCALED_OBJECT, AUTOSCALER):
            for obj in await self._api.find(scaler, namespace):
                target = at(obj, ("spec", "scaleTargetRef")) or {}
                if (target.get("kind", DEPLOYMENT.name), target.get("name")) == (kind.name, name):
                    return f"{scaler.name}/{namespace}/{obj['metadata']['name']}"
        return None

    async def _pod_labels(
        self, kind: Kind, namespace: str, obj: KubeObject, pods: tuple[tuple[Kind, str], ...]
    ) -> dict[str, Any]:
        if not pods:
            return {}
        if (kind, obj["metadata"]["name"]) != pods[0]:
            found = await self._api.find(pods[0][0], namespace)
            named = (one for one in found if one["metadata"]["name"] == pods[0][1])
            obj = next(named, {})
        return at(obj, ("spec", "template", "metadata", "labels")) or {}


def _pods(kind: Kind, name: str, obj: KubeObject) -> tuple[tuple[Kind, str], ...]:
    """Who owns the pods; KServe's names are those of its controllers."""
    if kind is INFERENCE_SERVICE:
        return ((DEPLOYMENT, f"{name}-predictor"),)
    if kind is LLM_INFERENCE_SERVICE:
        decode = (_owner_of_part(obj, ("spec",)), f"{name}-kserve")
        if not at(obj, ("spec", "prefill")):
            return (decode,)
        return (decode, (_owner_of_part(obj, ("spec", "prefill")), f"{name}-kserve-prefill"))
    if kind in (SCALED_OBJECT, AUTOSCALER):
        target = at(obj, ("spec", "scaleTargetRef")) or {}
        owner = KINDS.get(target.get("kind", DEPLOYMENT.name))
        return ((owner, target["name"]),) if owner is not None and "name" in target else ()
    return ((kind, name),)


def _owner_of_part(obj: KubeObject, part: Path) -> Kind:
    """Several nodes for one replica are a LeaderWorkerSet."""
    return DEPLOYMENT if at(obj, (*part, "worker")) is None else LEADER_WORKER_SET


def _autoscalers(
    kind: Kind, name: str, obj: KubeObject, pods: tuple[tuple[Kind, str], ...]
) -> tuple[tuple[str, ...], ...]:
    if kind is SCALED_OBJECT:
        told = at(obj, ("status", "hpaName"))
        return ((told or f"keda-hpa-{name}",),)
    if kind is INFERENCE_SERVICE:
        # By KServe's own autoscaler, or by the ScaledObject that it makes.
        return tuple((workload, f"keda-hpa-{workload}") for _, workload in pods)
    if kind is LLM_INFERENCE_SERVICE:
        return tuple((workload, f"keda-hpa-{workload}-keda") for _, workload in pods)
    return ()
