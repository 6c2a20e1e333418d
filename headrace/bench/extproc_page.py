"""The page docs/benchmarks/extproc.md, from a report of `headrace bench extproc`. Pure."""

from collections.abc import Iterator
from typing import Any

_HEAD = """# The cost of routing

Written by `headrace bench extproc`; edit nothing here. Measured on {machine}.

Per round and cell the arms take turns of {window_seconds:g} s, so that a change of the machine's
speed hits all alike; figures are medians of {rounds} rounds. A closed loop of N connections sends
chat requests whose prompts all differ to a real Envoy; an upstream answers at once. CPU is what the
operating system counts for the ext_proc server's process. Added latency is the client's, less that
of Envoy without ext_proc in the same round. Load generator, Envoy, server and upstream share the
machine: requests/s is of all of them together.
"""
_COLUMNS = (
    "| Body | Replicas | Bytes | Connections | Arm | Requests/s | CPU/request, us | CPU, of floor "
    "| Added p50, ms | Added p99, ms | Failed | Load generator's CPU |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def page(report: dict[str, Any]) -> str:
    """The report as markdown."""
    machine = report["machine"]
    head = _HEAD.format(
        machine=f"{machine['cores']} cores ({machine['processor']}), Python {machine['python']}",
        window_seconds=report["window_seconds"],
        rounds=report["rounds"],
    )
    arms = "".join(f"- *{name}*: {what}.\n" for name, what in report["arms"].items())
    rows = "".join(_rows(report))
    memory = "".join(
        f"| {it['body_mode']} | {it['replicas']} | {it['arm']} | {it['peak_bytes'] / 2**20:.0f} |\n"
        for it in report["memory"]
    )
    return (
        f"{head}\n{arms}\n## All cells\n\n{_COLUMNS}{rows}\n## Peak memory\n\n"
        f"| Body | Replicas | Arm | MiB |\n|---|---|---|---|\n{memory}"
    )


def _rows(report: dict[str, Any]) -> Iterator[str]:
    for cell in report["cells"]:
        for one in cell["figures"]:
            cpu_seconds, ratio = one["server_cpu_seconds"], one["server_cpu_ratio"]
            values = (
                cell["body_mode"],
                cell["replicas"],
                cell["body_bytes"],
                cell["concurrency"],
                one["arm"],
                f"{one['requests_per_second']:.0f}",
                "-" if cpu_seconds is None else f"{cpu_seconds * 1e6:.0f}",
                "-" if ratio is None else f"{ratio:.2f}",
                f"{one['added_p50_seconds'] * 1e3:.2f}",
                f"{one['added_p99_seconds'] * 1e3:.2f}",
                one["failed_requests"],
                f"{one['load_cpu_ratio']:.2f}",
            )
            yield f"| {' | '.join(str(value) for value in values)} |\n"
