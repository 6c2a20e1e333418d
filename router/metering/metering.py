"""The metering put together: from a picker and settings to a decider, an observer and sinks."""

from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from fleet.clock import Clock
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from router.decide.ledger import Ticket
from router.decide.picker import Picker
from router.metering.access_log import AccessLog
from router.metering.collector import MeteringCollector
from router.metering.completions import Completions
from router.metering.intensity import NO_INTENSITY, IntensitySource
from router.metering.meter import Meter, MeterSettings
from router.metering.metered import MeteredDecider
from router.metering.recorder import Recorder, Sink
from router.metering.sci import sci_by_model
from router.metering.series import Series

_SECONDS_PER_HOUR = 3600.0
_GONE = "(gone)"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteringSettings:
    """Settings of the metering.

    Attributes:
        meter: Of the meter itself.
        access_record_path: File for access records, "-" for standard output, None for none.
        max_tenants: Tenants with labels of their own; later ones are "other".
        embodied_grams_per_replica_hour: Declared embodied carbon (M of ISO/IEC 21031), or None to
            leave it out.
        awaits_access_log: Whether a receiver of access logs tells of ends.
        completion_limit_seconds: How long an access-log entry is awaited before the request is
            taken to have ended.
    """

    meter: MeterSettings = field(default_factory=MeterSettings)
    access_record_path: str | None = None
    max_tenants: int = 100
    embodied_grams_per_replica_hour: float | None = None
    awaits_access_log: bool = False
    completion_limit_seconds: float = 900.0


class Metering:
    """Everything that measures, for one picker.

    Attributes:
        meter: Listens to the picker's ledger.
        recorder: The observer of exchanges (router.extproc.exchange).
        decider: The picker, metered.
        completions: For the access-log receiver; None without one.
        series: Sums of ended requests.
    """

    def __init__(  # noqa: PLR0913 - puts the metering together, all by name
        self,
        picker: Picker,
        settings: MeteringSettings,
        *,
        policy: str,
        snapshots: SnapshotHolder,
        clock: Clock,
        registry: CollectorRegistry,
        intensity: IntensitySource = NO_INTENSITY,
        sinks: tuple[Sink, ...] = (),
        series: Series | None = None,
    ) -> None:
        """Put together and register the metrics; nothing is opened.

        Args:
            picker: Whose requests are metered.
            settings: Of the metering.
            policy: Its name, for the records.
            snapshots: For the backend of an address, and for domains.
            clock: For the metrics.
            registry: Where they go.
            intensity: Carbon intensity of the grids.
            sinks: More takers of records.
            series: Sums of ended requests, where other processes count them too.
        """
        self._picker = picker
        self._snapshots = snapshots
        self._clock = clock
        self._backends: dict[str, str] = {}
        self._backends_of: object = None
        self.series = Series(max_tenants=settings.max_tenants) if series is None else series
        path = settings.access_record_path
        self._access_log = None if path is None else AccessLog(path)
        logged: tuple[Sink, ...] = () if self._access_log is None else (self._access_log.add,)
        self.recorder = Recorder(
            policy=policy,
            backend_of=self._backend_of,
            epoch_seconds=clock.epoch_seconds,
            sinks=(self.series.add, *logged, *sinks),
        )
        self.meter = Meter(settings.meter, intensity=intensity, on_end=self.recorder.ended)
        self.recorder.meter = self.meter
        picker.ledger.listener = self.meter
        self.completions = self._completions(settings) if settings.awaits_access_log else None
        self.decider = MeteredDecider(picker, self.recorder, self.completions)
        hourly = settings.embodied_grams_per_replica_hour
        self._embodied = None if hourly is None else hourly / _SECONDS_PER_HOUR
        registry.register(
            MeteringCollector(
                meter=self.meter,
                series=self.series,
                monotonic_seconds=clock.monotonic_seconds,
                domains=self._domains,
                embodied_grams_per_replica_second=self._embodied,
                completions=self.completions,
                access_log=self._access_log,
            )
        )
        self.observe(snapshots.current)

    def observe(self, snapshot: FleetSnapshot) -> None:
        """Take in a snapshot, after the picker has."""
        now_seconds = self._clock.monotonic_seconds()
        self.meter.observe(snapshot, self._picker.units(), now_seconds=now_seconds)

    def tick(self) -> None:
        """Write what is held and end what waited too long; about once a second."""
        if self._access_log is not None:
            self._access_log.flush()
        if self.completions is not None:
            self.completions.expire(now_seconds=self._clock.monotonic_seconds())

    def close(self) -> None:
        """Write what is held."""
        if self._access_log is not None:
            self._access_log.close()

    def to_dict(self) -> dict[str, Any]:
        """The account as plain values, for /debug/energy; see docs/metering.md."""
        now_seconds = self._clock.monotonic_seconds()
        self.meter.advance(now_seconds=now_seconds)
        totals = self.meter.totals
        ended_joules = sum(sums.joules.total for _, sums in self.series)
        open_joules = self.meter.open_joules(now_seconds=now_seconds)
        own_joules = sum(t.own_joules for t in totals.values())
        return {
            "requests_in_flight": self.meter.open,
            "request_joules": ended_joules + open_joules,
            "own_busy_joules": own_joules,
            "difference_ratio": _difference(ended_joules + open_joules, own_joules),
            "backends": {
                backend: {
                    "busy_joules": t.busy_joules,
                    "foreign_joules": t.foreign_joules,
                    "idle_joules": t.idle_joules,
                    "busy_seconds": t.busy_seconds,
                    "unknown_seconds": t.unknown_seconds,
                }
                for backend, t in totals.items()
            },
            "software_carbon_intensity": {
                model: sci._asdict()
                for model, sci in sci_by_model(
                    self.series, embodied_grams_per_replica_second=self._embodied
                ).items()
            },
        }

    # Inside

    def _completions(self, settings: MeteringSettings) -> Completions:
        return Completions(
            self.recorder,
            self._settle,
            self._serve,
            limit_seconds=settings.completion_limit_seconds,
        )

    def _settle(self, ticket: Ticket, now_seconds: float) -> bool:
        return self._picker.settle(ticket, now_seconds=now_seconds)

    def _serve(self, ticket: Ticket, address: str, now_seconds: float) -> None:
        journey = self.recorder.journey(ticket)
        if journey is not None and address in self._addresses():
            self._picker.serve(journey.pick, address, now_seconds=now_seconds)

    def _backend_of(self, address: str) -> str:
        return self._addresses().get(address, _GONE)

    def _addresses(self) -> dict[str, str]:
        """Backend by address, made anew with a new topology."""
        fleet = self._snapshots.current.fleet
        if fleet is not self._backends_of:
            self._backends_of = fleet
            self._backends = {replica.address: replica.backend for replica in fleet.replicas()}
        return self._backends

    def _domains(self) -> tuple[str, ...]:
        fleet = self._snapshots.current.fleet
        return tuple(sorted({replica.domain for replica in fleet.replicas()}))


def _difference(joules: float, against_joules: float) -> float | None:
    return joules / against_joules - 1.0 if against_joules else None
