"""The tables that `headrace bench decide` prints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from headrace.bench.decide import DecideCost, Growth, SnapshotCost

_WORDS = (
    "requests: what they ask for, as headrace/bench/decide_arms.py says. Pick: a replica is chosen "
    "for one request; end: its entry leaves the ledger. Snapshot: the picker takes in what was "
    "scraped of the fleet, in steps between which requests go; commit: it chooses the set of "
    "replicas that carries the load, once a second; pass on: endpoints for a request without a "
    "prompt."
)


def print_tables(
    console: Console,
    costs: "Sequence[DecideCost]",
    snapshots: "Sequence[SnapshotCost]",
    growths: "Sequence[Growth]",
) -> None:
    """Picks, growth with the fleet, and what comes once a second."""
    sizes = [cost.replicas for cost in snapshots]
    found = {(it.policy, it.arm, it.replicas): it for it in costs}
    rows = list(dict.fromkeys((it.policy, it.arm) for it in costs))
    picks = _table("CPU microseconds of one pick (with the end of one request)", sizes)
    for key in rows:
        cells = [found[(*key, size)] for size in sizes]
        picks.add_row(
            *key,
            *(
                f"{it.pick_microseconds:.1f} ({it.pick_microseconds + it.settle_microseconds:.1f})"
                for it in cells
            ),
        )
    console.print(picks)

    grown = _table("cost of a pick over that at the size before (exponent of the size)", sizes[1:])
    ratios = {(it.policy, it.arm, it.to_replicas): it for it in growths}
    for key in rows:
        steps = [ratios[(*key, size)] for size in sizes[1:]]
        grown.add_row(*key, *(f"{it.ratio:.2f} ({it.exponent:.2f})" for it in steps))
    console.print(grown)

    rare = _table("CPU microseconds: snapshot, its longest step / commit / pass on", sizes)
    for key in rows:
        cells = [found[(*key, size)] for size in sizes]
        rare.add_row(
            *key,
            *(
                f"{it.observe_microseconds:.0f}, {it.observe_step_microseconds:.0f} / "
                f"{it.commit_microseconds:.0f} / {it.pass_on_microseconds:.0f}"
                for it in cells
            ),
        )
    builds = (f"{cost.build_microseconds:.0f}" for cost in snapshots)
    rare.add_row("one scrape merged into a snapshot", "", *builds)
    console.print(rare)
    console.print(_WORDS)


def _table(title: str, sizes: Sequence[int]) -> Table:
    table = Table(title=title)
    table.add_column("policy")
    table.add_column("requests")
    for size in sizes:
        table.add_column(f"{size} replicas", justify="right")
    return table
