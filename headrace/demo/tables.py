"""The demo's figures for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace.demo.capping_log import Decision
from headrace.demo.report import Arm, common_window_seconds, comparison, joules_per_token

_SIDES = ("before", "after")


def print_arm(console: Console, arm: Arm) -> None:
    """What each backend did."""
    table = Table(title=f"policy {arm.policy}", title_justify="left")
    for name in ("backend", "requests", "tokens", "busy s", "dynamic kJ", "dynamic J/token"):
        table.add_column(name, justify="left" if name == "backend" else "right")
    for backend, totals in arm.backends.items():
        per_token = totals.dynamic_joules / totals.output_tokens if totals.output_tokens else 0
        table.add_row(
            backend,
            str(totals.requests),
            str(totals.output_tokens),
            f"{totals.busy_seconds:.1f}",
            f"{totals.dynamic_joules / 1000:.2f}",
            f"{per_token:.3f}",
        )
    console.print(table)
    for sentence in () if arm.energy is None else arm.energy.sentences():
        console.print(sentence, highlight=False, soft_wrap=True)


def print_comparison(console: Console, arms: Sequence[Arm]) -> None:
    """Both arms beside each other."""
    seconds = common_window_seconds(arms)
    table = Table(
        title=f"The same arrivals, energy over the same {seconds:.0f} s "
        "(energy is simulated; latency is measured through Envoy)",
        title_justify="left",
    )
    table.add_column("")
    for arm in arms:
        table.add_column(arm.policy, justify="right")
    for name, cells in _comparison_rows(arms, seconds):
        table.add_row(name, *cells)
    console.print(table)
    compared = comparison(arms[0], arms[-1], window_seconds=seconds)
    if compared is not None:
        saved = 1.0 - compared["simulated_energy_joules_per_token_ratio"]
        console.print(
            f"{compared['policy']} takes {abs(saved):.0%} {'fewer' if saved >= 0 else 'more'} "
            f"joules per token than {compared['against']} (simulated), idle power included."
        )
    if compared is not None and arms[0].cap is not None:
        console.print(
            f"Policies alone: {arms[-1].policy} has no capper and ran without a cap; idle power of "
            "all 8 boards is charged to both arms. Replicas that the capper put to sleep saved "
            f"another {arms[0].saved_by_sleep_joules / 1000:.2f} kJ (simulated), not counted here.",
            highlight=False,
        )


def _comparison_rows(arms: Sequence[Arm], seconds: float) -> list[tuple[str, list[str]]]:
    def per_arm(form: str, values: Sequence[float | None]) -> list[str]:
        return ["?" if value is None else form.format(value) for value in values]

    summaries = [arm.summary for arm in arms]
    joules = [joules_per_token(arm, window_seconds=seconds) for arm in arms]
    rows = [
        ("J/token, simulated", per_arm("{:.3f}", joules)),
        ("kJ above idle, simulated", per_arm("{:.2f}", [a.dynamic_joules / 1000 for a in arms])),
    ]
    for name, field in (("TTFT", "ttft_seconds"), ("TPOT", "tpot_seconds")):
        for quantile in ("p50", "p99"):
            values = [getattr(getattr(s, field), quantile, None) for s in summaries]
            shown = [None if value is None else 1000 * value for value in values]
            rows.append((f"{name} {quantile}, ms", per_arm("{:.1f}", shown)))
    objectives = summaries[0].objectives
    rows.append(
        (
            f"attainment (TTFT {objectives.ttft_seconds:g} s, TPOT {objectives.tpot_seconds:g} s)",
            per_arm("{:.1%}", [s.attainment_ratio for s in summaries]),
        )
    )
    rows.append(("requests failed", [str(s.failed) for s in summaries]))
    return rows


def print_cap_step(console: Console, step: Mapping[str, Any]) -> None:
    """The cap step (`cap_step` of the report): what was asked, what came of it, and why."""
    if not step["happened"]:
        console.print(f"No cap step: {step['because']}.", highlight=False)
        return
    table = Table(
        title="The cap step (watts are simulated, by the boards' own meters; requests are real)",
        title_justify="left",
        show_header=False,
    )
    for row in _cap_rows(step):
        table.add_row(*row)
    console.print(table)
    console.print("What the capper did, and why:")
    for decision in step["decisions"]:
        console.print(f"  {Decision(**decision).sentence()}", highlight=False, soft_wrap=True)


def _cap_rows(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    watts, attained = step["simulated_mean_watts"], step["attainment_ratio"]
    rival = step["without_a_cap"]
    under = step["under_cap_after_seconds"]
    reaction = f"{step['declared_reaction_seconds']:g} s"
    rows = [
        ("measured before any cap", f"{step['measured_watts_before_any_cap']:.0f} W"),
        (
            f"cap, step at {step['step_seconds']:.0f} s",
            f"{step['cap_before_watts']:.0f} W -> {step['cap_watts']:.0f} W",
        ),
        ("watts before -> after, mean", f"{_watts(watts['before'])} -> {_watts(watts['after'])}"),
        ("under the cap after", "never" if under is None else f"{under:.0f} s"),
        ("over the cap while reacting", _excess(step["over_cap_while_reacting"])),
        (f"violations after the declared {reaction}", _excess(step["violations"])),
        ("requests lost before, after", ", ".join(_lost(step, side) for side in _SIDES)),
        (
            "attainment before -> after",
            f"{_share(attained['before'])} -> {_share(attained['after'])}",
        ),
        ("awake before -> after", " -> ".join(_awake(step["awake_replicas"][k]) for k in _SIDES)),
    ]
    if rival is not None:
        over = _excess(rival["above_the_same_watts"])
        mean = _watts(rival["simulated_mean_watts"])
        rows.append(
            (f"{rival['policy']}, nothing capped it", f"{mean}, above the same watts {over}")
        )
    return rows


def _lost(step: Mapping[str, Any], side: str) -> str:
    return f"{step['requests_lost'][side]} of {step['requests'][side]}"


def _watts(watts: float | None) -> str:
    return "?" if watts is None else f"{watts:.0f} W"


def _share(ratio: float | None) -> str:
    return "?" if ratio is None else f"{ratio:.1%}"


def _excess(excess: Mapping[str, float]) -> str:
    return f"{excess['seconds']:.1f} s, {excess['over_cap_joules']:.0f} W*s"


def _awake(replicas: Mapping[str, int]) -> str:
    return ", ".join(f"{backend} {count}" for backend, count in replicas.items())
