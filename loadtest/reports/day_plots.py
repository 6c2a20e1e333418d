"""Plots of a simulated day: what was drawn, how warm it got, what the actuators did."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from loadtest.reports.plots import COLOURS, DASHES, save
from loadtest.simulator.scenario import Scenario
from loadtest.simulator.scenario_sections import RacksSection
from loadtest.simulator.timeline import Timeline
from loadtest.study.jobs import Outcome

SHOWN_ARMS = (
    "queue-kv+max-clock",
    "dispatch",
    "dispatch+capper",
    "dispatch+cooling",
    "dispatch+together",
)
"""Those that are drawn where they were played; else the first five."""

_HOUR_SECONDS = 3600.0
_TICK_HOURS = 3
_PANEL_INCHES = 2.1

Values = NDArray[np.float64]


class _Panel(NamedTuple):
    """One quantity over the day.

    Attributes:
        label: Of its axis.
        read: From a timeline; None where it was not recorded.
    """

    label: str
    read: Callable[[Timeline], Values | None]


def write_day_plots(
    scenario: Scenario, recorded: Sequence[Outcome], folder: Path, *, seed: int
) -> Iterator[Path]:
    """Draw one seed; gives the files that were written, nothing without timelines.

    Raises:
        OSError: The folder cannot be written to.
    """
    shown = _shown(recorded)
    if not shown:
        return
    path = folder / "day.png"
    save(day_plot(scenario, shown, seed=seed), path)
    yield path
    if isinstance(scenario.racks, RacksSection):
        path = folder / "inlets.png"
        save(inlet_plot(scenario, shown, seed=seed), path)
        yield path


def day_plot(scenario: Scenario, shown: Sequence[Outcome], *, seed: int) -> Figure:
    """Power, the hottest inlet, supply, clocks, awake replicas and the grid, one panel each."""
    panels = [
        panel
        for panel in _PANELS
        if any(panel.read(one.timeline) is not None for one in shown if one.timeline is not None)
    ]
    figure, rows = _rows(len(panels))
    for axes, panel in zip(rows, panels, strict=True):
        for number, outcome in enumerate(shown):
            values = None if outcome.timeline is None else panel.read(outcome.timeline)
            if outcome.timeline is None or values is None:
                continue
            axes.step(
                _hours(scenario, outcome.timeline),
                values,
                where="post",
                color=COLOURS[number % len(COLOURS)],
                linestyle=DASHES[number % len(DASHES)],
                linewidth=1.1,
                label=outcome.result.arm,
            )
        axes.set_ylabel(panel.label, fontsize=9)
    _draw_cap(rows[0], scenario, shown[0])
    _draw_redline(rows[1], scenario)
    return _finished(figure, rows, scenario, f"{scenario.name}: the day (simulated, seed {seed})")


def inlet_plot(scenario: Scenario, shown: Sequence[Outcome], *, seed: int) -> Figure:
    """Inlets of all racks, one panel per arm."""
    figure, rows = _rows(len(shown))
    for axes, outcome in zip(rows, shown, strict=True):
        timeline = outcome.timeline
        assert timeline is not None, "only such are shown"
        inlets = [name for name in timeline.series if name.startswith("inlet_celsius/")]
        for number, name in enumerate(inlets):
            axes.plot(
                _hours(scenario, timeline),
                timeline.series[name],
                color=COLOURS[number % len(COLOURS)],
                linestyle=DASHES[number % len(DASHES)],
                linewidth=1.1,
                label=f"rack {name.partition('/')[2]}",
            )
        _draw_redline(axes, scenario)
        axes.set_ylabel("inlet, C", fontsize=9)
        axes.set_title(outcome.result.arm, fontsize=9, loc="left")
    title = f"{scenario.name}: inlet temperatures (simulated, seed {seed})"
    return _finished(figure, rows, scenario, title)


def _shown(recorded: Sequence[Outcome]) -> list[Outcome]:
    here = [one for one in recorded if one.timeline is not None and one.timeline.series]
    chosen = [one for name in SHOWN_ARMS for one in here if one.result.arm == name]
    return chosen or here[: len(SHOWN_ARMS)]


def _kilowatts(timeline: Timeline) -> Values:
    return np.array(timeline.watts) / 1000.0


def _one(name: str) -> Callable[[Timeline], Values | None]:
    return lambda timeline: np.array(timeline.series[name]) if name in timeline.series else None


def _over(prefix: str, merge: Callable[[Values], Values]) -> Callable[[Timeline], Values | None]:
    """All series of a prefix as one."""

    def read(timeline: Timeline) -> Values | None:
        found = [values for name, values in timeline.series.items() if name.startswith(prefix)]
        return merge(np.array(found)) if found else None

    return read


_PANELS = (
    _Panel("boards, kW", _kilowatts),
    _Panel("hottest inlet, C", _over("inlet_celsius/", lambda found: found.max(axis=0))),
    _Panel("supply air, C", _one("supply_celsius")),
    _Panel("clock, of full\n(mean of backends)", _over("clock_ratio/", lambda f: f.mean(axis=0))),
    _Panel("awake replicas", _over("awake_replicas/", lambda found: found.sum(axis=0))),
    _Panel("highest price", _over("price_ratio/", lambda found: found.max(axis=0))),
    _Panel("grid, gCO2e/kWh", _one("grams_per_kilowatt_hour")),
)


def _rows(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9.0, 1.3 + _PANEL_INCHES * count), layout="constrained")
    rows = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axes in rows:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, rows


def _hours(scenario: Scenario, timeline: Timeline) -> Values:
    seconds = np.arange(len(timeline.watts)) * timeline.bin_seconds - scenario.warmup_seconds
    return np.asarray(seconds * scenario.compression_ratio / _HOUR_SECONDS, dtype=np.float64)


def _draw_cap(axes: Axes, scenario: Scenario, outcome: Outcome) -> None:
    timeline = outcome.timeline
    if timeline is not None and "cap_watts" in timeline.series:
        axes.step(
            _hours(scenario, timeline),
            np.array(timeline.series["cap_watts"]) / 1000.0,
            where="post",
            color="0.35",
            linewidth=2.0,
            label="cap",
        )


def _draw_redline(axes: Axes, scenario: Scenario) -> None:
    if isinstance(scenario.racks, RacksSection):
        celsius = scenario.racks.redline_celsius
        axes.axhline(celsius, color="0.35", linewidth=1.6, linestyle=(0, (1, 1.2)), label="redline")


def _finished(figure: Figure, rows: Sequence[Axes], scenario: Scenario, title: str) -> Figure:
    hours = scenario.window_seconds * scenario.compression_ratio / _HOUR_SECONDS
    rows[-1].set_xlim(0.0, hours)
    rows[-1].set_xticks(np.arange(0.0, hours + 1e-9, _TICK_HOURS))
    rows[-1].set_xlabel("hour of the day")
    found: dict[str, Artist] = {}
    for axes in rows:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=3,
        fontsize=9,
        frameon=False,
    )
    figure.suptitle(title, fontsize=12)
    return figure
