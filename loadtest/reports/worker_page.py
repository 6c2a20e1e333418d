"""Several router workers against one, as a table and as a page."""

from collections.abc import Sequence

from loadtest.reports.cells import UNKNOWN, markdown_table, number
from loadtest.statistics import Interval
from loadtest.study.summary import StudySummary
from loadtest.study.worker_pairs import (
    WITHIN_RATIO,
    WorkerPair,
    mean_joules_ratio,
    worker_pairs,
)

HEADER = ("load", "arm", "J/token", "J/token against one", "95 %", "attainment", "95 %", "within")
FOOTNOTE = (
    "J/token against one worker in percent, attainment in percentage points, both paired by seed. "
    f"Within: both within {WITHIN_RATIO:.0%} of one worker."
)


def worker_rows(summary: StudySummary, policy: str, workers: int) -> list[tuple[str, ...]]:
    """By load, with a shared ledger and without; the mean of all loads last."""
    rows = []
    for shared in (True, False):
        pairs = worker_pairs(summary.points, policy, workers, shared=shared)
        rows += [_row(pair) for pair in pairs]
        ratio = mean_joules_ratio(pairs)
        if len(pairs) > 1 and ratio is not None:
            rows.append(("mean", pairs[0].arm, "", _percent(ratio - 1.0), "", "", "", ""))
    return rows


def worker_page(
    summary: StudySummary, policies: Sequence[str], workers: int, *, command: str
) -> str:
    """The page; everything on it is simulated."""
    scenario = summary.scenario
    parts = [
        f"# {workers} router workers against one (simulated)",
        (
            f"{scenario.description}; seeds {', '.join(map(str, summary.seeds))}, windows of "
            f"{scenario.window_seconds:g} s. Every request is dealt to one of {workers} workers at "
            "random. With a shared ledger each repeats in its picker what the others did, encoded "
            "and decoded as in production and 1 ms late; the parent chooses the committed sets for "
            "all. Delivered at once, the figures are those of one worker to the last digit (a "
            "test); a millisecond can tip a choice between two sets that cost nearly the same. "
            "`-apart`: each worker knows its own requests and the scrapes only."
        ),
        (
            f"`{command}` makes this page; the same seeds give the same figures. "
            "Why and how: [decision 25](../decisions/0025-workers-share-a-ledger.md)."
        ),
    ]
    for policy in policies:
        parts.append(markdown_table(HEADER, worker_rows(summary, policy, workers), texts=2))
        pairs = worker_pairs(summary.points, policy, workers, shared=True)
        near = sum(pair.within for pair in pairs)
        parts.append(
            f"`{policy}`: {near} of {len(pairs)} loads are within {WITHIN_RATIO:.0%} of one worker "
            "in both figures with the shared ledger."
        )
    return "\n\n".join([*parts, FOOTNOTE]) + "\n"


def _row(pair: WorkerPair) -> tuple[str, ...]:
    return (
        pair.point,
        pair.arm,
        number(pair.joules_per_token, digits=3),
        _percent(None if pair.joules_ratio is None else pair.joules_ratio.value - 1.0),
        _span(pair.joules_ratio, less=1.0),
        _percent(None if pair.attainment_difference is None else pair.attainment_difference.value),
        _span(pair.attainment_difference, less=0.0),
        "yes" if pair.within else "no",
    )


def _percent(ratio: float | None) -> str:
    return UNKNOWN if ratio is None else f"{100.0 * ratio:+.2f}"


def _span(interval: Interval | None, *, less: float) -> str:
    if interval is None or interval.seeds == 1:
        return UNKNOWN
    return f"{100.0 * (interval.low - less):+.2f} to {100.0 * (interval.high - less):+.2f}"
