"""Where one more replica raises the weekly peaks least. Pure.

Dynamic reshaping moves new replicas only: nothing that runs is moved for a better plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import add

from capper.decide.domains import DomainTree
from capper.decide.smoothing_scores import added, hulls, peak
from capper.decide.smoothing_traces import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A leaf for one new replica.

    Attributes:
        leaf: Its name.
        rise_watts: Sum of the rises of the weekly peaks, of the leaf and of all that feed it.
        leaf_rise_watts: Of the leaf alone.
        headroom_watts: Least that a cap on the path leaves above its peak then; None: no cap.
        reason: One sentence.
    """

    leaf: str
    rise_watts: float
    leaf_rise_watts: float
    headroom_watts: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakBoard:
    """What hints are made of; hints themselves only look things up.

    Attributes:
        tree: The power tree.
        services: S-trace by service.
        weeks: Watts of each node over the week, as the instances hang now; zeros where none does.
        peaks: Of these, watts by node.
        after: Service -> node -> the node's peak with one more replica of it.
    """

    tree: DomainTree
    services: Mapping[str, Sequence[float]]
    weeks: Mapping[str, Sequence[float]]
    peaks: Mapping[str, float]
    after: Mapping[str, Mapping[str, float]]


def peak_board(traces: Traces, tree: DomainTree, *, most_steps: int | None = None) -> PeakBoard:
    """The board of the instances as they hang now; one that hangs nowhere counts at the root.

    Args:
        traces: The week.
        tree: The power tree.
        most_steps: Work on hulls of this many steps: the nodes' peaks are the same, with one more
            replica they are never below the true ones.
    """
    steps = len(next(iter(traces.services.values()), ()))
    below: dict[str, list[Sequence[float]]] = {name: [(0.0,) * steps] for name in tree.domains}
    for one in traces.instances:
        for name in tree.path(one.leaf or tree.root):
            below[name].append(one.watts)
    weeks: dict[str, Sequence[float]] = {name: added(parts) for name, parts in below.items()}
    services = traces.services
    if most_steps is not None:
        weeks = dict(zip(weeks, hulls(weeks.values(), most=most_steps), strict=True))
        services = dict(zip(services, hulls(services.values(), most=most_steps), strict=True))
    return board_of(tree, services, weeks)


def board_of(
    tree: DomainTree,
    services: Mapping[str, Sequence[float]],
    weeks: Mapping[str, Sequence[float]],
) -> PeakBoard:
    """The board of nodes' weeks."""
    return PeakBoard(
        tree=tree,
        services=services,
        weeks=weeks,
        peaks={name: peak(week) for name, week in weeks.items()},
        after={
            service: {name: max(map(add, week, trace)) for name, week in weeks.items()}
            for service, trace in services.items()
        },
    )


def with_replica(board: PeakBoard, service: str, leaf: str) -> PeakBoard:
    """The board with one more replica, so that the next one does not follow it blindly.

    Unchanged where the service or the leaf is not known.
    """
    trace = board.services.get(service)
    if trace is None or leaf not in board.tree.domains:
        return board
    weeks = {name: list(map(add, board.weeks[name], trace)) for name in board.tree.path(leaf)}
    news = board_of(board.tree, board.services, weeks)
    return replace(
        board,
        weeks={**board.weeks, **weeks},
        peaks={**board.peaks, **news.peaks},
        after={name: {**board.after[name], **news.after[name]} for name in board.after},
    )


def placement_hints(board: PeakBoard, service: str) -> tuple[Hint, ...]:
    """Leaves for one more replica of a service, the best first.

    The best is the one with the least rise of peaks, then the most headroom, then by name. Left out
    are those where the week's peak would pass a cap. None where the service has no trace.
    """
    after = board.after.get(service)
    if after is None:
        return ()
    replica_watts = peak(board.services[service])
    found = [_hint(board, leaf, after, replica_watts) for leaf in board.tree.leaves()]
    fits = [one for one in found if one.headroom_watts is None or one.headroom_watts >= 0.0]
    return tuple(sorted(fits, key=_order))


def _order(one: Hint) -> tuple[float, float, str]:
    # Rises are compared in whole watts: rounding must not outweigh headroom.
    headroom = float("inf") if one.headroom_watts is None else one.headroom_watts
    return (round(one.rise_watts), -headroom, one.leaf)


def _hint(board: PeakBoard, leaf: str, after: Mapping[str, float], replica_watts: float) -> Hint:
    path = board.tree.path(leaf)
    rises = [after[name] - board.peaks[name] for name in path]
    caps = [(name, board.tree.domains[name].cap) for name in path]
    rooms = [cap.watts - after[name] for name, cap in caps if cap is not None]
    headroom = min(rooms, default=None)
    left = "" if headroom is None else f", {headroom:.0f} W of its caps are left"
    return Hint(
        leaf=leaf,
        rise_watts=sum(rises),
        leaf_rise_watts=rises[0],
        headroom_watts=headroom,
        reason=(
            f"its weekly peak rises by {rises[0]:.0f} of the replica's {replica_watts:.0f} W{left}"
        ),
    )
