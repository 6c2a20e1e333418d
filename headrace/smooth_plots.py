"""Plots of a smoothing plan: the week of every leaf and its peak, before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capper.decide.domains import DomainTree
from capper.decide.smoothing_scores import added, peak
from capper.decide.smoothing_traces import Traces
from loadtest.reports.plots import save

_DAY_SECONDS = 86_400.0
_MOST_LINES = 24
_BEFORE, _AFTER = "#D55E00", "#0072B2"
_DAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")


def peaks_plot(
    traces: Traces,
    tree: DomainTree,
    placements: Mapping[str, Mapping[str, str]],
    *,
    title: str,
    path: Path,
) -> None:
    """One panel with the weeks of the leaves per placement, and one with the leaves' peaks.

    Args:
        traces: The week.
        tree: Its leaves are drawn, at most 24 of them as lines.
        placements: Name -> instance -> leaf; two, the one before first.
        title: Above all.
        path: The PNG.
    """
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    panels = figure.subplots(1, len(placements) + 1, squeeze=False)[0]
    weeks = {
        name: {leaf: _week(traces, leaves, leaf) for leaf in tree.leaves()}
        for name, leaves in placements.items()
    }
    top = max(peak(week) for one in weeks.values() for week in one.values()) / 1e3
    for axes, (name, found) in zip(panels, weeks.items(), strict=False):
        _draw_weeks(axes, name, found, traces.step_seconds)
        axes.set_ylim(0.0, 1.06 * top)
    _draw_peaks(panels[-1], weeks, tree)
    panels[-1].set_ylim(0.0, 1.25 * top)
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def _week(traces: Traces, leaves: Mapping[str, str], leaf: str) -> list[float]:
    steps = len(next(iter(traces.services.values())))
    return added(
        ((0.0,) * steps, *(one.watts for one in traces.instances if leaves.get(one.name) == leaf))
    )


def _draw_weeks(
    axes: Axes, name: str, weeks: Mapping[str, Sequence[float]], step_seconds: float
) -> None:
    colour = _BEFORE if "now" in name or "before" in name else _AFTER
    for week in list(weeks.values())[:_MOST_LINES]:
        days = [step * step_seconds / _DAY_SECONDS for step in range(len(week))]
        axes.plot(days, [watts / 1e3 for watts in week], color=colour, linewidth=0.6, alpha=0.7)
    axes.set_xticks([day + 0.5 for day in range(7)], _DAYS)
    axes.set_xlim(0.0, 7.0)
    axes.set_xlabel("UTC week")
    axes.set_ylabel("power of each leaf, kW")
    axes.set_title(name, fontsize=10)
    _tidy(axes)


def _draw_peaks(
    axes: Axes, weeks: Mapping[str, Mapping[str, Sequence[float]]], tree: DomainTree
) -> None:
    leaves, width = tree.leaves(), 0.8 / len(weeks)
    for number, (name, found) in enumerate(weeks.items()):
        axes.bar(
            [at + number * width for at in range(len(leaves))],
            [peak(found[leaf]) / 1e3 for leaf in leaves],
            width=width,
            color=(_BEFORE, _AFTER)[number % 2],
            hatch=("", "//")[number % 2],
            edgecolor="white",
            label=name,
        )
    caps = [(at, tree.domains[leaf].cap) for at, leaf in enumerate(leaves)]
    for at, cap in caps:
        if cap is not None:
            axes.hlines(cap.watts / 1e3, at - 0.2, at + 0.8, color="0.2", linewidth=1.5)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(leaves)} leaves (line: cap)" if caps[0][1] else f"{len(leaves)} leaves")
    axes.set_ylabel("weekly peak, kW")
    axes.legend(fontsize=8, frameon=False, loc="upper center", ncols=len(weeks))
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
