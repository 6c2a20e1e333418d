"""The agent's Prometheus metrics, read off its keeper when somebody scrapes."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from capper.clocks.keeper import NodeKeeper
from capper.clocks.lease import OnExpiry

_PREFIX = "clock_agent_"
_BOARD = ("node", "gpu_uuid")


class AgentCollector(Collector):
    """Counts and boards of one agent."""

    def __init__(self, keeper: NodeKeeper, node: str, registry: CollectorRegistry) -> None:
        """Register with `registry`."""
        self._keeper = keeper
        self._node = node
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """All of them; what a board does not tell has no sample."""
        keeper, tally = self._keeper, self._keeper.tally
        works = GaugeMetricFamily(_PREFIX + "nvml_up", "1 while NVML answers.", labels=["node"])
        works.add_metric([self._node], float(keeper.nvml_works))
        yield works
        yield from self._boards()
        # From the first scrape on: an alert on its rise must not miss the first one.
        expirations = {policy.value: tally.expirations[policy.value] for policy in OnExpiry}
        yield from (
            self._counts(
                "lease_expirations", "Leases not renewed, by policy.", "policy", expirations
            ),
            self._counts("refusals", "Claims refused or failed.", "reason", tally.refusals),
            self._counts("nvml_errors", "Errors of NVML.", "fault", tally.faults),
            self._count("restores", "Boards put back as they were.", tally.restores),
            self._count("orphans", "Boards found held by an agent that ended.", tally.orphans),
            self._count("mismatches", "Readings that were not what was set.", tally.mismatches),
        )

    def _boards(self) -> Iterator[Metric]:
        names = {
            "clock_lock_hertz": "Highest clock that is locked.",
            "power_limit_watts": "Power limit that the board reads back.",
            "sm_clock_hertz": "Clock of its SMs.",
            "leases": "Leases on the board.",
            "safe_limit": "1 while an expired lease holds the safe limit.",
            "unsure": "1 while it is not known to be as it was set.",
        }
        families = {
            name: GaugeMetricFamily(f"{_PREFIX}board_{name}", text, labels=_BOARD)
            for name, text in names.items()
        }
        keeper = self._keeper
        holdings, readings = dict(keeper.book.holdings), dict(keeper.readings)
        for uuid in sorted({*keeper.boards, *holdings}):
            holding, reading = holdings.get(uuid), readings.get(uuid)
            leases = () if holding is None else holding.leases
            values = {
                "clock_lock_hertz": None if holding is None else holding.position.hertz,
                "power_limit_watts": None if reading is None else reading.limit_watts,
                "sm_clock_hertz": None if reading is None else reading.sm_hertz,
                "leases": len(leases),
                "safe_limit": any(lease.expired for lease in leases),
                "unsure": holding is not None and not (holding.known and holding.present),
            }
            for name, value in values.items():
                if value is not None:
                    families[name].add_metric([self._node, uuid], float(value))
        yield from families.values()

    def _counts(
        self, name: str, text: str, label: str, counts: Mapping[str, int]
    ) -> CounterMetricFamily:
        family = CounterMetricFamily(_PREFIX + name, text, labels=["node", label])
        for value, count in dict(counts).items():
            family.add_metric([self._node, value], count)
        return family

    def _count(self, name: str, text: str, count: int) -> CounterMetricFamily:
        family = CounterMetricFamily(_PREFIX + name, text, labels=["node"])
        family.add_metric([self._node], count)
        return family
