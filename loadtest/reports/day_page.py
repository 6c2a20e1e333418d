"""The page of a simulated day: every arm, its violations, the targets. Pure."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loadtest.reports.cells import UNKNOWN, markdown_table, number
from loadtest.reports.json_report import inputs
from loadtest.simulator.accounts import RunAccounts
from loadtest.simulator.arms import arm_plan
from loadtest.simulator.caps import CapAccount
from loadtest.simulator.scenario import Scenario
from loadtest.simulator.scenario_sections import RacksSection
from loadtest.simulator.tally import RunResult
from loadtest.statistics import mean
from loadtest.study.reach import Reached
from loadtest.study.summary import ArmSummary, PointSummary, StudySummary

_HASH_DIGITS = 12
_HOUR_SECONDS = 3600.0

Read = Callable[[RunResult, RunAccounts], float | None]


def _cap(read: Callable[[CapAccount], float]) -> Read:
    return lambda _, found: None if found.fleet_cap is None else read(found.fleet_cap)


def _all_joules(run: RunResult, found: RunAccounts) -> float | None:
    """Boards, hosts and cooling, per token."""
    further = (found.host_joules or 0.0) + (found.cooling_joules or 0.0)
    return _per_token(run, run.dynamic_joules + run.idle_joules + further)


def _per_token(run: RunResult, amount: float | None) -> float | None:
    return None if amount is None or not run.output_tokens else amount / run.output_tokens


# Name, digits, how one run is read, how seeds are put together.
_ENERGY: tuple[tuple[str, int, Read, Callable[[Sequence[float]], float]], ...] = (
    (
        "boards J/token",
        3,
        lambda run, _: _per_token(run, run.dynamic_joules + run.idle_joules),
        mean,
    ),
    ("cooling J/token", 3, lambda run, found: _per_token(run, found.cooling_joules), mean),
    ("boards, hosts, cooling J/token", 3, _all_joules, mean),
    ("gCO2e", 1, lambda _, found: found.grams_co2e, mean),
    (
        "met %",
        2,
        lambda run, _: 100.0 * run.attained / run.requests if run.requests else None,
        mean,
    ),
    ("replica-hours", 2, lambda _, found: found.replica_hours, mean),
)
_VIOLATIONS: tuple[tuple[str, int, Read, Callable[[Sequence[float]], float]], ...] = (
    ("over cap s", 1, _cap(lambda cap: cap.seconds_over), mean),
    ("over cap W s", 0, _cap(lambda cap: cap.joules_over), mean),
    ("worst second W over", 0, _cap(lambda cap: cap.max_overshoot_1s_watts), max),
    ("over redline s", 1, lambda _, found: found.redline_seconds, mean),
    ("over redline K s", 1, lambda _, found: found.redline_kelvin_seconds, mean),
    ("hottest inlet C", 1, lambda _, found: found.max_inlet_celsius, max),
    ("refused", 1, lambda run, _: float(run.shed), mean),
    ("lost", 1, lambda run, _: float(run.requests - run.shed - run.completed), mean),
    ("sent on", 1, lambda _, found: float(found.retried_requests), mean),
    ("brakes", 1, lambda _, found: float(found.brakes), mean),
    ("clock orders", 0, lambda _, found: float(found.clock_changes), mean),
    ("sleeps", 1, lambda _, found: float(found.sleeps), mean),
    ("wakes", 1, lambda _, found: float(found.wakes), mean),
)


def day_page(
    summary: StudySummary,
    targets: Sequence[Reached],
    *,
    command: str,
    figures: Sequence[str] = (),
) -> str:
    """Markdown.

    Args:
        summary: Of the day.
        targets: Those of its scenario, in order.
        command: That was run.
        figures: Plots beside the page, relative to it.
    """
    parts = [
        f"# {summary.scenario.name} (simulated)",
        f"Written by `{command}`; edit nothing here. Every figure is simulated.",
        *_what(summary),
        *_reach(targets),
        *_elsewhere(summary.scenario),
    ]
    for point in summary.points:
        parts += [f"## Every arm, {point.point.label}", *_tables(summary.scenario, point)]
    parts += [*_notes(summary.scenario), *_plots(figures), *_inputs(summary)]
    return "\n\n".join(parts) + "\n"


def _what(summary: StudySummary) -> Iterator[str]:
    scenario = summary.scenario
    seeds = ", ".join(map(str, summary.seeds))
    yield f"{scenario.description[:1].upper()}{scenario.description[1:]}. Seeds {seeds}."
    if scenario.compression_ratio != 1.0:
        hours = scenario.window_seconds * scenario.compression_ratio / _HOUR_SECONDS
        yield (
            f"{hours:g} hours are played in {scenario.window_seconds:g} s: load, grid, air and "
            f"faults pass {scenario.compression_ratio:g} times as fast, while requests, engines, "
            "sensors, clocks, wake-ups and decisions keep their own time. Control has that much "
            "less time than on a real day. Seconds below are simulated ones; replica-hours, joules "
            "and grams are those of the simulated seconds."
        )
    if isinstance(scenario.racks, RacksSection):
        yield (
            "Racks, matrix, hosts' power and faults are declared, not measured; delays of "
            "actuators and the clock response of decodes are assumed ([models](models.md)). "
            "Control sees power and temperatures through sensors with errors, late."
        )
    if summary.source.warning is not None:
        yield f"**{summary.source.warning}**"


def _reach(targets: Sequence[Reached]) -> Iterator[str]:
    if not targets:
        return
    yield "## Reach"
    rows = [(one.row.claim, _measured(one), "yes" if one.met else "**no**") for one in targets]
    yield markdown_table(("target", "measured", "met"), rows, texts=3)
    yield "\n".join(f"    {one.command}" for one in targets)
    missed = [
        f"- {one.row.claim}: {_measured(one)}. {one.row.why}" for one in targets if not one.met
    ]
    if missed:
        yield "What falls short, and why:"
        yield "\n".join(missed)


def _elsewhere(scenario: Scenario) -> Iterator[str]:
    if scenario.reach_elsewhere:
        yield "Targets that other commands measure, each with its page:"
        rows = [
            (
                one.claim,
                f"`{one.command}`",
                f"[{Path(one.page.partition('#')[0]).stem}]({one.page})",
            )
            for one in scenario.reach_elsewhere
        ]
        yield markdown_table(("target", "command", "page"), rows, texts=3)


def _measured(one: Reached) -> str:
    if one.saved_ratio is None or one.attained_ratio is None:
        return "no figure"
    assert one.ours is not None, "it was divided by"
    unit = one.row.figure.replace("_joules_per_token", " J/token").replace(
        "joules_per_token", "J/token"
    )
    load = one.row.load_requests_per_second
    at = "" if load is None else f" at {load:g} requests/s"
    return (
        f"{100.0 * one.saved_ratio:.1f} % less{at} ({one.ours:.3f} against {one.theirs:.3f} "
        f"{unit}), {100.0 * one.attained_ratio:.2f} % met"
    )


def _tables(scenario: Scenario, point: PointSummary) -> Iterator[str]:
    order = {name: number for number, name in enumerate(scenario.arms)}
    arms = sorted(point.arms, key=lambda arm: order[arm.arm])
    for columns in (_ENERGY, _VIOLATIONS):
        header = ("arm", *(name for name, *_ in columns))
        rows = [
            (arm.arm, *(_cell(arm, digits, read, merge) for _, digits, read, merge in columns))
            for arm in arms
        ]
        yield markdown_table(header, rows)
    yield (
        "Means over seeds; the worst second and the hottest inlet are those of the worst seed. "
        "Over the cap: seconds whose mean was above the cap in force, exact board power. Over the "
        "redline: any inlet. Sent on: the replica that was picked had gone to sleep. gCO2e: of "
        "boards, hosts and cooling."
    )
    yield markdown_table(
        ("arm", "what it does"), [(arm.arm, arm_plan(arm.arm).what) for arm in arms], texts=2
    )


def _cell(
    arm: ArmSummary, digits: int, read: Read, merge: Callable[[Sequence[float]], float]
) -> str:
    values = [None if run.accounts is None else read(run, run.accounts) for run in arm.results]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return UNKNOWN
    return number(merge(known), digits=digits)


def _notes(scenario: Scenario) -> Iterator[str]:
    if scenario.notes:
        yield "## What the arms can and cannot do"
        yield "\n".join(f"- {one}" for one in scenario.notes)


def _plots(figures: Sequence[str]) -> Iterator[str]:
    if figures:
        yield "## Plots"
        yield "\n\n".join(f"![{Path(name).stem} (simulated)]({name})" for name in figures)


def _inputs(summary: StudySummary) -> Iterator[str]:
    yield "## Inputs"
    found = inputs(summary)
    rows = [
        (name.removesuffix("_sha256"), f"`{value[:_HASH_DIGITS]}`")
        for name, value in found.items()
        if name.endswith("_sha256") and value is not None
    ]
    yield markdown_table(("sha256 of", ""), rows, texts=2)
