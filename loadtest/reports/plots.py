"""Plots of a study. Every title says that the figures are simulated.

Arms differ by marker, dash and lightness as well as by colour, so a grey print can be read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from loadtest.reports.arm_order import arm_order
from loadtest.simulator.arms import LEAST_REQUEST, OURS, SCORER
from loadtest.simulator.scenario import Point, Scenario
from loadtest.study.jobs import Outcome
from loadtest.study.summary import (
    TARGET_ATTAINMENT_RATIO,
    ArmSummary,
    PointSummary,
    StudySummary,
)

_DPI = 130
_PANEL_INCHES = (4.6, 3.8)
_MOST_COLUMNS = 3
_MOST_LINES = 5
_MOST_LEGEND_ROWS = 12

# Okabe and Ito's colours, told apart by colour-blind readers too, from dark to light.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = "*osDv^<>phXPd8H"
DASHES = ("-", (0, (6, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))

# Fewer misses than one in ten thousand share a band of this width, side by side in the order of
# the arms: a logarithm has no zero, and most arms would lie on one another there.
_FEWEST_MISSED_RATIO = 1e-4
_BAND_RATIO = 0.05
_MISSED_TICKS = (
    *((1.0, "0"), (0.1, "90"), (1e-2, "99"), (1e-3, "99.9")),
    (_FEWEST_MISSED_RATIO * _BAND_RATIO**0.5, "≥99.99"),
)


def write_plots(summary: StudySummary, recorded: Sequence[Outcome], folder: Path) -> Iterator[Path]:
    """Draw everything there is to draw; gives the files that were written.

    Args:
        summary: Figures of all seeds.
        recorded: Outcomes of one seed, for those plots that show time.
        folder: Where to; exists.
    """
    path = folder / "attainment.png"
    save(attainment_plot(summary), path)
    yield path
    if not any(one.timeline is not None for one in recorded):
        return
    path = folder / "power.png"
    save(power_plot(summary, recorded), path)
    yield path
    for number, point in enumerate(summary.points, start=1):
        shown = _at(recorded, point.point, (OURS, SCORER, LEAST_REQUEST))
        if shown:
            path = folder / f"batches-{number}.png"
            save(batch_plot(summary.scenario, point.point, shown), path)
            yield path


def attainment_plot(summary: StudySummary) -> Figure:
    """J per output token against attainment, one panel per point; the bound is a line."""
    figure, panels = _panels(len(summary.points))
    for axes, point in zip(panels, summary.points, strict=True):
        for number, arm in enumerate(sorted(point.arms, key=lambda arm: arm_order(arm.arm))):
            _draw_arm(axes, arm, slot_ratio=(number + 0.5) / len(point.arms))
        _draw_bounds(axes, point)
        axes.axvline(
            1.0 - TARGET_ATTAINMENT_RATIO,
            color="0.55",
            linewidth=1.2,
            linestyle=(0, (1, 1.5)),
            zorder=0,
            label=f"target: {TARGET_ATTAINMENT_RATIO:.0%}",
        )
        last = _FEWEST_MISSED_RATIO * _BAND_RATIO
        axes.axvspan(_FEWEST_MISSED_RATIO, last, color="0.95", zorder=-1)
        axes.set_xscale("log")
        axes.set_xlim(1.8, last)
        axes.xaxis.set_major_locator(FixedLocator([ratio for ratio, _ in _MISSED_TICKS]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([label for _, label in _MISSED_TICKS])
        axes.set_xlabel("requests within both objectives, %")
        axes.set_ylabel("J per output token")
        axes.set_ylim(0.0, 1.06 * axes.get_ylim()[1])
        axes.set_title(point.point.label, fontsize=10)
    return _finished(
        figure,
        f"{summary.scenario.name}: energy against attainment (simulated)\n"
        f"seeds {', '.join(map(str, summary.seeds))}; bars: 95 % over seeds",
    )


def power_plot(summary: StudySummary, recorded: Sequence[Outcome]) -> Figure:
    """Power of the fleet over time, one panel per point, with the cap when there is one."""
    scenario = summary.scenario
    figure, panels = _panels(len(summary.points), most_columns=2, width_ratio=1.35)
    for axes, point in zip(panels, summary.points, strict=True):
        shown = [one for one in recorded if one.point == point.point]
        for number, outcome in enumerate(shown[:_MOST_LINES]):
            timeline = outcome.timeline
            if timeline is None:
                continue
            times = np.arange(len(timeline.watts)) * timeline.bin_seconds
            axes.step(
                times - scenario.warmup_seconds,
                np.array(timeline.watts) / 1000.0,
                where="post",
                color=_colour(outcome.result.arm),
                linestyle=DASHES[number],
                linewidth=1.1,
                label=outcome.result.arm,
            )
        _draw_cap(axes, scenario)
        axes.axvspan(-scenario.warmup_seconds, 0.0, color="0.93", zorder=0, label="warm-up")
        axes.set_xlim(-scenario.warmup_seconds, scenario.window_seconds)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("seconds of the measured window")
        axes.set_ylabel("power of all boards, kW")
        axes.set_title(point.point.label, fontsize=10)
    return _finished(
        figure, f"{scenario.name}: power over time (simulated, seed {summary.seeds[0]})"
    )


def _draw_cap(axes: Axes, scenario: Scenario) -> None:
    """The one cap that is compared with, or the fleet's caps that something acts on, in steps."""
    declared = () if scenario.caps is None else scenario.caps.fleet or ()
    steps = [(one.at_seconds, one.watts) for one in declared]
    if scenario.power_cap_watts is not None:
        steps = [(-scenario.warmup_seconds, scenario.power_cap_watts)]
    if steps:
        times, watts = zip(*steps, (scenario.window_seconds, steps[-1][1]), strict=True)
        axes.step(
            times,
            np.array(watts) / 1000.0,
            where="post",
            color="0.35",
            linewidth=2.0,
            label="power cap",
        )


def batch_plot(scenario: Scenario, point: Point, shown: Sequence[Outcome]) -> Figure:
    """Requests on every replica over time, one panel per arm, all on one scale."""
    timelines = [one.timeline for one in shown if one.timeline is not None]
    rows = len(timelines[0].replicas)
    figure = Figure(figsize=(9.0, 1.1 + len(shown) * (0.8 + 0.21 * rows)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    highest = max(max(max(series) for series in one.running) for one in timelines)
    # Square roots: one request must be told from none beside a batch of 256.
    norm = PowerNorm(0.5, vmin=0.0, vmax=max(highest, 1.0))
    image = None
    for axes, outcome, timeline in zip(panels, shown, timelines, strict=True):
        bins = len(timeline.running[0])
        image = axes.imshow(
            # An idle replica must be told from one with a single request: it has no colour.
            np.ma.masked_equal(np.array(timeline.running), 0.0),
            aspect="auto",
            interpolation="nearest",
            cmap="viridis_r",
            norm=norm,
            extent=(
                -scenario.warmup_seconds,
                bins * timeline.bin_seconds - scenario.warmup_seconds,
                rows - 0.5,
                -0.5,
            ),
        )
        axes.set_xlim(-scenario.warmup_seconds, scenario.window_seconds)
        axes.set_yticks(range(rows), _replica_labels(timeline.backends), fontsize=8)
        axes.axvline(0.0, color="black", linewidth=1.0)
        axes.set_yticks(np.arange(0.5, rows - 1), minor=True)
        axes.grid(which="minor", axis="y", color="0.85", linewidth=0.6)
        axes.tick_params(which="minor", length=0)
        axes.set_title(outcome.result.arm, fontsize=10, loc="left")
    assert image is not None, "there is at least one arm"
    panels[-1].set_xlabel("seconds of the measured window (left of the line: warm-up)")
    figure.colorbar(
        image, ax=list(panels), label="running and waiting requests (white: none)", pad=0.01
    )
    figure.suptitle(f"{scenario.name}, {point.label}: requests per replica (simulated)")
    return figure


def _draw_arm(axes: Axes, arm: ArmSummary, *, slot_ratio: float) -> None:
    """A marker with its interval; `slot_ratio` is its place in the band of the best."""
    joules, attained = arm.joules_per_token, arm.attainment_ratio
    if joules is None or attained is None:
        return
    ours = arm.arm == OURS
    missed = 1.0 - attained.value
    if missed < _FEWEST_MISSED_RATIO:
        missed = _FEWEST_MISSED_RATIO * _BAND_RATIO**slot_ratio
    axes.errorbar(
        missed,
        joules.value,
        yerr=[[joules.value - joules.low], [joules.high - joules.value]],
        marker=_marker(arm.arm),
        markersize=13 if ours else 7,
        color=_colour(arm.arm),
        markerfacecolor=_colour(arm.arm) if _filled(arm.arm) else "white",
        elinewidth=0.9,
        linestyle="none",
        zorder=4 if ours else 3,
        label=arm.arm,
    )


def _draw_bounds(axes: Axes, point: PointSummary) -> None:
    for joules, dash, label in (
        (point.bounds.colocated_always_on, "-", "bound: co-located prefill"),
        (point.bounds.colocated_may_sleep, (0, (2, 2)), "bound: idle replicas asleep"),
    ):
        if joules is not None:
            axes.axhline(joules, color="0.35", linewidth=1.3, linestyle=dash, label=label)


def _panels(
    count: int, *, most_columns: int = _MOST_COLUMNS, width_ratio: float = 1.0
) -> tuple[Figure, list[Axes]]:
    columns = min(count, most_columns)
    rows = -(-count // columns)
    width, height = _PANEL_INCHES
    figure = Figure(
        figsize=(max(columns * width * width_ratio, 6.5), rows * height + 1.3),
        layout="constrained",
    )
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid[count:]:
        axes.set_axis_off()
    for axes in grid[:count]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, list(grid[:count])


def _finished(figure: Figure, title: str) -> Figure:
    """One legend, in the order of the arms: where a panel is free, else below all panels."""
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = sorted(found, key=arm_order)
    handles = [found[label] for label in labels]
    free = [axes for axes in figure.axes if not axes.axison]
    if free:
        columns = 1 + (len(labels) > _MOST_LEGEND_ROWS)
        free[0].legend(handles, labels, loc="center", ncols=columns, fontsize=9, frameon=False)
    else:
        columns = max(2, int(figure.get_size_inches()[0] / 2.3))
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=columns,
            fontsize=9,
            frameon=False,
        )
    figure.suptitle(title, fontsize=12)
    return figure


def _at(recorded: Sequence[Outcome], point: Point, preferred: Sequence[str]) -> list[Outcome]:
    """Outcomes with a timeline: the preferred arms, or the first three there are."""
    here = [one for one in recorded if one.point == point and one.timeline is not None]
    chosen = [one for name in preferred for one in here if one.result.arm == name]
    return chosen or here[: len(preferred)]


def _replica_labels(backends: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    labels = []
    for backend in backends:
        labels.append(f"{backend}/{seen.get(backend, 0)}")
        seen[backend] = seen.get(backend, 0) + 1
    return labels


def _colour(arm: str) -> str:
    return COLOURS[arm_order(arm) % len(COLOURS)]


def _marker(arm: str) -> str:
    return _MARKERS[arm_order(arm) % len(_MARKERS)]


def _filled(arm: str) -> bool:
    return arm_order(arm) < len(COLOURS)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure."""
    FigureCanvasAgg(figure).print_figure(path, dpi=_DPI, metadata={"Software": "headrace"})
