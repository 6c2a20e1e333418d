"""What a sweep found, as a table and as JSON."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from capper.clocks.sweep import Point
from capper.decide.clocks import ClockChoice
from fleet.units import HERTZ_PER_MEGAHERTZ

SCHEMA = 1


def sweep_table(points: Sequence[Point], best: Point | None) -> Table:
    """One row for each clock, the chosen one marked."""
    table = Table("clock MHz", "tokens", "tokens/J", "TPOT ms", "most W", "verdict")
    for one in points:
        table.add_row(
            f"{one.hertz / HERTZ_PER_MEGAHERTZ:.0f}",
            _shown(one.tokens, "{:.0f}"),
            _shown(one.tokens_per_joule, "{:.3f}"),
            _shown(None if one.tpot_seconds is None else 1e3 * one.tpot_seconds, "{:.1f}"),
            _shown(one.watts, "{:.0f}"),
            "chosen" if one is best else one.verdict.value,
        )
    return table


def sweep_document(
    backend: str,
    points: Sequence[Point],
    best: Point | None,
    model: ClockChoice | None,
    *,
    inputs: dict[str, Path],
    at_seconds: float,
) -> dict[str, Any]:
    """The report.

    Args:
        backend: That was tuned.
        points: In the order in which they were measured.
        best: That was chosen; None: no lock.
        model: What the model says.
        inputs: Files by name, to be named by their hash.
        at_seconds: Epoch time of the end.
    """
    return {
        "schema": SCHEMA,
        "backend": backend,
        "ended_epoch_seconds": at_seconds,
        "inputs": {
            f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in inputs.items()
        },
        "points": [
            {
                "clock_hertz": one.hertz,
                "verdict": one.verdict.value,
                "window_seconds": one.seconds,
                "output_tokens": one.tokens,
                "energy_joules": one.joules,
                "tokens_per_joule": one.tokens_per_joule,
                "tpot_seconds": one.tpot_seconds,
                "max_watts": one.watts,
            }
            for one in points
        ],
        "chosen_clock_hertz": None if best is None else best.hertz,
        "predicted_clock_hertz": None if model is None else model.hertz,
        "predicted_saved_ratio": None if model is None else model.saved_ratio,
    }


def write_report(path: Path, document: dict[str, Any]) -> None:
    """Write all at once, so that a reader never sees half of it.

    Raises:
        OSError: It cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
