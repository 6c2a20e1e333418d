"""`headrace smooth --example`: declared weeks, dealt and measured. Everything is simulated."""

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import add, sub
from pathlib import Path
from random import Random

from rich.console import Console

from capper.decide.smoothing import Dealing, SmoothingPlan, deal, leaf_peaks_watts, reports
from capper.decide.smoothing_hints import board_of, peak_board, placement_hints
from capper.decide.smoothing_traces import Traces
from headrace.smooth_cases import WeekCase, load_cases
from headrace.smooth_page import example_document, example_page, example_rows
from headrace.smooth_plots import peaks_plot
from headrace.smooth_results import ArmResult, CaseResult
from headrace.smooth_week import input_hashes, week, write_history
from loadtest.reports.cells import markdown_table
from loadtest.reports.json_report import dumps

SEEDS = 5
"""Weeks that are drawn, one after another from --seed on."""

_RANDOMS = 20
_NEXT_WEEK = 1000


@dataclass(frozen=True)
class _Planned:
    """One case of one seed."""

    case: WeekCase
    traces: Traces
    plan: SmoothingPlan


def run_example(args: argparse.Namespace, console: Console) -> int:
    """Deal every case, show and write the figures."""
    cases = load_cases(args.cases)
    inputs = {
        **input_hashes(args.cases, cases),
        "clusters": args.clusters,
        "seeds": list(range(args.seed, args.seed + SEEDS)),
    }
    results, shown = [], []
    for case in cases:
        console.print(f"{case.name}: {case.description}", markup=False)
        result, first = _measured(case, args)
        results.append(result)
        shown.append(first)
    header, rows = example_rows(results)
    console.print(markdown_table(header, rows), markup=False)
    console.print("Simulated: declared weeks. Figures are of the week after the one planned on.")
    for path in _written(args, results, shown, inputs):
        console.print(f"written: {path}", markup=False)
    return 0


def _measured(case: WeekCase, args: argparse.Namespace) -> tuple[CaseResult, _Planned]:
    tree = case.tree()
    arms: dict[str, list[ArmResult]] = {}
    first = None
    for seed in range(args.seed, args.seed + SEEDS):
        traces, following = week(case, seed=seed), week(case, seed=seed + _NEXT_WEEK)
        dealing = Dealing(clusters=args.clusters, seed=seed)
        plan = deal(traces, tree, dealing)
        first = first or _Planned(case, traces, plan)
        now = {one.name: one.leaf or "" for one in traces.instances}
        placements: dict[str, list[Mapping[str, str]]] = {
            "now": [now],
            "random": list(_shuffled(now, seed)),
            "dealt": [
                deal(traces, tree, Dealing(clusters=args.clusters, seed=seed, most_swaps=0)).leaves
            ],
            "renewed": [_renewed(case, traces, seed)],
            "planned": [plan.leaves],
        }
        for name, found in placements.items():
            arms.setdefault(name, []).append(_arm(case, following, now, found))
    assert first is not None, "there is a seed"
    result = CaseResult(
        name=case.name,
        description=case.description,
        replicas=len(first.traces.instances),
        racks=len(case.racks()),
        kilowatts=leaf_peaks_watts(first.plan.before, tree) / 1e3,
        moved=first.plan.moved,
        arms={name: _mean(found) for name, found in arms.items()},
    )
    return result, first


def _arm(
    case: WeekCase,
    traces: Traces,
    now: Mapping[str, str],
    placements: Sequence[Mapping[str, str]],
) -> ArmResult:
    """Peaks over a week against those as it is, the mean of the placements."""
    tree = case.tree()

    def peaks(leaves: Mapping[str, str]) -> tuple[float, float, float]:
        found = reports(traces.instances, leaves, tree)
        rows = sum(one.peak_of_sum_watts for one in found if one.depth == 1)
        return (leaf_peaks_watts(found, tree), rows, found[0].peak_of_sum_watts)

    leaf, row, root = peaks(now)
    measured = [peaks(one) for one in placements]
    lower = [1.0 - one[0] / leaf for one in measured]
    return ArmResult(
        leaf_ratio=math.fsum(lower) / len(lower),
        low_ratio=min(lower),
        high_ratio=max(lower),
        row_ratio=math.fsum(1.0 - one[1] / row for one in measured) / len(measured),
        bound_ratio=1.0 - root / leaf,
    )


def _mean(found: Sequence[ArmResult]) -> ArmResult:
    def mean(name: str) -> float:
        return math.fsum(getattr(one, name) for one in found) / len(found)

    return ArmResult(
        leaf_ratio=mean("leaf_ratio"),
        low_ratio=min(one.low_ratio for one in found),
        high_ratio=max(one.high_ratio for one in found),
        row_ratio=mean("row_ratio"),
        bound_ratio=mean("bound_ratio"),
    )


def _shuffled(now: Mapping[str, str], seed: int) -> Iterator[dict[str, str]]:
    """The same slots, dealt by chance."""
    for number in range(_RANDOMS):
        leaves = list(now.values())
        Random(f"{seed} {number}").shuffle(leaves)  # noqa: S311 - a simulation
        yield dict(zip(now, leaves, strict=True))


def _renewed(case: WeekCase, traces: Traces, seed: int) -> dict[str, str]:
    """Every replica ended once, in random order, its successor hung where the hints say.

    Racks have a quarter more slots than replicas: in full ones a successor has no choice.
    """
    tree = case.tree()
    nodes = dict(peak_board(traces, tree).weeks)
    leaves = {one.name: one.leaf or "" for one in traces.instances}
    free = {leaf: -(-count // 4) for leaf, count in Counter(leaves.values()).items()}
    order = list(traces.instances)
    Random(seed).shuffle(order)  # noqa: S311 - a simulation
    for one in order:
        before = leaves[one.name]
        for node in tree.path(before):
            nodes[node] = list(map(sub, nodes[node], one.watts))
        free[before] += 1
        board = board_of(tree, {one.service: traces.services[one.service]}, nodes)
        hints = placement_hints(board, one.service)
        after = next(hint.leaf for hint in hints if free[hint.leaf] > 0)
        for node in tree.path(after):
            nodes[node] = list(map(add, nodes[node], one.watts))
        free[after] -= 1
        leaves[one.name] = after
    return leaves


def _written(
    args: argparse.Namespace,
    results: Sequence[CaseResult],
    shown: Sequence[_Planned],
    inputs: Mapping[str, object],
) -> Iterator[Path]:
    document = example_document(results, inputs)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        report = args.out / "report.json"
        report.write_text(dumps(document), encoding="utf-8")
        yield report
        for one in shown:
            history = args.out / f"{one.case.name}.csv"
            write_history(one.traces, history)
            yield history
            yield _plot(one, args.out)
    if args.page is not None:
        folder = args.page.with_suffix("")
        folder.mkdir(parents=True, exist_ok=True)
        plots = [_plot(one, folder) for one in shown[:2]]
        links = [f"{folder.name}/{path.name}" for path in plots]
        args.page.write_text(example_page(results, inputs, plots=links), encoding="utf-8")
        yield from plots
        yield args.page


def _plot(one: _Planned, folder: Path) -> Path:
    path = folder / f"{one.case.name}.png"
    now = {each.name: each.leaf or "" for each in one.traces.instances}
    peaks_plot(
        one.traces,
        one.case.tree(),
        {"now": now, "planned": one.plan.leaves},
        title=f"{one.case.name}: power of the racks over a declared week (simulated)",
        path=path,
    )
    return path
