"""The newest of everything: reports of several sources merged into the signals of a snapshot."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from fleet.adapters import LoadedAdapters
from fleet.signals import COUNTERS, Signal, SignalKind
from fleet.snapshot import FleetSnapshot, Signals
from fleet.topology import Fleet
from telemetry.counters import CounterBook, RateWindow
from telemetry.reading import Reading, RejectionReason, SourceReport

# What a replica is besides its address: when one of these changes, another engine answers there
# and nothing that was measured of the old one holds.
_Identity = tuple[str, str | None, str | None, tuple[str, ...]]

# Counters of the engine's process: when one begins anew, so did the engine.
_ENGINE_COUNTERS = frozenset(
    {
        SignalKind.PROMPT_TOKENS_TOTAL,
        SignalKind.GENERATION_TOKENS_TOTAL,
        SignalKind.PREFIX_QUERY_TOKENS_TOTAL,
    }
)


class Assembly:
    """Last known signal of every kind of every replica. Mutable, without I/O or clock.

    Signals that are not seen again stay, with the time of their own observation: how long they
    count is the readers' decision (`fleet.signals.FreshnessPolicy`).
    """

    def __init__(self, fleet: Fleet, window: RateWindow) -> None:
        """Start without any reading."""
        self.fleet = fleet
        self._identities = _identities(fleet)
        self._signals: dict[str, Signals] = {}
        self._adapters: dict[str, LoadedAdapters] = {}
        self._restarts: Counter[str] = Counter()
        self._counters = CounterBook(window)

    def replace_fleet(self, fleet: Fleet) -> None:
        """Change the topology; forgets replicas that are gone or have become others."""
        identities = _identities(fleet)
        gone = {
            address
            for address, identity in self._identities.items()
            if identities.get(address) != identity
        }
        self._counters.forget(gone)
        for address in gone:
            self._signals.pop(address, None)
            self._adapters.pop(address, None)
            self._restarts.pop(address, None)
        self.fleet, self._identities = fleet, identities

    def absorb(
        self, source: str, report: SourceReport, *, collected_for: Fleet
    ) -> Mapping[tuple[SignalKind, RejectionReason], int]:
        """Merge a report, freshest reading wins; returns counters that were started anew.

        Args:
            source: Name of the source, which tells its view of a counter from others'.
            report: What it brought.
            collected_for: The fleet it was asked for; when the topology has changed meanwhile,
                readings of replicas that have changed with it are dropped.
        """
        known = self._identities
        if collected_for is not self.fleet:
            asked = _identities(collected_for)
            known = {address: it for address, it in known.items() if asked.get(address) == it}
        changed: dict[str, dict[SignalKind, Signal]] = {}
        breaks: Counter[tuple[SignalKind, RejectionReason]] = Counter()
        restarted: set[str] = set()
        for reading in report.readings:
            if reading.address not in known:
                continue
            signals = changed.setdefault(
                reading.address, dict(self._signals.get(reading.address, {}))
            )
            reason = self._take(source, reading, signals)
            if reason is not None:
                breaks[reading.kind, reason] += 1
            if reason is RejectionReason.RESET and reading.kind in _ENGINE_COUNTERS:
                restarted.add(reading.address)
        self._restarts.update(restarted)
        for address, signals in changed.items():
            self._signals[address] = MappingProxyType(signals)
        self._adapters |= {
            address: adapters for address, adapters in report.adapters.items() if address in known
        }
        return breaks

    def snapshot(self, *, now_seconds: float, version: int) -> FleetSnapshot:
        """A frozen view; later changes here do not show in it."""
        return FleetSnapshot(
            fleet=self.fleet,
            signals=MappingProxyType(dict(self._signals)),
            published_seconds=now_seconds,
            version=version,
            adapters=MappingProxyType(dict(self._adapters)),
            restarts=MappingProxyType(dict(self._restarts)),
        )

    def _take(
        self, source: str, reading: Reading, signals: dict[SignalKind, Signal]
    ) -> RejectionReason | None:
        if reading.kind in COUNTERS:
            recorded = self._counters.record(source, reading)
            signals.update(recorded.signals)
            return recorded.break_reason
        last = signals.get(reading.kind)
        if last is None or reading.observed_seconds >= last.observed_seconds:
            signals[reading.kind] = Signal(reading.value, reading.observed_seconds)
        return None


def _identities(fleet: Fleet) -> dict[str, _Identity]:
    return {
        replica.address: (replica.backend, replica.namespace, replica.pod, replica.gpu_uuids)
        for replica in fleet.replicas()
    }
