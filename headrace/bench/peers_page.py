"""The page docs/benchmarks/peers.md, from a report of `headrace bench peers`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from headrace.bench.peers_catalogue import NOT_MEASURED, Peer
from headrace.bench.peers_figures import DIRECT, ENVOY, HEADRACE, Described

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
_COLUMNS = (
    "| Arm | Connections | Requests/s | CPU/request, us | Of Headrace's | Requests/s per core "
    "| p50, ms | Added p50, ms | Added p99, ms | Failed | Load's CPU |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def described(
    peers: Sequence[Peer], versions: Mapping[str, str | None], absent: Mapping[str, str]
) -> tuple[Described, ...]:
    """All arms, for a report; `absent` says why of those that were not measured to the end."""
    own = [
        Described(
            name=name,
            what=what,
            version=versions.get(name),
            policy=policy,
            body=body,
            absent=None,
        )
        for name, (what, policy, body) in _ABOUT.items()
    ]
    others = [
        Described(
            name=it.name,
            what=it.what,
            version=versions.get(it.name),
            policy=it.policy,
            body=it.body,
            absent=absent.get(it.name),
        )
        for it in peers
    ]
    return (*own, *others)


def page(report: Mapping[str, Any]) -> str:
    """The report as markdown."""
    machine = report["machine"]
    head = _HEAD.format(
        machine=f"{machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, Python {machine['python']}",
        window_seconds=report["window_seconds"],
        rounds=report["rounds"],
    )
    return (
        "\n".join((head, _arms(report), *_cells(report), _memory(report), _absent(report))).rstrip(
            "\n"
        )
        + "\n"
    )


def _arms(report: Mapping[str, Any]) -> str:
    keys = ("name", "version", "what", "policy", "body")
    rows = "".join(f"| {' | '.join(it[key] or '-' for key in keys)} |\n" for it in report["arms"])
    return (
        "## The arms\n\n| Arm | Version | What | Policy | Request body |\n|---|---|---|---|---|\n"
        f"{rows}"
    )


def _cells(report: Mapping[str, Any]) -> Iterator[str]:
    def place(cell: Mapping[str, Any]) -> tuple[int, int]:
        return cell["replicas"], cell["body_bytes"]

    for (replicas, body_bytes), cells in groupby(report["cells"], key=place):
        rows = "".join(row for cell in cells for row in _rows(cell))
        yield f"## {replicas} replicas, {body_bytes} bytes\n\n{_COLUMNS}{rows}"


def _rows(cell: Mapping[str, Any]) -> Iterator[str]:
    for one in cell["figures"]:
        values = (
            one["arm"],
            cell["concurrency"],
            f"{one['requests_per_second']:.0f}",
            number(one["cpu_seconds"], 1e6, 0),
            number(one["cpu_ratio"], 1, 2),
            number(one["requests_per_core_second"], 1, 0),
            number(one["latency_p50_seconds"], 1e3, 2),
            number(one["added_p50_seconds"], 1e3, 2),
            number(one["added_p99_seconds"], 1e3, 2),
            one["failed_requests"],
            f"{one['load_cpu_ratio']:.2f}",
        )
        yield f"| {' | '.join(str(value) for value in values)} |\n"


def _memory(report: Mapping[str, Any]) -> str:
    rows = "".join(
        f"| {it['replicas']} | {it['arm']} | {it['peak_bytes'] / 2**20:.0f} |\n"
        for it in report["memory"]
    )
    return (
        "## Peak memory\n\nOver all cells of a fleet, the processes of an arm added up. Trees of "
        "prompts grow with the requests\nthat a rival took.\n\n"
        f"| Replicas | Arm | MiB |\n|---|---|---|\n{rows}"
    )


def _absent(report: Mapping[str, Any]) -> str:
    found = {it["name"]: it["absent"] for it in report["arms"] if it["absent"] is not None}
    lines = "".join(f"- {name}: {_item(why)}\n" for name, why in {**found, **NOT_MEASURED}.items())
    return f"## Not measured, or not to the end\n\n{lines}"


def _item(text: str) -> str:
    """More lines, such as the end of a log, as code below the first."""
    first, *rest = text.splitlines()
    return "\n".join((first, *([""] if rest else []), *(f"      {line}" for line in rest)))


def number(value: float | None, scale: float, digits: int) -> str:
    """A figure in another unit; a dash when there is none."""
    return "-" if value is None else f"{value * scale:.{digits}f}"
