"""What a resolved object, its pods' owners and its autoscaler say of a workload."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from capper.actuators.bounds import Bound, bounds_of, least_of, present
from capper.actuators.resolution import Resolution
from capper.actuators.workloads import Workload
from capper.decide.observation import TargetReading
from capper.kube.api import FIELD_MANAGER, KubeApi, NotFoundError
from capper.kube.kinds import (
    AUTOSCALER,
    DISRUPTION_BUDGET,
    POD,
    SCALED_OBJECT,
    Kind,
    KubeObject,
    Path,
    at,
    managers,
)

ORIGINAL: Path = ("metadata", "annotations", "powercapping.climatik-project.ai/original-max")
"""Annotation with the bound before the capper, as `capper.actuators.bounds.present` writes it.

KServe copies the annotations of its services into pod templates, where a new one would restart
every pod: on those kinds it is never written, and the configuration's status alone keeps it.
"""
PAUSE: Path = ("metadata", "annotations", "autoscaling.keda.sh/paused-scale-out")


def is_ours(found: Resolution, bounds: Sequence[Bound]) -> bool | None:
    """Whether the bound that is there was written by us and by nobody since; None: unknown."""
    if found.is_silent:
        return None
    if found.is_plain:
        return at(found.obj, ORIGINAL) is not None
    return any((FIELD_MANAGER, "Apply") in managers(found.obj, bound.path) for bound in bounds)


def kept_of(found: Resolution, bounds: Sequence[Bound]) -> str | None:
    """The original that the object keeps; None when somebody has set the bound anew since."""
    kept: str | None = at(found.obj, ORIGINAL)
    return kept if is_ours(found, bounds) else None


class Reader:
    """Reads resolved workloads of one cluster."""

    def __init__(self, api: KubeApi) -> None:
        """Look things up through `api`."""
        self._api = api

    async def workload(self, found: Resolution) -> Workload:
        """All that is known of it.

        Raises:
            KubeError: When the API server does not answer.
        """
        obj, kind = found.obj, found.kind
        bounds = bounds_of(kind, obj)
        scales, wishes, floor = await asyncio.gather(
            self._scales(found), self._wishes(found), self._disruption_floor(found)
        )
        there = [scale for scale in scales if scale is not None]
        ours = is_ours(found, bounds)
        return Workload(
            reading=TargetReading(
                spec_replicas=_total(there, ("spec", "replicas")),
                status_replicas=_total(there, ("status", "replicas")),
                desired_replicas=sum(wishes) if wishes else None,
                ready_replicas=_total(there, ("status", "readyReplicas")),
                min_replicas=sum(bound.minimum for bound in bounds),
                least_bound=least_of(bounds),
                max_replicas=_maximum(bounds, ours=ours is True),
                disruption_floor=floor,
                scale_out_paused=at(obj, PAUSE) == "true" if kind is SCALED_OBJECT else None,
            ),
            written=found.written,
            backend=found.pods[0][1] if found.pods else None,
            supports_pause=kind is SCALED_OBJECT,
            present=present(bounds),
            kept=kept_of(found, bounds),
            is_ours=ours,
            pause_is_ours=(FIELD_MANAGER, "Apply") in managers(obj, PAUSE),
        )

    async def current(self, found: Resolution) -> list[int]:
        """Replicas of each of the owners of its pods, the largest of wish and fact."""
        scales = await self._scales(found)
        counts = []
        for scale in scales:
            told = [at(scale or {}, (part, "replicas")) or 0 for part in ("spec", "status")]
            counts.append(max(told))
        return counts

    async def pods(self, found: Resolution) -> list[KubeObject]:
        """Its pods, by the selectors of their owners; none where an owner has no selector."""
        listed: list[KubeObject] = []
        for scale in await self._scales(found):
            labels = at(scale or {}, ("spec", "selector", "matchLabels"))
            if labels:
                selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
                listed += await self._api.find(POD, found.namespace, labels=selector)
        return listed

    async def _scales(self, found: Resolution) -> list[KubeObject | None]:
        return await asyncio.gather(*(self._scale(found.namespace, *one) for one in found.pods))

    async def _scale(self, namespace: str, kind: Kind, name: str) -> KubeObject | None:
        """The object that owns the pods; None where it is not (yet) there."""
        try:
            return await self._api.get(kind, namespace, name)
        except NotFoundError:
            return None

    async def _wishes(self, found: Resolution) -> list[int]:
        """What its autoscalers wish, one of each group of names under which one may be found."""
        if found.kind is AUTOSCALER:
            wish = at(found.obj, ("status", "desiredReplicas"))
            return [] if wish is None else [wish]
        wishes = []
        for names in found.autoscalers:
            for name in names:
                obj = await self._scale(found.namespace, AUTOSCALER, name)
                wish = at(obj or {}, ("status", "desiredReplicas"))
                if wish is not None:
                    wishes.append(wish)
                    break
        return wishes

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


def _maximum(bounds: Sequence[Bound], *, ours: bool) -> int | None:
    """The joint bound; a count is one only when it was us who set it."""
    tops = [bound.value if bound.is_count and ours else bound.maximum for bound in bounds]
    known = [top for top in tops if top is not None]
    return sum(known) if len(known) == len(tops) else None


def _total(objects: list[KubeObject], path: Path) -> int | None:
    counts = [value for obj in objects if (value := at(obj, path)) is not None]
    return sum(counts) if counts else None


def _selects(selector: Mapping[str, Any] | None, labels: Mapping[str, Any]) -> bool:
    return bool(selector) and selector is not None and selector.items() <= labels.items()
