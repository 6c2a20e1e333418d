"""Dealing instances over the power tree so that their peaks do not meet. Pure.

After Hsu et al., SmoothOperator, ASPLOS 2018: at each node of the tree the instances below it are
grouped by their asynchrony with the services that draw most there, and each group is dealt
round-robin over the node's children. docs/guide/smoothing.md says what is ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from capper.decide.domains import DomainTree
from capper.decide.smoothing_scores import (
    added,
    asynchrony,
    hulls,
    k_means,
    peak,
    top_services,
    vector,
)
from capper.decide.smoothing_swaps import swapped
from capper.decide.smoothing_traces import HistoryError, Instance, Traces

TOP_SERVICES = 10
"""Services that vectors are made of."""

_WORKED_STEPS = 168  # hours of a week


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """A node of the power tree over the mean week.

    Attributes:
        name: Of the node.
        depth: Edges from the root.
        instances: Below it.
        sum_of_peaks_watts: Of the single instances.
        peak_of_sum_watts: What the node would have to carry.
        asynchrony: Their quotient: 1, all peak together.
        cap_watts: Its cap; None: none.
        headroom_watts: Cap less peak; None without a cap.
    """

    name: str
    depth: int
    instances: int
    sum_of_peaks_watts: float
    peak_of_sum_watts: float
    asynchrony: float
    cap_watts: float | None
    headroom_watts: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingPlan:
    """The result.

    Attributes:
        leaves: Instance -> leaf, as dealt.
        before: Report of each node as the instances hang now; empty where that is not known of all.
        after: The same as dealt.
        moved: Instances whose leaf is another one.
    """

    leaves: Mapping[str, str]
    before: tuple[NodeReport, ...]
    after: tuple[NodeReport, ...]
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealing:
    """How to deal.

    Attributes:
        clusters: Most groups at a node; more children than that make as many groups as children.
        seed: Of the groups.
        slots: Leaf -> instances that it can take; a leaf that is missing takes none. Empty: those
            that hang there now, or where that is not known, shares by cap.
        most_swaps: After the dealing.
    """

    clusters: int = 4
    seed: int = 0
    slots: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    most_swaps: int = 1000


def deal(traces: Traces, tree: DomainTree, dealing: Dealing | None = None) -> SmoothingPlan:
    """Place all instances anew.

    Raises:
        HistoryError: An instance hangs on a leaf that the tree does not have, or the slots are too
            few.
    """
    dealing = dealing or Dealing()
    _check_leaves(traces, tree)
    coarse = _coarse(traces)
    slots = dict(dealing.slots) or slots_of(traces.instances, tree)
    if sum(slots.values()) < len(traces.instances):
        raise HistoryError(
            f"the leaves have {sum(slots.values())} slots for {len(traces.instances)} instances."
        )
    leaves = _dealt_tree(coarse, tree, slots, dealing)
    now = {one.name: one.leaf for one in traces.instances}
    before = {name: leaf for name, leaf in now.items() if leaf is not None}
    found_before = tuple(reports(traces.instances, before, tree)) if len(before) == len(now) else ()
    if found_before and not dealing.slots:
        # The dealing is blind within a group: where it is worse than what is there, start there.
        found = reports(traces.instances, leaves, tree)
        if peaks_watts(found) > peaks_watts(found_before):
            leaves = before
    found = reports(traces.instances, leaves, tree)
    better = swapped(coarse.instances, leaves, tree, most=dealing.most_swaps)
    swapped_found = reports(traces.instances, better, tree)
    if peaks_watts(swapped_found) < peaks_watts(found):
        leaves, found = better, swapped_found
    return SmoothingPlan(
        leaves=leaves,
        before=found_before,
        after=tuple(found),
        moved=sum(leaf != now[name] for name, leaf in leaves.items()),
    )


def _coarse(traces: Traces) -> Traces:
    """The same with hulls for traces: grouping and swapping need no more."""
    weeks = hulls([one.watts for one in traces.instances], most=_WORKED_STEPS)
    services = hulls(traces.services.values(), most=_WORKED_STEPS)
    pairs = zip(traces.instances, weeks, strict=True)
    return replace(
        traces,
        instances=tuple(replace(one, watts=week) for one, week in pairs),
        services=dict(zip(traces.services, services, strict=True)),
    )


def peaks_watts(found: Iterable[NodeReport]) -> float:
    """The sum of the peaks of all nodes: what plans are compared by."""
    return sum(one.peak_of_sum_watts for one in found)


def _dealt_tree(
    traces: Traces, tree: DomainTree, slots: Mapping[str, int], dealing: Dealing
) -> dict[str, str]:
    """Instance -> leaf, dealt from the root down."""
    leaves: dict[str, str] = {}
    waiting: list[tuple[str, Sequence[Instance]]] = [(tree.root, traces.instances)]
    while waiting:
        name, instances = waiting.pop()
        children = tree.children(name)
        if not children:
            leaves.update((one.name, name) for one in instances)
            continue
        rooms = {child: _room(child, tree, slots) for child in children}
        waiting += _dealt(instances, traces.services, rooms, dealing).items()
    return leaves


def reports(
    instances: Iterable[Instance], leaves: Mapping[str, str], tree: DomainTree
) -> list[NodeReport]:
    """Each node of the tree over the week, the root first, with the instances hung as given."""
    below: dict[str, list[Instance]] = {name: [] for name in tree.domains}
    for one in instances:
        for node in tree.path(leaves[one.name]) if one.name in leaves else ():
            below[node].append(one)
    found = []
    for name in sorted(below, key=lambda name: (len(tree.path(name)), name)):
        weeks = [one.watts for one in below[name]]
        together, cap = peak(added(weeks)), tree.domains[name].cap
        found.append(
            NodeReport(
                name=name,
                depth=len(tree.path(name)) - 1,
                instances=len(weeks),
                sum_of_peaks_watts=sum(map(peak, weeks)),
                peak_of_sum_watts=together,
                asynchrony=asynchrony(weeks),
                cap_watts=None if cap is None else cap.watts,
                headroom_watts=None if cap is None else cap.watts - together,
            )
        )
    return found


def leaf_peaks_watts(found: Iterable[NodeReport], tree: DomainTree) -> float:
    """The sum of the leaves' peaks: the power that the leaves must be provided with."""
    leaves = frozenset(tree.leaves())
    return sum(one.peak_of_sum_watts for one in found if one.name in leaves)


def slots_of(instances: Sequence[Instance], tree: DomainTree) -> dict[str, int]:
    """Instances per leaf: as they hang now, else in the proportion of the leaves' caps.

    Without caps of all leaves the proportion is even; what does not divide goes to the leaves with
    the largest remainder.
    """
    leaves = tree.leaves()
    if all(one.leaf is not None for one in instances):
        slots = dict.fromkeys(leaves, 0)
        for one in instances:
            slots[one.leaf or ""] += 1
        return slots
    caps = [tree.domains[leaf].cap for leaf in leaves]
    weights = [1.0 if cap is None or None in caps else cap.watts for cap in caps]
    exact = [len(instances) * weight / sum(weights) for weight in weights]
    slots = {leaf: int(part) for leaf, part in zip(leaves, exact, strict=True)}
    order = sorted(range(len(leaves)), key=lambda at: (int(exact[at]) - exact[at], at))
    for at in order[: len(instances) - sum(slots.values())]:
        slots[leaves[at]] += 1
    return slots


def _check_leaves(traces: Traces, tree: DomainTree) -> None:
    leaves = frozenset(tree.leaves())
    for one in traces.instances:
        if one.leaf is not None and one.leaf not in leaves:
            raise HistoryError(
                f"{one.name} hangs on {one.leaf}, which is no leaf of the power tree:"
                f" {', '.join(sorted(leaves))}."
            )


def _room(node: str, tree: DomainTree, slots: Mapping[str, int]) -> int:
    """Slots of all leaves at or below a node."""
    return sum(count for leaf, count in slots.items() if node in tree.path(leaf))


def _dealt(
    instances: Sequence[Instance],
    services: Mapping[str, Sequence[float]],
    rooms: Mapping[str, int],
    dealing: Dealing,
) -> dict[str, list[Instance]]:
    """The instances of a node over its children, each group round-robin by the children's room."""
    children = [child for child, room in rooms.items() if room > 0]
    dealt: dict[str, list[Instance]] = {child: [] for child in children}
    for group in _groups(instances, services, max(dealing.clusters, len(children)), dealing.seed):
        given = dict.fromkeys(children, 0)
        for one in group:

            def turn(child: str, given: Mapping[str, int] = given) -> tuple[float, float, int]:
                room = rooms[child]
                return (given[child] / room, len(dealt[child]) / room, children.index(child))

            child = min((it for it in children if len(dealt[it]) < rooms[it]), key=turn)
            dealt[child].append(one)
            given[child] += 1
    return dealt


def _groups(
    instances: Sequence[Instance],
    services: Mapping[str, Sequence[float]],
    count: int,
    seed: int,
) -> list[list[Instance]]:
    """Groups of instances that peak alike, in each the largest peak first."""
    counts: dict[str, int] = {}
    for one in instances:
        counts[one.service] = counts.get(one.service, 0) + 1
    top = [services[name] for name in top_services(services, counts, TOP_SERVICES)]
    vectors = _vectors(instances, top)
    labels = k_means(vectors, count, seed=seed)
    groups: dict[int, list[Instance]] = {}
    for one, label in zip(instances, labels, strict=True):
        groups.setdefault(label, []).append(one)
    return [
        sorted(group, key=lambda one: (-peak(one.watts), one.name))
        for _, group in sorted(groups.items())
    ]


def _vectors(
    instances: Sequence[Instance], top: Sequence[Sequence[float]]
) -> list[tuple[float, ...]]:
    """One for each instance; those that share their service's trace share the work."""
    known: dict[int, tuple[float, ...]] = {}
    for one in instances:
        if id(one.watts) not in known:
            known[id(one.watts)] = vector(one.watts, top)
    return [known[id(one.watts)] for one in instances]
