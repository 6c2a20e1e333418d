"""The page docs/benchmarks/extproc.md, from a report of `headrace bench extproc`. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

_HEAD = """# The cost of routing

Written by `headrace bench extproc`; edit nothing here. Measured on {machine}.

| Target | At most / least | Measured | Floor | Verdict |
|---|---|---|---|---|
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

*Failed* are answers other than 200. With 128 prompts of 1 MB, some 250,000 tokens each, they are
the router's 429: so many do not fit in the KV caches of 8 replicas.
"""
_COLUMNS = (
    "| Body | Replicas | Bytes | Connections | Arm | Requests/s | CPU/request, us | CPU, of floor "
    "| CPU, of tuned floor | Busiest worker's share | Parent's CPU, us | Added p50, ms "
    "| Added p99, ms | Envoy p50, ms | Envoy p99, ms "
    f"| Messages | Load generator's CPU | Failed |\n{'|---' * 18}|\n"
)
_USAGE_COLUMNS = (
    "| Body | Replicas | Arm | At rest, MiB | Peak, MiB | Peak of one worker, MiB "
    f"| Peak of the parent, MiB | CPU without load, cores |\n{'|---' * 8}|\n"
)
_MEBIBYTE = 2**20


def page(report: Mapping[str, Any]) -> str:
    """The report as markdown."""
    machine, inputs = report["machine"], report["inputs"]
    head = _HEAD.format(
        machine=f"{machine['cores']} cores ({machine['processor']}), Python {machine['python']}",
        reach="".join(_line(reach_row(one)) for one in report["reach"]),
        window_seconds=inputs["window_seconds"],
        rounds=inputs["rounds"],
        scrape_seconds=inputs["scrape_seconds"],
    )
    skipped = {one["arm"]: one["reason"] for one in report["skipped"]}
    arms = "".join(
        f"- *{name}*: {what}{f' (not measured: {skipped[name]})' if name in skipped else ''}.\n"
        for name, what in report["arms"].items()
    )
    cells = "".join(_line(values) for values in _cells(report))
    usage = "".join(_line(values) for values in _usage(report))
    failures = "".join(f"- Failed: {failure}\n" for failure in report["failures"])
    return (
        f"{head}\n{arms}{failures}\n## All cells\n\n{_COLUMNS}{cells}\n"
        f"## Memory\n\nOf workers their sum.\n\n{_USAGE_COLUMNS}{usage}"
    )


def reach_row(line: Mapping[str, Any]) -> tuple[str, ...]:
    """A target as text."""
    return (
        line["what"],
        line["target"],
        line["measured"] or "-",
        line["floor"] or "-",
        line["verdict"],
    )


def row(one: Mapping[str, Any]) -> tuple[str, ...]:
    """An arm's figures as text."""
    return (
        one["arm"],
        f"{one['requests_per_second']:.0f}",
        _scaled(one["server_cpu_seconds"], 1e6, 0),
        _scaled(one["server_cpu_ratio"], 1, 2),
        _scaled(one["tuned_cpu_ratio"], 1, 2),
        _scaled(one["busiest_worker_ratio"], 1, 2),
        _scaled(one["parent_cpu_seconds"], 1e6, 0),
        _scaled(one["added_p50_seconds"], 1e3, 2),
        _scaled(one["added_p99_seconds"], 1e3, 2),
        _scaled(one["envoy_p50_seconds"], 1e3, 2),
        _scaled(one["envoy_p99_seconds"], 1e3, 2),
        _messages(one["messages_to_server"], one["messages_from_server"]),
        f"{one['load_cpu_ratio']:.2f}",
    )


def _cells(report: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for cell in report["cells"]:
        load = "half" if cell["connections"] is None else cell["connections"]
        place = (cell["body_mode"], cell["replicas"], cell["body_bytes"], load)
        for one in cell["figures"]:
            yield (*place, *row(one), one["failed_requests"])


def _usage(report: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for one in report["usage"]:
        yield (
            *(one["body_mode"], one["replicas"], one["arm"]),
            _scaled(one["rest_bytes"], 1 / _MEBIBYTE, 0),
            _scaled(one["peak_bytes"], 1 / _MEBIBYTE, 0),
            _scaled(one["peak_worker_bytes"], 1 / _MEBIBYTE, 0),
            _scaled(one["parent_peak_bytes"], 1 / _MEBIBYTE, 0),
            _scaled(one["idle_cpu_cores"], 1, 3),
        )


def _messages(to_server: float | None, from_server: float | None) -> str:
    if to_server is None or from_server is None:
        return "-"
    return f"{to_server:.1f} + {from_server:.1f}"


def _scaled(value: float | None, factor: float, digits: int) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def _line(values: tuple[object, ...]) -> str:
    return f"| {' | '.join(str(value) for value in values)} |\n"
