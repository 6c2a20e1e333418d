"""The series of our recording rules, read by one query. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from capper.decide.observation import PowerSource
from telemetry.query_answers import Row

_NAMES = "capper:(rack|workload)_.+|capper:host_ratio"
QUERY = f'{{__name__=~"{_NAMES}"}} or label_replace(vector(time()), "capper_part", "now", "", "")'
"""Everything of one evaluation, and Prometheus' own time for the ages."""

SOURCES = {"pdu": PowerSource.PDU, "bmc": PowerSource.BMC, "boards": PowerSource.BOARDS}


class WorkloadKey(NamedTuple):
    """Which workload a series is of."""

    kind: str
    namespace: str
    name: str


class RackKey(NamedTuple):
    """Which rack, measured where."""

    rack: str
    source: PowerSource | None


_Series = dict[str, float]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One reading of the rules.

    Attributes:
        now_seconds: Of Prometheus; the times below are by its clock.
        racks: Values by the name of their series, without "capper:rack_".
        workloads: The same without "capper:workload_".
        workload_racks: Pods that serve, by rack.
        host_ratio: Watts of servers over those of their boards, where it was measured.
    """

    now_seconds: float = 0.0
    racks: dict[RackKey, _Series] = field(default_factory=dict)
    workloads: dict[WorkloadKey, _Series] = field(default_factory=dict)
    workload_racks: dict[WorkloadKey, _Series] = field(default_factory=dict)
    host_ratio: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing at all, as where the rules are not installed."""
        return not (self.racks or self.workloads or self.workload_racks)

    def age_seconds(self, series: _Series, name: str = "measured_seconds") -> float:
        """How old the oldest part is; infinite when that is not known."""
        measured = series.get(name)
        return float("inf") if measured is None else max(0.0, self.now_seconds - measured)


def recorded(rows: Sequence[Row]) -> Recorded:
    """Sort the answer to `QUERY`."""
    racks: dict[RackKey, _Series] = {}
    workloads: dict[WorkloadKey, _Series] = {}
    placed: dict[WorkloadKey, _Series] = {}
    now_seconds, host_ratio = 0.0, None
    for labels, value in rows:
        name = labels.get("__name__", "").removeprefix("capper:")
        group, _, rest = name.partition("_")
        if labels.get("capper_part") == "now":
            now_seconds = value
        elif name == "host_ratio":
            host_ratio = value
        elif group == "rack":
            key = RackKey(labels.get("rack", ""), SOURCES.get(labels.get("source", "")))
            racks.setdefault(key, {})[rest] = value
        elif group == "workload":
            owner = WorkloadKey(*(labels.get(key, "") for key in ("kind", "namespace", "workload")))
            if rest == "rack_pods":
                placed.setdefault(owner, {})[labels.get("rack", "")] = value
            else:
                workloads.setdefault(owner, {})[rest] = value
    return Recorded(now_seconds, racks, workloads, placed, host_ratio)
