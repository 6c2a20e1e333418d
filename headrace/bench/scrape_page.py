"""The page docs/benchmarks/scrape.md, from a report of `headrace bench scrape`. Pure."""

from typing import Any

from headrace.bench.outputs import machine_words
from loadtest.reports.cells import markdown_table, number

_HEAD = """# The cost of knowing the fleet

Written by `headrace bench scrape`; edit nothing here. Measured on {machine}.

Replicas answer with pages as a vLLM 0.32 writes them, one dcgm-exporter for eight boards, values
that move; all on loopback, in a process of their own. What is measured is a process that polls and
publishes snapshots as the router does, and does nothing else.
{words}
A Prometheus keeps the wanted series only; its own cores are those of scraping and of answering.

"""
WORDS = """\
Cores are CPU seconds per second as the operating system counts them, median of the windows.
Read is the part of a page that is in lines that anybody wants.
Known is the part of the replicas with a fresh load and fresh watts, the worst second."""
COLUMNS = (
    *("Arm", "Poller, cores", "Prometheus, cores", "Snapshots/s", "Pages/s", "MB/s of pages"),
    *("Read", "Known", "Connections", "Poller holds, MB"),
)


def page(report: dict[str, Any]) -> str:
    """The report as markdown."""
    head = _HEAD.format(machine=machine_words(report["machine"]), words=WORDS)
    skipped = "".join(f"- Skipped: {it['arm']}: {it['reason']}.\n" for it in report["skipped"])
    table = markdown_table(COLUMNS, map(row, report["arms"]))
    return f"{head}{table}\n" + (f"\n{skipped}" if skipped else "")


def row(one: dict[str, Any]) -> tuple[str, ...]:
    """An arm's figures as text."""
    return (
        f"{one['arm']} ({one['windows']} x {one['window_seconds']:g} s)",
        f"{one['poller_cores']:.3f}",
        number(one["prometheus_cores"]),
        f"{one['snapshots_per_second']:.2f}",
        f"{one['pages_per_second']:.0f}",
        f"{one['page_bytes_per_second'] / 1e6:.1f}",
        f"{one['read_bytes_ratio']:.1%}",
        f"{one['known_ratio']:.1%}",
        str(one["connections"]),
        f"{one['resident_bytes'] / 1e6:.0f}",
    )
