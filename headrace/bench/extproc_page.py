"""The page docs/benchmarks/extproc.md, from a report of `headrace bench extproc`. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.bench.outputs import machine_words
from loadtest.reports.cells import UNKNOWN, markdown_table, number

_HEAD = """# The cost of routing

Written by `headrace bench extproc`; edit nothing here. Measured on {machine}.

{reach}

## How it is measured

Per round and cell the arms take turns of {window_seconds:g} s, so that a change of the machine's
speed hits all alike; figures are medians of {rounds} rounds. N connections send chat requests whose
prompts all differ to a real Envoy, each the next when the last is answered; *half* is a constant
rate, half of what the router reached with most connections. An upstream answers at once. The load
generator is the bundled one, on uvloop; its own share of a core is told.

CPU is what the operating system counts for the ext_proc server's process, or for all workers
together; the process above them is told apart. It has telemetry in it: the router scrapes every
replica each {scrape_seconds:g} s, and what that takes without load is in the last table. *Added* is
the client's latency less that of Envoy without ext_proc in the same round. *Envoy* is how long
Envoy itself says that it waited for the server: buffered, the sum for headers and body; in full
duplex these overlap, so it is the longest wait of the request plus the longest of the response.
Messages are those on the ext_proc stream, to the server and back, per request. All arms write the
same access log. Load generator, Envoy, server and upstream share the machine: requests/s is of all
of them together.

*Failed* are answers other than 200, and none. 128 prompts of 1 MB, some 250,000 tokens each, do not
fit in the KV caches of 8 replicas at once: the router has them wait until those before them are
answered, up to {waiting_bytes:.0f} MiB of them ([admission](../admission.md)).
"""
REACH_COLUMNS = ("Target", "At most / least", "Measured", "Floor", "Verdict")
_COLUMNS = (
    *("Body", "Replicas", "Bytes", "Connections", "Arm", "Requests/s", "CPU/request, us"),
    *("CPU, of floor", "CPU, of tuned floor", "Busiest worker's share", "Parent's CPU, us"),
    *("Added p50, ms", "Added p99, ms", "Envoy p50, ms", "Envoy p99, ms", "Messages"),
    *("Load generator's CPU, cores", "Failed"),
)
_USAGE_COLUMNS = (
    *("Body", "Replicas", "Arm", "At rest, MiB", "Peak, MiB", "Peak of one worker, MiB"),
    *("Peak of the parent, MiB", "CPU without load, cores"),
)
_MEBIBYTE = 2**20


def page(report: Mapping[str, Any]) -> str:
    """The report as markdown."""
    inputs = report["inputs"]
    head = _HEAD.format(
        machine=machine_words(report["machine"]),
        reach=markdown_table(
            REACH_COLUMNS, map(reach_row, report["reach"]), texts=len(REACH_COLUMNS)
        ),
        window_seconds=inputs["window_seconds"],
        rounds=inputs["rounds"],
        scrape_seconds=inputs["scrape_seconds"],
        waiting_bytes=inputs["waiting_bytes"] / _MEBIBYTE,
    )
    arms = "".join(f"- *{name}*: {what}.\n" for name, what in report["arms"].items())
    failures = "".join(f"- Failed: {failure}\n" for failure in report["failures"])
    return (
        f"{head}\n{arms}{failures}\n## All cells\n\n{markdown_table(_COLUMNS, _cells(report))}\n\n"
        "## Memory\n\nOf workers their sum.\n\n"
        f"{markdown_table(_USAGE_COLUMNS, _usage(report))}\n"
    )


def reach_row(line: Mapping[str, Any]) -> tuple[str, ...]:
    """A target as text."""
    return (
        line["what"],
        line["target"],
        line["measured"] or UNKNOWN,
        line["floor"] or UNKNOWN,
        line["verdict"],
    )


def row(one: Mapping[str, Any]) -> tuple[str, ...]:
    """An arm's figures as text."""
    return (
        one["arm"],
        f"{one['requests_per_second']:.0f}",
        number(one["server_cpu_seconds"], scale=1e6, digits=0),
        number(one["server_cpu_ratio"], digits=2),
        number(one["tuned_cpu_ratio"], digits=2),
        number(one["busiest_worker_ratio"], digits=2),
        number(one["parent_cpu_seconds"], scale=1e6, digits=0),
        number(one["added_p50_seconds"], scale=1e3, digits=2),
        number(one["added_p99_seconds"], scale=1e3, digits=2),
        number(one["envoy_p50_seconds"], scale=1e3, digits=2),
        number(one["envoy_p99_seconds"], scale=1e3, digits=2),
        _messages(one["messages_to_server"], one["messages_from_server"]),
        f"{one['load_cpu_ratio']:.2f}",
        str(one["failed_requests"]),
    )


def _cells(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for cell in report["cells"]:
        load = "half" if cell["connections"] is None else str(cell["connections"])
        place = (cell["body_mode"], str(cell["replicas"]), str(cell["body_bytes"]), load)
        for one in cell["figures"]:
            yield (*place, *row(one))


def _usage(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in report["usage"]:
        yield (
            *(one["body_mode"], str(one["replicas"]), one["arm"]),
            number(one["rest_bytes"], scale=1 / _MEBIBYTE, digits=0),
            number(one["peak_bytes"], scale=1 / _MEBIBYTE, digits=0),
            number(one["peak_worker_bytes"], scale=1 / _MEBIBYTE, digits=0),
            number(one["parent_peak_bytes"], scale=1 / _MEBIBYTE, digits=0),
            number(one["idle_cpu_cores"], digits=3),
        )


def _messages(to_server: float | None, from_server: float | None) -> str:
    if to_server is None or from_server is None:
        return UNKNOWN
    return f"{to_server:.1f} + {from_server:.1f}"
