"""Reads what vertical autoscaling needs of a cluster."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus

from capper.actuators.resolution import Resolution, Resolver
from capper.actuators.workloads import WorkloadError
from capper.kube.api import KubeApi, KubeError, NotFoundError
from capper.kube.kinds import AUTOSCALER, POD, SCALED_OBJECT, Kind, KubeObject, at
from capper.vertical.looks import Seen, TargetPods, UnreadError

VERTICAL_POD_AUTOSCALER = Kind(
    name="VerticalPodAutoscaler",
    api_version="autoscaling.k8s.io/v1",
    plural="verticalpodautoscalers",
)
NODE = Kind(name="Node", api_version="v1", plural="nodes")
_RUNNING = "Running"


class VerticalReader:
    """Reads through one API server."""

    def __init__(self, api: KubeApi) -> None:
        """Read through `api`."""
        self._api = api
        self._resolver = Resolver(api)

    async def read(self, refs: Iterable[str]) -> Seen:
        """See capper.vertical.watch.Reader."""
        try:
            return await self._read(refs)
        except KubeError as error:
            raise UnreadError(_refusal(error)) from error

    async def _read(self, refs: Iterable[str]) -> Seen:
        found = [one for ref in refs if (one := await self._resolved(ref)) is not None]
        namespaces = sorted({one.namespace for one in found})
        kinds = (VERTICAL_POD_AUTOSCALER, SCALED_OBJECT, AUTOSCALER)
        (nodes, pods, blind), listed = await asyncio.gather(
            self._cluster(namespaces),
            asyncio.gather(*(self._listed(kind, namespaces) for kind in kinds)),
        )
        targets = [target for one in found for target in await self._targets(one, pods)]
        return Seen(
            targets=targets,
            vpas=listed[0],
            scaled_objects=listed[1],
            autoscalers=listed[2],
            nodes=nodes,
            pods=pods,
            blind=blind,
        )

    async def _cluster(
        self, namespaces: Iterable[str]
    ) -> tuple[list[KubeObject], list[KubeObject], str]:
        """Nodes, pods, and why they are not all of them: rights may end at the namespace."""
        try:
            nodes, pods = await asyncio.gather(
                self._api.find(NODE, None), self._api.find(POD, None)
            )
        except KubeError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            blind = f"which GPUs are free is not known: {error}; see k8s/components/vertical."
            return [], await self._listed(POD, namespaces), blind
        return nodes, pods, ""

    async def _listed(self, kind: Kind, namespaces: Iterable[str]) -> list[KubeObject]:
        found = await asyncio.gather(*(self._api.find(kind, one) for one in namespaces))
        return [obj for objects in found for obj in objects]

    async def _resolved(self, ref: str) -> Resolution | None:
        try:
            return await self._resolver.resolve(ref)
        except (NotFoundError, WorkloadError):
            return None  # the loop tells of it

    async def _targets(self, found: Resolution, pods: list[KubeObject]) -> list[TargetPods]:
        """One for each owner of pods: KServe's prefill and decode are two."""
        targets = []
        for kind, name in found.pods:
            try:
                owner = await self._api.get(kind, found.namespace, name)
            except NotFoundError:
                continue
            template = at(owner, ("spec", "template", "spec"))
            labels = at(owner, ("spec", "selector", "matchLabels"))
            if template is None or not labels:
                continue  # a LeaderWorkerSet has two templates, and no VPA reads them
            targets.append(
                TargetPods(
                    ref=found.written,
                    namespace=found.namespace,
                    owner=(kind.name, name),
                    template=template,
                    pods=[
                        pod["spec"]
                        for pod in pods
                        if at(pod, ("metadata", "namespace")) == found.namespace
                        and at(pod, ("status", "phase")) == _RUNNING
                        and labels.items() <= (at(pod, ("metadata", "labels")) or {}).items()
                    ],
                )
            )
        return targets


def _refusal(error: KubeError) -> str:
    """Why nothing was read, with what helps where a right is missing."""
    if error.code == HTTPStatus.FORBIDDEN:
        return f"{error}; see k8s/components/vertical."
    return f"{error}."
