"""What the router gets to see: scrapes at intervals, late, through imperfect sensors.

The readings go through the very code that production uses (`telemetry.assembly`): resets, rates
and freshness are not simulated but run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from loadtest.simulator.boards import SimulatedReplica
from telemetry.assembly import Assembly
from telemetry.counters import RateWindow
from telemetry.reading import Reading, SourceReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryModel:
    """How the router's telemetry behaves.

    Attributes:
        interval_seconds: Between two scrapes of the fleet.
        delay_seconds: From the scrape to the published snapshot.
        power_gain_ratio: Largest gain error of a board's power sensor, drawn once per board
            (arXiv 2312.02741: +-5 %).
    """

    interval_seconds: float = 1.0
    delay_seconds: float = 0.2
    power_gain_ratio: float = 0.05


class Observatory:
    """Scrapes simulated replicas and assembles snapshots."""

    def __init__(self, fleet: Fleet, replicas: Mapping[str, SimulatedReplica]) -> None:
        """Watch `replicas` by address."""
        self._fleet = fleet
        self._replicas = replicas
        self._assembly = Assembly(fleet, RateWindow())
        self._last_joules: dict[str, tuple[float, float]] = {}
        self._version = 0

    def scrape(self, now_seconds: float) -> tuple[Reading, ...]:
        """All readings of this moment, to be delivered later."""
        return tuple(
            Reading(replica.address, kind, float(value), now_seconds)
            for replica in self._replicas.values()
            for kind, value in self._readings(replica, now_seconds)
        )

    def deliver(self, readings: Iterable[Reading], now_seconds: float) -> FleetSnapshot:
        """The snapshot that is published when the readings arrive."""
        report = SourceReport(readings=tuple(readings))
        self._assembly.absorb("simulated", report, collected_for=self._fleet)
        self._version += 1
        return self._assembly.snapshot(now_seconds=now_seconds, version=self._version)

    def _readings(
        self, replica: SimulatedReplica, now_seconds: float
    ) -> Iterator[tuple[SignalKind, float]]:
        engine, counters = replica.engine, replica.engine.counters
        yield SignalKind.HEALTHY_RATIO, 1.0
        yield SignalKind.RUNNING_REQUESTS, engine.running
        yield SignalKind.WAITING_REQUESTS, engine.waiting
        yield SignalKind.KV_USAGE_RATIO, engine.kv_usage_ratio
        yield SignalKind.KV_CAPACITY_TOKENS, engine.kv_capacity_tokens
        yield SignalKind.PROMPT_TOKENS_TOTAL, counters.prompt_tokens
        yield SignalKind.GENERATION_TOKENS_TOTAL, counters.generation_tokens
        yield SignalKind.REQUESTS_FINISHED_TOTAL, sum(counters.finished.values())
        yield SignalKind.PREFIX_QUERY_TOKENS_TOTAL, counters.prefix_query_tokens
        yield SignalKind.PREFIX_HIT_TOKENS_TOTAL, counters.prefix_hit_tokens
        watts = self._watts(replica, now_seconds)
        if watts is not None:
            yield SignalKind.POWER_WATTS, watts

    def _watts(self, replica: SimulatedReplica, now_seconds: float) -> float | None:
        """Mean power since the last scrape, by the board's own gain; None at the first."""
        joules = replica.engine.energy(now_seconds).joules
        before = self._last_joules.get(replica.address)
        self._last_joules[replica.address] = (now_seconds, joules)
        if before is None or now_seconds <= before[0]:
            return None
        return replica.power_gain * (joules - before[1]) / (now_seconds - before[0])
