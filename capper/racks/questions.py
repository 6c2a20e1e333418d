"""What the racks' sensors are asked by, and their answers as samples. Pure."""

import math
from collections.abc import Sequence

from capper.api.room_blocks import RackQueries
from capper.decide.observation import Sample
from capper.observe.selectors import selectors
from telemetry.query_answers import Row

_PART = "capper_part"

ROOM = ""
"""Stands for the rack in answers of one number for the whole room."""

RECORDED = {
    "outlet_celsius": "capper:rack_outlet_celsius",
    "airflow_cubic_meters_per_second": "capper:rack_airflow_cubic_meters_per_second",
    "supply_celsius": "capper:supply_celsius",
    "cooling_watts": "capper:cooling_watts",
}
"""What is asked for where no query is given; power and inlets come with the caps' measurements."""

_MEASURED = {"outlet_celsius": "capper:rack_outlet_measured_seconds"}
_OF_ROOM = frozenset({"supply_celsius", "cooling_watts"})


def texts(queries: RackQueries) -> dict[str, str]:
    """Name of each sensor -> the query that is sent."""
    given = {
        name: text
        for name in ("power_watts", "inlet_celsius", *RECORDED)
        if (text := getattr(queries, name)) is not None
    }
    asked = {**RECORDED, **given}
    return {
        name: _question(name, text, None if name in _OF_ROOM else queries.label)
        for name, text in asked.items()
    }


def samples(rows: Sequence[Row], label: str) -> dict[str, Sample]:
    """Rack (or `ROOM`) -> its newest value with the age of what it rests on.

    Of two series of one rack none is believed: which of them would it be?
    """
    values: dict[str, list[float]] = {}
    ages: dict[str, float] = {}
    for labels, value in rows:
        rack, part = labels.get(label, ROOM), labels.get(_PART, "")
        if part == "value":
            values.setdefault(rack, []).append(value)
        elif part.startswith("age") and math.isfinite(value):
            ages[rack] = max(value, ages.get(rack, 0.0))
    whole = ages.get(ROOM, 0.0)
    return {
        rack: Sample(found[0], max(whole, ages.get(rack, 0.0)))
        for rack, found in values.items()
        if len(found) == 1
    }


def _question(name: str, text: str, label: str | None) -> str:
    """One query for values and ages, so that they are of one instant."""
    by = f" by ({label})" if label else ""
    parts = [_labelled(f"({text}\n)", "value")]
    measured = _MEASURED.get(name)
    if measured is not None and text == RECORDED[name]:
        parts.append(_labelled(f"max{by} (time() - {measured})", "age"))
    else:
        parts += [
            _labelled(f"max{by} (time() - timestamp({one}))", f"age-{number}")
            for number, one in enumerate(selectors(text))
        ]
    return " or ".join(parts)


def _labelled(expr: str, part: str) -> str:
    return f'label_replace({expr}, "{_PART}", "{part}", "", "")'
