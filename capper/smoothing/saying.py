"""What smoothing says in status and conditions. Pure."""

from capper.api.smoothing_block import SmoothingNodeStatus, SmoothingStatus
from capper.decide.domains import DomainTree
from capper.decide.smoothing import NodeReport, leaf_peaks_watts
from capper.operator.timestamps import rfc3339
from capper.smoothing.watch import Planned, SmoothingLook

CONDITION = "SmoothingPlanned"
_MOST_NODES = 256
_MOST_NOTES = 16


def condition_of(found: SmoothingLook) -> tuple[bool, str, str] | None:
    """Holds, reason, sentence; None where smoothing is not asked for."""
    if not found.enabled:
        return None
    if found.problem:
        kept = "" if found.planned is None else " The plan before stays."
        return (False, "HistoryUnusable", f"{found.problem}{kept}")
    if found.planned is None:
        return (False, "Planning", "the history is being read.")
    return (True, "Planned", sentence_of(found.planned, found.tree))


def sentence_of(planned: Planned, tree: DomainTree | None) -> str:
    """The plan in a sentence, with the tightest node."""
    plan = planned.plan
    told = f"{len(plan.leaves)} replicas of {len(planned.traces.services)} services"
    lower = lower_ratio(planned)
    if lower is not None:
        told += f"; the racks' weekly peaks would be {lower:.1%} lower as planned"
    if tree is not None:
        rooms = [
            (watts, one.name)
            for one in planned.nodes
            if (watts := _headroom_watts(one, tree)) is not None
        ]
        if rooms:
            watts, name = min(rooms)
            word = "leaves" if watts >= 0.0 else "lacks"
            told += f"; the weekly peak {word} {abs(watts):.0f} W at {name}"
    return told + "."


def lower_ratio(planned: Planned) -> float | None:
    """By how much the leaves' peaks would be lower together."""
    before = leaf_peaks_watts(planned.plan.before, planned.board.tree)
    if before <= 0.0:
        return None
    return 1.0 - leaf_peaks_watts(planned.plan.after, planned.board.tree) / before


def status_of(found: SmoothingLook) -> SmoothingStatus | None:
    """The status' block; None without a plan."""
    planned = found.planned
    if planned is None or found.tree is None:
        return None
    after = {one.name: one for one in planned.plan.after}
    nodes = [
        SmoothingNodeStatus(
            name=one.name,
            instances=one.instances,
            peak_watts=one.peak_of_sum_watts,
            planned_peak_watts=after[one.name].peak_of_sum_watts,
            headroom_watts=_headroom_watts(one, found.tree),
            asynchrony=one.asynchrony,
        )
        for one in planned.nodes
    ]
    traces = planned.traces
    return SmoothingStatus(
        planned_time=rfc3339(planned.made_seconds),
        history_seconds=traces.weeks * 604_800.0,
        services=len(traces.services),
        lower_peaks_ratio=lower_ratio(planned),
        nodes=tuple(nodes[:_MOST_NODES]),
        notes=tuple(note[:1024] for note in traces.notes[:_MOST_NOTES]),
    )


def _headroom_watts(one: NodeReport, tree: DomainTree) -> float | None:
    """With the cap of this turn: carbon and shares move caps between two plans."""
    cap = tree.domains[one.name].cap
    return None if cap is None else cap.watts - one.peak_of_sum_watts
