"""Mode DeploymentAffinity of the original design: the rack in the pod template. Off by default.

A change of the template starts every pod of the Deployment anew. So it is made once, and again only
after an hour when the rack that was chosen is over a limit.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from capper.kube.api import KubeApi, KubeError, NotFoundError
from capper.kube.kinds import DEPLOYMENT, KSERVE, KubeObject, at, controller_of
from capper.racks.candidates import Wish
from capper.racks.marks import AFFINITY_BEFORE, AFFINITY_SET
from capper.racks.narrowing import narrowed
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_AGAIN_SECONDS = 3600.0
_AFFINITY = ("spec", "template", "spec", "affinity")


class TemplateAffinity:
    """Writes the rack into Deployments of one namespace, and takes it out again."""

    def __init__(self, api: KubeApi, clock: Clock, namespace: str) -> None:
        """Write through `api`."""
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._may_have = True  # a process before this one may have left its mark
        self._told: set[str] = set()

    async def write(
        self, wishes: Sequence[Wish], *, rack_label: str, bad: Sequence[str]
    ) -> tuple[str, ...]:
        """Prefer a rack in each Deployment; returns sentences on those that were left alone.

        Args:
            wishes: Where pods should go.
            rack_label: Node label that names racks.
            bad: Racks over a limit.
        """
        told = []
        for wish in wishes:
            try:
                why = await self._one(wish, rack_label, bad)
            except KubeError as error:
                why = str(error)
            if why:
                told.append(f"Deployment {wish.name}: {why}")
        for sentence in told:
            if sentence not in self._told:
                _log.warning("%s: %s", self._namespace, sentence)
        self._told = set(told)
        return tuple(told)

    async def put_back(self) -> None:
        """Take out what is ours, and put in what was there before; restarts pods once more.

        Raises:
            KubeError: Something is still there.
        """
        if not self._may_have:
            return
        for found in await self._api.find(DEPLOYMENT, self._namespace):
            before = at(found, ("metadata", "annotations", AFFINITY_BEFORE))
            if before is None:
                continue
            await self._merge(
                found, json.loads(before), {AFFINITY_BEFORE: None, AFFINITY_SET: None}
            )
        self._may_have = False

    async def _one(self, wish: Wish, rack_label: str, bad: Sequence[str]) -> str:
        try:
            found = await self._api.get(DEPLOYMENT, self._namespace, wish.name)
        except NotFoundError:
            return "is not there"
        owner = controller_of(found)
        if owner is not None and owner[0] in KSERVE:
            return f"belongs to {owner[0]} {owner[1]}, which would put its template back"
        now_seconds = self._clock.epoch_seconds()
        rack, since = _last(at(found, ("metadata", "annotations", AFFINITY_SET)))
        if rack is not None and (rack not in bad or now_seconds - since < _AGAIN_SECONDS):
            return ""
        better = [one for one in wish.racks if one != rack]
        if not better:
            return "no rack has room for one more of its pods"
        affinity = at(found, _AFFINITY)
        kept = at(found, ("metadata", "annotations", AFFINITY_BEFORE))
        before = affinity if kept is None else json.loads(kept)
        self._may_have = True
        pod = {"spec": {"affinity": before or {}}}
        wanted = {**(before or {}), "nodeAffinity": narrowed(pod, better[0], rack_label, ())}
        marks = {
            AFFINITY_BEFORE: json.dumps(before),
            AFFINITY_SET: f"{better[0]} {now_seconds:.0f}",
        }
        await self._merge(found, wanted, marks)
        _log.warning(
            "%s/%s: its template prefers rack %s now, which starts all of its pods anew",
            self._namespace,
            wish.name,
            better[0],
        )
        return ""

    async def _merge(
        self, found: KubeObject, affinity: Any, annotations: Mapping[str, str | None]
    ) -> None:
        """A merge patch adds to what is there, so what is not wanted is named as null."""
        present = at(found, _AFFINITY) or {}
        value = None
        if affinity is not None:
            value = {**dict.fromkeys(present), **affinity}
            nodes = {**dict.fromkeys(at(present, ("nodeAffinity",)) or {})}
            if affinity.get("nodeAffinity") is not None:
                value["nodeAffinity"] = {**nodes, **affinity["nodeAffinity"]}
        metadata = found["metadata"]
        patch = {
            "metadata": {"uid": metadata["uid"], "annotations": dict(annotations)},
            "spec": {"template": {"spec": {"affinity": value}}},
        }
        await self._api.merge(DEPLOYMENT, self._namespace, metadata["name"], patch)


def _last(mark: str | None) -> tuple[str | None, float]:
    rack, _, since = (mark or "").partition(" ")
    try:
        return (rack or None), float(since or 0.0)
    except ValueError:
        return None, 0.0
