"""The smoothing plans of all configurations, made in the background and read once a turn."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from capper.api.config import PowerCappingConfig
from capper.api.smoothing_block import Smoothing
from capper.background import Background
from capper.decide.domains import DomainTree
from capper.decide.policy import DomainPolicy
from capper.decide.smoothing import Dealing, NodeReport, SmoothingPlan, deal, reports
from capper.decide.smoothing_hints import PeakBoard, peak_board, with_replica
from capper.decide.smoothing_traces import HistoryError, Traces
from fleet.clock import Clock

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 600.0
_BOARD_STEPS = 168  # hours: a new replica is noted in the thread that serves requests
_NO_PROMETHEUS = "no Prometheus is known: give metrics[].prometheusAddress."


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryAccess:
    """The Prometheus to ask where a configuration names none.

    Attributes:
        url: Root; None: there is none.
        headers: For this one only, for example an Authorization.
        ca_file: Certificates to trust for https.
    """

    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan and what it rests on.

    Attributes:
        traces: The week, instances that hang on no leaf of the tree included.
        plan: Of those that hang on one.
        board: For hints, replicas placed since included.
        nodes: Each node as the instances hang now; those that hang nowhere count at the root.
        made_seconds: Epoch time.
    """

    traces: Traces
    plan: SmoothingPlan
    board: PeakBoard
    nodes: tuple[NodeReport, ...]
    made_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingLook:
    """What smoothing says now.

    Attributes:
        enabled: Whether it is asked for.
        planned: The newest plan; None: none yet.
        problem: Why the newest history gave none, a sentence; empty: it did.
        tree: As of this turn, with its caps.
    """

    enabled: bool = False
    planned: Planned | None = None
    problem: str = ""
    tree: DomainTree | None = None


@dataclass(slots=True)
class _Source:
    """One configuration's plan in the making; with another question it is made anew."""

    block: Smoothing
    url: str | None
    shape: tuple[tuple[str, str | None], ...]
    tree: DomainTree
    due_seconds: float
    planned: Planned | None = None
    problem: str = ""
    task: asyncio.Task[None] | None = None
    noted: set[str] = field(default_factory=set)


class SmoothingWatch(Background[_Source]):
    """Makes the plan of each configuration every `refreshSeconds`."""

    def __init__(self, access: HistoryAccess, clock: Clock) -> None:
        """Plan nothing yet.

        Args:
            access: Whom to ask.
            clock: Epoch time.
        """
        super().__init__()
        self._access = access
        self._clock = clock

    def look(
        self, name: str, config: PowerCappingConfig, domains: Sequence[DomainPolicy]
    ) -> SmoothingLook:
        """What is known now; begins a plan where one is due. Never waits.

        Args:
            name: "namespace/name".
            config: With its block.
            domains: The power tree of this turn.
        """
        block = config.spec.smoothing
        if block is None or not block.enabled:
            self.forget(name)
            return SmoothingLook()
        tree = DomainTree(domains)
        url = self._address(config)
        shape = tuple((one.name, one.parent) for one in domains)
        now_seconds = self._clock.epoch_seconds()
        source = self.sources.get(name)
        asked = (block, url, shape)
        if source is None or (source.block, source.url, source.shape) != asked:
            self.forget(name)
            source = self.sources[name] = _Source(block, url, shape, tree, now_seconds)
        source.tree = tree  # its caps move from turn to turn
        if source.task is None and now_seconds >= source.due_seconds:
            source.due_seconds = now_seconds + block.refresh_seconds
            source.task = asyncio.create_task(self._plan(name, source, tree))
        return SmoothingLook(
            enabled=True, planned=source.planned, problem=source.problem, tree=tree
        )

    def board(self, name: str) -> PeakBoard | None:
        """Weekly peaks of "namespace/name" with the caps of the last look, new replicas included.

        None without a plan, and when the plan is older than the history that it rests on.
        """
        source = self.sources.get(name)
        if source is None or source.planned is None:
            return None
        age_seconds = self._clock.epoch_seconds() - source.planned.made_seconds
        if age_seconds > source.block.history_seconds:
            return None
        return replace(source.planned.board, tree=source.tree)

    def placed(self, name: str, uid: str, service: str, leaf: str) -> None:
        """Note a new replica, so that the peaks for the next one have it; once for each pod."""
        source = self.sources.get(name)
        if source is not None and source.planned is not None and uid not in source.noted:
            source.noted.add(uid)
            board = with_replica(source.planned.board, service, leaf)
            source.planned = replace(source.planned, board=board)

    def _address(self, config: PowerCappingConfig) -> str | None:
        """The first Prometheus that the configuration names, else the capper's."""
        named = [
            one.prometheus_address
            for one in config.spec.metrics
            if one.type == "prometheus" and one.prometheus_address
        ]
        return next(iter(named), self._access.url)

    async def _plan(self, name: str, source: _Source, tree: DomainTree) -> None:
        block = source.block
        try:
            traces = await self._traces(block, source.url)
            # Pure arithmetic for seconds; the loop's thread has requests to serve.
            source.planned = await asyncio.to_thread(
                _planned, traces, tree, block, self._clock.epoch_seconds()
            )
            source.noted.clear()
            source.problem = ""
        except HistoryError as error:
            self._failed(name, source, str(error))
        except Exception:  # noqa: BLE001 - supervisor: the plan before stays, the next one comes
            _log.exception("%s: planning failed", name)
            self._failed(name, source, "planning failed, the log says how.")
        finally:
            source.task = None

    def _failed(self, name: str, source: _Source, problem: str) -> None:
        if problem != source.problem:
            _log.warning("%s: no smoothing plan: %s", name, problem)
        source.problem = problem
        wait_seconds = min(_RETRY_SECONDS, source.block.refresh_seconds)
        source.due_seconds = self._clock.epoch_seconds() + wait_seconds

    async def _traces(self, block: Smoothing, url: str | None) -> Traces:
        # Its client takes long to import, which only those who use it should wait for.
        from capper.smoothing.history import read_traces  # noqa: PLC0415 - see above

        if url is None:
            raise HistoryError(_NO_PROMETHEUS)
        # Credentials are for the server that they were given for, and for no other.
        headers = self._access.headers if url == self._access.url else {}
        return await read_traces(
            url, block, self._clock, headers=headers, ca_file=self._access.ca_file
        )


def _planned(traces: Traces, tree: DomainTree, block: Smoothing, now_seconds: float) -> Planned:
    """Deal those that hang on a leaf of the tree; the others only count at the root.

    Raises:
        HistoryError: The tree has one leaf, or nothing hangs on any.
    """
    leaves = frozenset(tree.leaves())
    if len(leaves) < 2:  # noqa: PLR2004 - one leaf leaves nothing to choose
        raise HistoryError("smoothing needs two racks at least: give rackConstraints.")
    hung = tuple(one if one.leaf in leaves else replace(one, leaf=None) for one in traces.instances)
    placed = tuple(one for one in hung if one.leaf is not None)
    if not placed:
        raise HistoryError(
            "no replica of the history is in a rack of this resource: do nodes have the rack label?"
        )
    lost = len(hung) - len(placed)
    notes = traces.notes + ((f"{lost} replicas are in no rack of this resource.",) if lost else ())
    traces = replace(traces, instances=hung, notes=notes)
    plan = deal(replace(traces, instances=placed), tree, Dealing(clusters=block.clusters))
    below = {one.name: one.leaf or tree.root for one in hung}
    return Planned(
        traces=traces,
        plan=plan,
        board=peak_board(traces, tree, most_steps=_BOARD_STEPS),
        nodes=tuple(reports(hung, below, tree)),
        made_seconds=now_seconds,
    )
