"""Pieces of PromQL that the rules are put together from."""

from collections.abc import Iterable

_FIRST = "capper_first"


def first_label(expr: str, label: str, *sources: str) -> str:
    """`expr` with `label` set to the first of `sources` that is not empty; else as it was.

    Exporters and scrape configurations call one thing by many names: `Hostname` became `hostname`
    in dcgm-exporter, and with `honorLabels: false` a workload's pod is `exported_pod`, because
    `pod` is the exporter's own.
    """
    names = ", ".join(f'"{source}"' for source in sources)
    joined = f'label_join({expr}, "{_FIRST}", ";", {names})'
    return f'label_replace({joined}, "{label}", "$1", "{_FIRST}", ";*([^;]+).*")'


def object_labels(expr: str) -> str:
    """Labels `namespace`, `pod` and `node` of what is described, not of who describes it."""
    for label in ("namespace", "pod", "node"):
        expr = first_label(expr, label, f"exported_{label}", label)
    return expr


def within(expr: str, low: float, high: float) -> str:
    """The part of `expr` strictly between the two."""
    return f"({expr} > {low:g} < {high:g})"


def per_second(counter: str) -> str:
    """Growth of a counter over one minute.

    Not where it started anew in that minute, nor from a series that has ended (a range looks past
    the end, an instant does not), nor from the "no data" of DCGM, which is 9.2e18.
    """
    return f"(rate({counter}[1m]) unless resets({counter}[1m]) > 0 and {counter} < 1e18)"


def first_of(expressions: Iterable[str], *, on: str = "") -> str:
    """The first that has a series of these labels."""
    joint = f"\n  or on ({on}) " if on else "\n  or "
    return joint.join(expressions)
