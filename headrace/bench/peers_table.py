"""A report of `headrace bench peers` for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table

from headrace.bench.peers_page import row

_TITLE = "{replicas} replicas, {body_bytes} bytes, {concurrency} connections"
_COLUMNS = ("req/s", "CPU us", "of ours", "per core", "+p50 ms", "+p99 ms", "failed")
WORDS = (
    "CPU us: of all processes of an arm, per request; of ours: over that of Headrace with its "
    "Envoy; per core: requests per second of CPU; +p50, +p99: latency over that of the upstream "
    "alone."
)


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """One of each cell, one of memory."""
    for cell in report["cells"]:
        table = _table(_TITLE.format_map(cell))
        table.add_column("arm", min_width=16, no_wrap=True)
        for name in _COLUMNS:
            table.add_column(name, justify="right", no_wrap=True)
        for one in cell["figures"]:
            table.add_row(*row(one))
        yield table
    memory = _table("peak memory")
    for name in ("replicas", "arm", "MiB"):
        memory.add_column(name, justify="left" if name == "arm" else "right")
    for it in report["memory"]:
        memory.add_row(str(it["replicas"]), it["arm"], f"{it['peak_bytes'] / 2**20:.0f}")
    yield memory


def _table(title: str) -> Table:
    """Narrow enough for 80 columns."""
    return Table(
        title=title, title_justify="left", box=box.SIMPLE, pad_edge=False, collapse_padding=True
    )
