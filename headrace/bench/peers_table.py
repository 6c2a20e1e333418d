"""A report of `headrace bench peers` for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table

from headrace.bench.peers_page import number

_TITLE = "{replicas} replicas, {body_bytes} bytes, {concurrency} connections"
_COLUMNS = ("req/s", "CPU us", "of ours", "per core", "+p50 ms", "+p99 ms", "failed")


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """One of each cell, one of memory."""
    for cell in report["cells"]:
        table = _table(_TITLE.format_map(cell))
        table.add_column("arm", min_width=16, no_wrap=True)
        for name in _COLUMNS:
            table.add_column(name, justify="right", no_wrap=True)
        for one in cell["figures"]:
            table.add_row(
                one["arm"],
                f"{one['requests_per_second']:.0f}",
                number(one["cpu_seconds"], 1e6, 0),
                number(one["cpu_ratio"], 1, 2),
                number(one["requests_per_core_second"], 1, 0),
                number(one["added_p50_seconds"], 1e3, 2),
                number(one["added_p99_seconds"], 1e3, 2),
                str(one["failed_requests"]),
            )
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
