"""Workloads of a Kubernetes cluster: KEDA, KServe, autoscalers and plain Deployments.

Each write touches the one field and, in the same call, the annotation that keeps its first value.
Server-side apply gives a field one owner. Where another manager applies the same field (GitOps,
an operator), the write is refused and reported; where it was only ever set by an update (kubectl
create, edit or the client-side apply), it is taken over. See docs/decisions/0015.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from capper.actuators.resolution import Resolution, Resolver
from capper.actuators.workloads import Trouble, Workload, WorkloadError
from capper.decide.observation import TargetReading
from capper.kube.api import FIELD_MANAGER, FieldConflictError, KubeApi, KubeError, NotFoundError
from capper.kube.kinds import (
    AUTOSCALER,
    DISRUPTION_BUDGET,
    SCALED_OBJECT,
    Kind,
    KubeObject,
    Path,
    at,
    managers,
    merged,
    placed,
)

ORIGINAL: Path = ("metadata", "annotations", "powercapping.climatik-project.ai/original-max")
"""Annotation with the value before the capper, as JSON (`null`: it was not set)."""
PAUSE: Path = ("metadata", "annotations", "autoscaling.keda.sh/paused-scale-out")
_SCALE: Path = ("spec", "replicas")


class KubernetesWorkloads:
    """Implements capper.actuators.workloads.Workloads."""

    def __init__(self, api: KubeApi, *, take_ownership: bool = False) -> None:
        """Act through `api`.

        Args:
            api: The cluster.
            take_ownership: Also take fields that other managers apply.
        """
        self._api = api
        self._resolver = Resolver(api)
        self._take_ownership = take_ownership

    async def read(self, ref: str) -> Workload:
        """See Workloads."""
        try:
            found = await self._resolver.resolve(ref)
            return await self._workload(found)
        except KubeError as error:
            raise _trouble(error) from error

    async def set_max_replicas(self, ref: str, replicas: int) -> None:
        """See Workloads."""
        try:
            found = await self._resolver.resolve(ref)
            if found.kind.max_path is None:
                await self._set_scale(found, replicas)
            elif at(found.obj, found.kind.max_path) != replicas:
                original = _original(found.obj, at(found.obj, found.kind.max_path))
                await self._apply(
                    found,
                    placed(found.kind.max_path, replicas),
                    placed(ORIGINAL, original),
                )
        except KubeError as error:
            raise _trouble(error) from error

    async def restore_max_replicas(self, ref: str) -> None:
        """See Workloads."""
        try:
            found = await self._resolver.resolve(ref)
            kept = at(found.obj, ORIGINAL)
            if kept is None:
                return
            path = found.kind.max_path
            value = json.loads(kept)
            if path is None:
                await self._api.merge(
                    found.kind, found.namespace, found.name, placed(_SCALE, value), part="scale"
                )
            elif value is not None:
                # An update, so that the field outlives our letting go of it.
                await self._api.merge(found.kind, found.namespace, found.name, placed(path, value))
            await self._apply(found, let_go=(ORIGINAL, *([path] if path else [])))
        except KubeError as error:
            raise _trouble(error) from error

    async def pause_scale_out(self, ref: str) -> None:
        """See Workloads."""
        try:
            found = await self._resolver.resolve(ref)
            self._pausable(found)
            if at(found.obj, PAUSE) != "true":
                await self._apply(found, placed(PAUSE, "true"))
        except KubeError as error:
            raise _trouble(error) from error

    async def resume_scale_out(self, ref: str) -> None:
        """See Workloads."""
        try:
            found = await self._resolver.resolve(ref)
            self._pausable(found)
            if _is_ours(found.obj, PAUSE):
                await self._apply(found, let_go=(PAUSE,))
        except KubeError as error:
            raise _trouble(error) from error

    def _pausable(self, found: Resolution) -> None:
        if found.kind is not SCALED_OBJECT:
            raise WorkloadError(
                Trouble.UNSUPPORTED, f"{found.written}: only a ScaledObject's growth can be paused."
            )

    async def _apply(
        self, found: Resolution, *fields: KubeObject, let_go: tuple[Path, ...] = ()
    ) -> None:
        """Apply what is ours already, less what is let go, and these fields."""
        known = [ORIGINAL, PAUSE, *([found.kind.max_path] if found.kind.max_path else [])]
        kept = [
            placed(path, at(found.obj, path))
            for path in known
            if path not in let_go and _is_ours(found.obj, path)
        ]
        wanted = merged(*kept, *fields)
        paths = [path for path in known if at(wanted, path) is not None]
        try:
            await self._api.apply(
                found.kind,
                found.namespace,
                found.name,
                wanted,
                force=self._take_ownership or not _appliers(found.obj, paths),
            )
        except FieldConflictError as error:
            others = ", ".join(sorted(_appliers(found.obj, paths))) or "another manager"
            raise WorkloadError(
                Trouble.CONFLICT,
                f"{found.written}: {others} applies the same field; leave it out there, use the"
                " external scaler, or set replicaBounds.takeOwnership.",
            ) from error

    async def _set_scale(self, found: Resolution, replicas: int) -> None:
        """A workload without an autoscaler grows by hand: only what is above the bound is cut."""
        present = at(found.obj, _SCALE)
        if present is None or present <= replicas:
            return
        await self._apply(found, placed(ORIGINAL, _original(found.obj, present)))
        await self._api.merge(
            found.kind, found.namespace, found.name, placed(_SCALE, replicas), part="scale"
        )

    async def _workload(self, found: Resolution) -> Workload:
        obj, kind = found.obj, found.kind
        scales, autoscaler, floor = await asyncio.gather(
            asyncio.gather(*(self._scale(found.namespace, *one) for one in found.pods)),
            self._autoscaler(found),
            self._disruption_floor(found),
        )
        present = [scale for scale in scales if scale is not None]
        maximum = at(obj, kind.max_path) if kind.max_path else None
        minimum = at(obj, kind.min_path) if kind.min_path else None
        return Workload(
            reading=TargetReading(
                spec_replicas=_total(present, ("spec", "replicas")),
                status_replicas=_total(present, ("status", "replicas")),
                desired_replicas=at(autoscaler, ("status", "desiredReplicas")),
                ready_replicas=_total(present, ("status", "readyReplicas")),
                min_replicas=kind.default_min if minimum is None else minimum,
                max_replicas=kind.default_max if maximum is None else maximum,
                disruption_floor=floor,
                scale_out_paused=at(obj, PAUSE) == "true" if kind is SCALED_OBJECT else None,
            ),
            written=found.written,
            backend=found.pods[0][1] if found.pods else None,
            supports_pause=kind is SCALED_OBJECT,
        )

    async def _scale(self, namespace: str, kind: Kind, name: str) -> KubeObject | None:
        """The object that owns the pods; None where it is not (yet) there."""
        try:
            return await self._api.get(kind, namespace, name)
        except NotFoundError:
            return None

    async def _autoscaler(self, found: Resolution) -> KubeObject:
        """The autoscaler's status, for its wish; empty where there is none."""
        if found.kind is AUTOSCALER:
            return found.obj
        for name in found.autoscalers:
            try:
                return await self._api.get(AUTOSCALER, found.namespace, name)
            except NotFoundError:
                continue
        return {}

    async def _disruption_floor(self, found: Resolution) -> int | None:
        """Ready pods that a PodDisruptionBudget over these pods asks for."""
        labels = found.pod_labels
        if not labels:
            return None
        budgets = await self._api.find(DISRUPTION_BUDGET, found.namespace)
        floors = [
            at(budget, ("status", "desiredHealthy"))
            for budget in budgets
            if _selects(at(budget, ("spec", "selector", "matchLabels")), labels)
        ]
        return max((floor for floor in floors if floor is not None), default=None)


def _original(obj: KubeObject, present: int | None) -> str:
    """What was there before the capper: kept from the first write on."""
    kept = at(obj, ORIGINAL)
    return kept if kept is not None else json.dumps(present)


def _is_ours(obj: KubeObject, path: Path) -> bool:
    return (FIELD_MANAGER, "Apply") in managers(obj, path)


def _appliers(obj: KubeObject, paths: list[Path]) -> set[str]:
    """Other managers that apply one of the fields, and so will put it back."""
    return {
        name
        for path in paths
        for name, operation in managers(obj, path)
        if operation == "Apply" and name != FIELD_MANAGER
    }


def _total(objects: list[KubeObject], path: Path) -> int | None:
    counts = [value for obj in objects if (value := at(obj, path)) is not None]
    return sum(counts) if counts else None


def _selects(selector: Mapping[str, Any] | None, labels: Mapping[str, Any]) -> bool:
    return bool(selector) and selector is not None and selector.items() <= labels.items()


def _trouble(error: KubeError) -> WorkloadError:
    if isinstance(error, NotFoundError):
        return WorkloadError(Trouble.GONE, str(error))
    if isinstance(error, FieldConflictError):
        return WorkloadError(Trouble.CONFLICT, str(error))
    return WorkloadError(Trouble.UNAVAILABLE, str(error))
