"""The tables of the documentation, and what a registry of metrics has to compare with them."""

import re
import typing
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry

DOCS = Path(__file__).resolve().parents[1] / "docs"


class Row(typing.NamedTuple):
    """A row of a table whose first cell is a name in backticks."""

    section: str
    name: str
    cells: tuple[str, ...]


def rows(page: str) -> Iterator[Row]:
    """All such rows of a page; the section is what the heading above has in backticks."""
    section = ""
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            named = re.findall(r"`([^`]+)`", line)
            section = named[-1] if named else ""
        elif match := re.match(r"\| `([^`]+)` \|(.*)\|$", line):
            cells = tuple(cell.strip() for cell in match.group(2).split(" | "))
            yield Row(section, match.group(1), cells)


def code(values: typing.Iterable[str]) -> str:
    """Names as a cell shows them."""
    return ", ".join(f"`{value}`" for value in values) or "none"


def described(registry: CollectorRegistry) -> dict[str, tuple[str, str]]:
    """Exposed name -> (type, labels)."""
    suffixes = {"counter": "_total", "info": "_info"}
    labels: dict[str, set[str]] = {}
    types = {}
    for family in registry.collect():
        name = family.name + suffixes.get(family.type, "")
        types[name] = family.type
        labels[name] = {key for sample in family.samples for key in sample.labels} - {"le"}
        # A labelled metric without a child yet has no sample to read its labels from, and the
        # client library has no public way to ask.
        labels[name] |= set(getattr(family, "_labelnames", ()))
    for metric, names in registry._collector_to_names.items():
        for name in set(names) & set(types):
            labels[name] |= set(getattr(metric, "_labelnames", ()))
    return {name: (kind, code(sorted(labels[name]))) for name, kind in types.items()}
