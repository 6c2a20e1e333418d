"""Results as a table on the terminal and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace import __version__
from headrace.conformance.case import Case
from headrace.conformance.verdicts import CaseResult, Verdict, count

SCHEMA = 1
PROTOCOL_VERSION = "1.0.0"

_STYLES = {
    Verdict.PASS: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.SKIP: "dim",
}


def document(results: Sequence[CaseResult], options: dict[str, Any]) -> dict[str, Any]:
    """The report; `options` is what the picker was tried with."""
    return {
        "schema": SCHEMA,
        "versions": {
            "endpoint_picker_protocol": PROTOCOL_VERSION,
            "headrace": __version__,
            "grpcio": version("grpcio"),
            "xds_protos": version("xds-protos"),
        },
        "options": options,
        "conformant": not count(results, Verdict.FAIL),
        "totals": {verdict.value: count(results, verdict) for verdict in Verdict},
        "duration_seconds": sum(result.duration_seconds for result in results),
        "cases": [asdict(result) for result in results],
    }


def write(path: Path, report: dict[str, Any]) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def show(console: Console, results: Sequence[CaseResult], *, target: str) -> None:
    """Print the table, and for what did not pass its rule and what was seen."""
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1),
        title=f"Endpoint Picker Protocol {PROTOCOL_VERSION}: {target}",
        title_justify="left",
    )
    for name in ("case", "bodies", "level", "verdict", "s"):
        table.add_column(name, justify="right" if name == "s" else "left", no_wrap=True)
    for result in results:
        table.add_row(
            result.name,
            result.body_mode or "-",
            result.level.value,
            Text(result.verdict.value, style=_STYLES[result.verdict]),
            f"{result.duration_seconds:.2f}",
        )
    console.print(table)
    for result in results:
        if result.verdict is not Verdict.PASS:
            console.print(_explained(result))
    console.print(_summary(results))


def show_cases(console: Console, cases: Sequence[Case]) -> None:
    """Print the rules without trying them."""
    for case in cases:
        bodies = ", ".join(case.modes) or "no bodies"
        console.print(Text(case.name, style="bold"))
        console.print(Text(f"  {case.level.value}; {bodies}; {case.source.value}", style="dim"))
        console.print(Text(f"  {case.rule}"))


def _explained(result: CaseResult) -> Text:
    bodies = f" ({result.body_mode})" if result.body_mode else ""
    text = Text(f"{result.verdict.value} ", style=_STYLES[result.verdict])
    text.append(f"{result.name}{bodies}\n", style="bold not dim")
    text.append(f"  rule: {result.rule}\n  seen: {result.reason}", style="not bold not dim default")
    return text


def _summary(results: Sequence[CaseResult]) -> str:
    parts = [f"{count(results, verdict)} {verdict.value}" for verdict in Verdict]
    ending = "not conformant" if count(results, Verdict.FAIL) else "conformant"
    return f"{', '.join(parts)}: {ending}."
