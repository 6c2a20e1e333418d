"""Figures as cells, and rows of cells as a table. Pure, and cheap to import."""

from collections.abc import Iterable, Sequence

UNKNOWN = "-"


def number(value: float | None, *, scale: float = 1.0, digits: int = 2) -> str:
    """A number in a cell."""
    return UNKNOWN if value is None else f"{value * scale:.{digits}f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """A table whose first `texts` columns are text and whose other columns are numbers."""
    lines = [
        [name.replace("\n", " ") for name in header],
        ["---"] * texts + ["---:"] * (len(header) - texts),
        *rows,
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
