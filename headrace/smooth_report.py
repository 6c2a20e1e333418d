"""What `headrace smooth` says of a plan: tables and JSON. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from capper.decide.domains import DomainTree
from capper.decide.smoothing import NodeReport, SmoothingPlan, leaf_peaks_watts
from capper.decide.smoothing_hints import Hint
from capper.decide.smoothing_scores import peak
from capper.decide.smoothing_traces import Traces

SCHEMA = 1
_UNKNOWN = "-"
_SHOWN_HINTS = 3

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Header and rows."""


def lower_ratio(plan: SmoothingPlan, tree: DomainTree) -> float | None:
    """By how much the sum of the leaves' peaks is lower as planned; None: not known as it is."""
    before = leaf_peaks_watts(plan.before, tree)
    if before <= 0.0:
        return None
    return 1.0 - leaf_peaks_watts(plan.after, tree) / before


def headroom_table(plan: SmoothingPlan) -> Table:
    """Each node as it is and as planned."""
    header = (
        *("node", "n", "peak kW\nnow", "\nplan", "async\nnow", "\nplan"),
        *("cap\nkW", "room kW\nnow", "\nplan"),
    )
    before: Mapping[str, NodeReport] = {one.name: one for one in plan.before}
    rows: list[tuple[str, ...]] = []
    for after in plan.after:
        now = before.get(after.name)
        rows.append(
            (
                "  " * after.depth + after.name,
                str(after.instances),
                _kilowatts(None if now is None else now.peak_of_sum_watts),
                _kilowatts(after.peak_of_sum_watts),
                _UNKNOWN if now is None else f"{now.asynchrony:.2f}",
                f"{after.asynchrony:.2f}",
                _kilowatts(after.cap_watts),
                _kilowatts(None if now is None else now.headroom_watts),
                _kilowatts(after.headroom_watts),
            )
        )
    return header, rows


def leaf_table(traces: Traces, plan: SmoothingPlan, tree: DomainTree) -> Table:
    """How many instances of each service every leaf has as planned, and has now."""
    services = sorted(traces.services)
    planned = Counter((plan.leaves[one.name], one.service) for one in traces.instances)
    now = Counter((one.leaf, one.service) for one in traces.instances)
    rows = [
        (
            leaf,
            *(f"{planned[leaf, service]} ({now[leaf, service]})" for service in services),
        )
        for leaf in tree.leaves()
    ]
    return ("leaf", *services), rows


def hint_table(hints: Mapping[str, Sequence[Hint]]) -> Table:
    """The best leaves for one more replica of each service, with the rise of all peaks."""
    rows: list[tuple[str, ...]] = []
    for service, found in hints.items():
        best = [f"{one.leaf} +{one.rise_watts:.0f} W" for one in found[:_SHOWN_HINTS]]
        rows.append((service, *best, *[_UNKNOWN] * (_SHOWN_HINTS - len(best))))
    return ("service", "best", "second", "third"), rows


def plan_rows(traces: Traces, plan: SmoothingPlan) -> list[tuple[str, ...]]:
    """Instance, service, leaf now and as planned, peak and where the trace is from."""
    return [
        (
            one.name,
            one.service,
            one.leaf or "",
            plan.leaves[one.name],
            f"{peak(one.watts):.1f}",
            "service" if one.borrowed else "own",
        )
        for one in traces.instances
    ]


def plan_document(
    traces: Traces,
    plan: SmoothingPlan,
    tree: DomainTree,
    hints: Mapping[str, Sequence[Hint]],
    *,
    inputs: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "schema": SCHEMA,
        "simulated": False,
        "inputs": dict(inputs),
        "history": {
            "weeks": traces.weeks,
            "step_seconds": traces.step_seconds,
            "instances": len(traces.instances),
            "coverage_ratio_by_service": dict(traces.coverage_ratios),
            "rejected_readings": traces.rejected,
            "notes": list(traces.notes),
        },
        "leaf_peaks_watts_now": leaf_peaks_watts(plan.before, tree) if plan.before else None,
        "leaf_peaks_watts_planned": leaf_peaks_watts(plan.after, tree),
        "lower_leaf_peaks_ratio": lower_ratio(plan, tree),
        "moved_instances": plan.moved,
        "nodes_now": [asdict(one) for one in plan.before],
        "nodes_planned": [asdict(one) for one in plan.after],
        "leaves": dict(plan.leaves),
        "hints": {service: [asdict(one) for one in found] for service, found in hints.items()},
    }


def summary_line(traces: Traces, plan: SmoothingPlan, tree: DomainTree) -> str:
    """The result in a sentence."""
    after = leaf_peaks_watts(plan.after, tree) / 1e3
    ratio = lower_ratio(plan, tree)
    if ratio is None:
        return (
            f"{len(traces.instances)} instances over {len(tree.leaves())} leaves: their peaks add"
            f" up to {after:.1f} kW as planned; where the instances hang now is not known."
        )
    before = leaf_peaks_watts(plan.before, tree) / 1e3
    return (
        f"{len(traces.instances)} instances over {len(tree.leaves())} leaves: their peaks add up to"
        f" {before:.1f} kW now and to {after:.1f} kW as planned, {ratio:.1%} less;"
        f" {plan.moved} instances would hang elsewhere."
    )


def _kilowatts(watts: float | None) -> str:
    return _UNKNOWN if watts is None else f"{watts / 1e3:.2f}"
