"""The page docs/benchmarks/peers.md, from a report of `headrace bench peers`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from headrace.bench.outputs import machine_words
from headrace.bench.peers_catalogue import NOT_MEASURED, Peer
from headrace.bench.peers_figures import DIRECT, ENVOY, HEADRACE, Described
from loadtest.reports.cells import UNKNOWN, markdown_table, number

_HEAD = """# Beside other routers

Written by `headrace bench peers`; edit nothing here. Measured on {machine}.

All arms stand before the same upstreams, which answer at once, and get the same load: each of N
connections sends the next chat request when the last is answered. Prompts all differ; nothing is
streamed. In every cell the arms take turns of {window_seconds:g} s; figures are medians of {rounds}
rounds. CPU is user and system time, as the operating system counts it, of all processes of an arm
with their children. Added latency is the client's, less that of the upstream without anything
before it in the same round. Load, arm and upstream share the machine, so requests/s is of all of
them together, and CPU per request is the figure to compare. Where the upstreams are at their limit,
what stands before them evens out their load, and added latency can be negative.

What to bear in mind:

- Headrace's CPU and memory include Envoy's, with one worker thread, and telemetry at its default
  interval; the router is one process.
- The rivals are HTTP proxies: they need no Envoy, and have fewer of its functions. Those in Rust
  use as many threads as they choose, those in Python one process.
- Every rival runs its default policy, or where that looks at no load one that does, if it has one;
  the table says which. Prompts that all differ are the worst case of those that keep prompts in a
  tree, and of Headrace, which hashes them.
- No rival's policy knows watts. What choosing well is worth is another page:
  [policies](policies.md).
"""
_ABOUT = {
    DIRECT: ("the first upstream, nothing before it", "-", "-"),
    ENVOY: ("Envoy without ext_proc", "least request", "does not look"),
    HEADRACE: (
        "Envoy, and Headrace's router by ext_proc, bodies buffered",
        "dispatch, its default: fewest joules among those that keep the latency objective",
        "finds the few fields that it needs and hashes the prompt's blocks, without decoding it",
    ),
}
_ARM_COLUMNS = ("Arm", "Version", "What", "Policy", "Request body")
_COLUMNS = (
    *("Arm", "Connections", "Requests/s", "CPU/request, us", "CPU, of Headrace's"),
    *("Requests/s per core", "p50, ms", "Added p50, ms", "Added p99, ms", "Failed"),
    "Load generator's CPU, cores",
)


def described(
    peers: Sequence[Peer], versions: Mapping[str, str | None], absent: Mapping[str, str]
) -> tuple[Described, ...]:
    """All arms, for a report; `absent` says why of those that were not measured to the end."""
    about = dict(_ABOUT) | {it.name: (it.what, it.policy, it.body) for it in peers}
    return tuple(
        Described(
            name=name,
            what=what,
            version=versions.get(name),
            policy=policy,
            body=body,
            absent=absent.get(name),
        )
        for name, (what, policy, body) in about.items()
    )


def page(report: Mapping[str, Any]) -> str:
    """The report as markdown."""
    head = _HEAD.format(
        machine=machine_words(report["machine"]),
        window_seconds=report["window_seconds"],
        rounds=report["rounds"],
    )
    parts = (head, _arms(report), *_cells(report), _memory(report), _absent(report))
    return "\n".join(parts).rstrip("\n") + "\n"


def _arms(report: Mapping[str, Any]) -> str:
    keys = ("name", "version", "what", "policy", "body")
    rows = ([it[key] or UNKNOWN for key in keys] for it in report["arms"])
    return f"## The arms\n\n{markdown_table(_ARM_COLUMNS, rows, texts=len(_ARM_COLUMNS))}\n"


def _cells(report: Mapping[str, Any]) -> Iterator[str]:
    def place(cell: Mapping[str, Any]) -> tuple[int, int]:
        return cell["replicas"], cell["body_bytes"]

    for (replicas, body_bytes), cells in groupby(report["cells"], key=place):
        rows = [it for cell in cells for it in _rows(cell)]
        yield (f"## {replicas} replicas, {body_bytes} bytes\n\n{markdown_table(_COLUMNS, rows)}\n")


def _rows(cell: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in cell["figures"]:
        arm, rate, cpu, ratio, per_core, *added, failed = row(one)
        p50 = number(one["latency_p50_seconds"], scale=1e3)
        load = f"{one['load_cpu_ratio']:.2f}"
        yield (arm, str(cell["concurrency"]), rate, cpu, ratio, per_core, p50, *added, failed, load)


def row(one: Mapping[str, Any]) -> tuple[str, ...]:
    """An arm's main figures as text."""
    return (
        one["arm"],
        f"{one['requests_per_second']:.0f}",
        number(one["cpu_seconds"], scale=1e6, digits=0),
        number(one["cpu_ratio"]),
        number(one["requests_per_core_second"], digits=0),
        number(one["added_p50_seconds"], scale=1e3),
        number(one["added_p99_seconds"], scale=1e3),
        str(one["failed_requests"]),
    )


def _memory(report: Mapping[str, Any]) -> str:
    rows = (
        (str(it["replicas"]), it["arm"], f"{it['peak_bytes'] / 2**20:.0f}")
        for it in report["memory"]
    )
    return (
        "## Peak memory\n\nOver all cells of a fleet, the processes of an arm added up. Trees of "
        "prompts grow with the requests\nthat a rival took.\n\n"
        f"{markdown_table(('Replicas', 'Arm', 'MiB'), rows, texts=2)}\n"
    )


def _absent(report: Mapping[str, Any]) -> str:
    found = {it["name"]: it["absent"] for it in report["arms"] if it["absent"] is not None}
    lines = "".join(f"- {name}: {_item(why)}\n" for name, why in {**found, **NOT_MEASURED}.items())
    return f"## Not measured, or not to the end\n\n{lines}"


def _item(text: str) -> str:
    """More lines, such as the end of a log, as code below the first."""
    first, *rest = text.splitlines()
    return "\n".join((first, *([""] if rest else []), *(f"      {line}" for line in rest)))
