"""What the router gets to see: scrapes at intervals, late, through imperfect sensors.

The readings go through the very code that production uses (`telemetry.assembly`): resets, rates
and freshness are not simulated but run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from fleet.profile import Profile
from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from loadtest.simulator.boards import ReplicaState, SimulatedReplica
from loadtest.simulator.sensor_bank import SensorBank
from telemetry.assembly import Assembly
from telemetry.counters import RateWindow
from telemetry.reading import Reading, SourceReport

_WITHOUT_PROCESS = frozenset({ReplicaState.STOPPED, ReplicaState.STARTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryModel:
    """How the router's telemetry behaves.

    Attributes:
        interval_seconds: Between two scrapes of the fleet.
        delay_seconds: From the scrape to the published snapshot.
    """

    interval_seconds: float = 1.0
    delay_seconds: float = 0.2


class Observatory:
    """Scrapes simulated replicas and assembles snapshots.

    Attributes:
        published: The newest snapshot; None before the first.
    """

    def __init__(
        self, fleet: Fleet, replicas: Mapping[str, SimulatedReplica], sensors: SensorBank
    ) -> None:
        """Watch `replicas` by address."""
        self._fleet = fleet
        self._replicas = replicas
        self._sensors = sensors
        self._assembly = Assembly(fleet, RateWindow())
        self._version = 0
        self.published: FleetSnapshot | None = None

    def describe(self, profiles: Mapping[str, Profile]) -> None:
        """From the next snapshot on these backends have other profiles; all else stays."""
        fleet = Fleet(
            tuple(
                replace(backend, profile=profiles.get(backend.name, backend.profile))
                for backend in self._fleet.backends
            )
        )
        self._fleet = fleet
        self._assembly.replace_fleet(fleet)

    def scrape(self, now_seconds: float) -> tuple[Reading, ...]:
        """All readings of this moment, to be delivered later."""
        return tuple(
            reading
            for replica in self._replicas.values()
            for reading in self._readings(replica, now_seconds)
        )

    def deliver(self, readings: Iterable[Reading], now_seconds: float) -> FleetSnapshot:
        """The snapshot that is published when the readings arrive."""
        report = SourceReport(readings=tuple(readings))
        self._assembly.absorb("simulated", report, collected_for=self._fleet)
        self._version += 1
        self.published = self._assembly.snapshot(now_seconds=now_seconds, version=self._version)
        return self.published

    def _readings(self, replica: SimulatedReplica, now_seconds: float) -> Iterator[Reading]:
        address = replica.address
        # A pod that is not ready is no endpoint, whatever its process would answer.
        ready = replica.state is ReplicaState.READY
        yield Reading(address, SignalKind.HEALTHY_RATIO, float(ready), now_seconds)
        if replica.state not in _WITHOUT_PROCESS:
            for kind, value in _engine_values(replica):
                yield Reading(address, kind, float(value), now_seconds)
        board = self._sensors.read(address, now_seconds=now_seconds)
        if board is None:
            return
        # The measurement's own time: it may be an interval old when it is scraped.
        for kind, value in (
            (SignalKind.POWER_WATTS, board.power_watts),
            (SignalKind.ENERGY_JOULES_TOTAL, board.energy_millijoules / 1e3),
            (SignalKind.TEMPERATURE_CELSIUS, float(board.temperature_celsius)),
            (SignalKind.SM_CLOCK_HERTZ, replica.engine.truth.clock_hz),
        ):
            yield Reading(address, kind, value, board.at_seconds)


def _engine_values(replica: SimulatedReplica) -> Iterator[tuple[SignalKind, float]]:
    engine, counters = replica.engine, replica.engine.counters
    yield SignalKind.RUNNING_REQUESTS, engine.running
    yield SignalKind.WAITING_REQUESTS, engine.waiting
    yield SignalKind.KV_USAGE_RATIO, engine.kv_usage_ratio
    yield SignalKind.KV_CAPACITY_TOKENS, engine.kv_capacity_tokens
    yield SignalKind.PROMPT_TOKENS_TOTAL, counters.prompt_tokens
    yield SignalKind.GENERATION_TOKENS_TOTAL, counters.generation_tokens
    yield SignalKind.REQUESTS_FINISHED_TOTAL, sum(counters.finished.values())
    yield SignalKind.PREFIX_QUERY_TOKENS_TOTAL, counters.prefix_query_tokens
    yield SignalKind.PREFIX_HIT_TOKENS_TOTAL, counters.prefix_hit_tokens
