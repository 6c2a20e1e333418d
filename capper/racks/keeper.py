"""Keeps the racks of all configurations that have a `placement` block, while this process leads."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kubernetes.aio.client import ApiClient

from capper.decide.plan import Plan
from capper.decide.policy import Policy
from capper.kube.api import KubeApi, KubeError
from capper.observe.askers import Askers
from capper.operator.entry import Entry
from capper.operator.leaving import RestoreError
from capper.operator.report import TurnReport
from capper.racks.candidates import Seen, owners_of
from capper.racks.configuration import RackConfiguration, Task
from capper.racks.learning import Learning
from capper.racks.ledger import Ledger
from capper.racks.looks import RackLook
from capper.racks.matrix import matrix_in_force
from capper.racks.metrics import RackMetrics
from capper.racks.narrowing import is_gated
from capper.racks.placing import Placing
from capper.racks.pod_writer import PodWriter
from capper.racks.pods import Pod, nodes_to_racks, owner_of
from capper.racks.room import rules_of
from capper.racks.saying import not_yet
from capper.racks.sensors import Sensors
from capper.racks.sight import ClusterSight
from capper.racks.template_affinity import TemplateAffinity
from fleet.clock import Clock
from telemetry.kubernetes.client import KubeClient
from telemetry.promql import PrometheusSettings

_log = logging.getLogger(__name__)
_PERIOD_SECONDS = 1.0
_LEAST_PERIOD_SECONDS = 0.1  # pods of a busy namespace change all the time
_BEFORE_ACTING_SECONDS = 2.0
_PUT_BACK_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopView:
    """What the keeper reads of the capping loop.

    Attributes:
        entries: Configurations in force, by "namespace/name".
        reports: Their newest turns.
    """

    entries: Callable[[], Mapping[str, Entry]]
    reports: Callable[[], Mapping[str, TurnReport]]


class RackKeeper:
    """Implements capper.operator.companion.Companion."""

    def __init__(
        self,
        client: ApiClient,
        loop: LoopView,
        *,
        clock: Clock,
        prometheus: PrometheusSettings,
        metrics: RackMetrics,
    ) -> None:
        """Prepare; nothing is asked before `run`.

        Args:
            client: The API server; closing it is its owner's.
            loop: The capping loop.
            clock: Of the process.
            prometheus: Where sensors are read; its URL may be empty.
            metrics: Of the process.
        """
        self._api = KubeApi(client)
        self._sight = ClusterSight(KubeClient(client), clock)
        self._loop = loop
        self._clock = clock
        self._askers = Askers(prometheus, clock)
        self._url = prometheus.url or None
        self._metrics = metrics
        self._ledger = Ledger()
        self._placing = Placing(PodWriter(self._api, clock), self._ledger, self._metrics, clock)
        self._kept: dict[str, RackConfiguration] = {}
        self._learning: dict[str, Learning] = {}

    async def run(self) -> None:
        """Keep the racks until cancelled; a turn soon after each change, and each second."""
        try:
            while True:
                self._sight.changed.clear()
                try:
                    await self.turn()
                except Exception:  # noqa: BLE001 - supervisor: gates are swept, the next turn comes
                    _log.exception("a turn of rack placement failed")
                await asyncio.sleep(_LEAST_PERIOD_SECONDS)
                try:
                    async with asyncio.timeout(_PERIOD_SECONDS):
                        await self._sight.changed.wait()
                except TimeoutError:
                    continue
        finally:
            await self.aclose()

    async def turn(self) -> None:
        """One turn over all configurations with racks."""
        entries = {
            name: entry
            for name, entry in sorted(self._loop.entries().items())
            if entry.config.spec.placement is not None
        }
        self._metrics.keep(entries)
        namespaces = {entry.config.metadata.namespace for entry in entries.values()}
        await self._sight.follow(namespaces)
        for name in [name for name in self._kept if name not in entries]:
            await self._forget(name)
        taken: set[str] = set()
        for name, entry in entries.items():
            await self._one(name, entry, entries, taken)
        await self._askers.close_unused()

    async def aclose(self) -> None:
        """Stop watching and learning; what is in force stays. May run again."""
        await self._sight.aclose()
        for one in self._learning.values():
            await one.aclose()
        await self._askers.aclose()

    async def before_acting(self, entry: Entry, policy: Policy, plan: Plan) -> None:
        """See Companion. Caps do not wait for a slow API server."""
        kept = self._kept.get(entry.name)
        if kept is None:
            return
        try:
            async with asyncio.timeout(_BEFORE_ACTING_SECONDS):
                await kept.before_acting(entry, policy, plan)
        except (TimeoutError, KubeError) as error:
            _log.warning("%s: deletion costs are not written: %r", entry.name, error)

    async def put_back(self, entry: Entry) -> None:
        """See Companion."""
        if entry.config.spec.placement is None and entry.name not in self._kept:
            return
        try:
            async with asyncio.timeout(_PUT_BACK_SECONDS):
                kept = self._kept.get(entry.name)
                if kept is not None:
                    await kept.put_back()
                else:
                    namespace = entry.config.metadata.namespace
                    await TemplateAffinity(self._api, self._clock, namespace).put_back()
        except (TimeoutError, KubeError) as error:
            raise RestoreError(f"{entry.name}: placement is not put back: {error}") from error

    async def _one(
        self, name: str, entry: Entry, entries: Mapping[str, Entry], taken: set[str]
    ) -> None:
        placement = entry.config.spec.placement
        assert placement is not None, "chosen by the caller"
        namespace = entry.config.metadata.namespace
        report = self._loop.reports().get(name)
        missing = self._sight.missing(namespace)
        if report is None or missing:
            why = missing or "nothing is measured yet"
            entry.racks = RackLook(conditions=not_yet(why))
            return
        nodes = self._sight.nodes()
        self._count(entries, nodes_to_racks(nodes, placement.rack_label))
        pods = self._sight.pods(namespace)
        gated = [one for one in self._gated(name, entry, entries, pods) if _uid(one) not in taken]
        taken |= {_uid(one) for one in gated}
        racks = [one.rack_id for one in entry.config.spec.rack_constraints]
        learning = self._learning.setdefault(name, Learning(self._clock))
        url = placement.queries.prometheus_address or self._url
        if placement.learn_matrix and placement.recirculation_matrix is None and url:
            learning.look(racks, placement, self._askers.querier(url.rstrip("/")))
        kept = self._kept.get(name)
        if kept is None:
            kept = self._kept[name] = RackConfiguration(
                name,
                api=self._api,
                clock=self._clock,
                placing=self._placing,
                sensors=Sensors(self._askers, self._url, self._clock),
                metrics=self._metrics,
            )
        task = Task(
            entry=entry,
            placement=placement,
            report=report,
            seen=Seen(pods=pods, nodes=nodes, gated=gated),
            rules=rules_of(entry.config.spec, placement),
        )
        matrix = matrix_in_force(racks, placement, learning.learned)
        entry.racks = await kept.turn(task, self._ledger, matrix)
        owners = owners_of(report.policy, report.plan)
        foreign = frozenset(_uid(pod) for pod in pods if owner_of(pod) not in owners)
        self._placing.share_with_loop(entry, foreign, frozenset(racks))

    def _count(self, entries: Mapping[str, Entry], racks_by_node: Mapping[str, str]) -> None:
        namespaces = {entry.config.metadata.namespace for entry in entries.values()}
        pods = [pod for one in sorted(namespaces) for pod in self._sight.pods(one)]
        now_seconds = self._clock.epoch_seconds()
        self._ledger.look(pods, racks_by_node, now_epoch_seconds=now_seconds)

    def _gated(
        self, name: str, entry: Entry, entries: Mapping[str, Entry], pods: list[Pod]
    ) -> list[Pod]:
        """Pods that wait: replicas of its own targets, and what no other configuration knows."""
        mine = self._owners(name)
        namespace = entry.config.metadata.namespace
        others = {
            owner
            for other, one in entries.items()
            if other != name and one.config.metadata.namespace == namespace
            for owner in self._owners(other)
        }
        return [
            pod
            for pod in pods
            if is_gated(pod)
            and not self._ledger.was_sent(_uid(pod))
            and (owner_of(pod) in mine or owner_of(pod) not in others)
        ]

    def _owners(self, name: str) -> set[str]:
        report = self._loop.reports().get(name)
        return set() if report is None else set(owners_of(report.policy, report.plan))

    async def _forget(self, name: str) -> None:
        """A configuration that is gone, or has no racks any more."""
        kept = self._kept[name]
        try:
            await kept.put_back()
        except RestoreError as error:
            _log.warning("%s: %s", name, error)
            return
        del self._kept[name]
        learning = self._learning.pop(name, None)
        if learning is not None:
            await learning.aclose()
        entry = self._loop.entries().get(name)
        if entry is not None:
            entry.racks = None


def _uid(pod: Pod) -> str:
    uid: str = pod["metadata"]["uid"]
    return uid
