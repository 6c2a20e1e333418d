"""The newest of everything: reports of several sources merged into the signals of a snapshot."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from fleet.adapters import LoadedAdapters
from fleet.signals import COUNTERS, Signal, SignalKind
from fleet.snapshot import NO_SIGNALS, FleetSnapshot, Signals
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

    A replica of which nothing new was told keeps its object: `snapshot.of(address)` is then the
    very one of the snapshot before, so that readers may pass it by.
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
        breaks: Counter[tuple[SignalKind, RejectionReason]] = Counter()
        for address, readings in _by_address(report.readings).items():
            if address in known:
                breaks.update(self._take(source, address, readings, report.time_error_seconds))
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
        self, source: str, address: str, readings: Sequence[Reading], time_error_seconds: float
    ) -> Iterator[tuple[SignalKind, RejectionReason]]:
        """Merge the readings of one replica; yields the counters that were started anew.

        Objects that would come out equal are kept.
        """
        before = self._signals.get(address, NO_SIGNALS)
        changed: dict[SignalKind, Signal] = {}
        restarted = False
        for reading in readings:
            kind = reading.kind
            if kind in COUNTERS:
                recorded = self._counters.record(source, reading)
                changed.update(recorded.signals)
                reason = recorded.break_reason
                if reason is not None:
                    yield kind, reason
                    restarted |= reason is RejectionReason.RESET and kind in _ENGINE_COUNTERS
            elif _is_news(changed.get(kind) or before.get(kind), reading, time_error_seconds):
                changed[kind] = Signal(reading.value, reading.observed_seconds)
        if restarted:
            self._restarts[address] += 1
        changed = {kind: it for kind, it in changed.items() if it != before.get(kind)}
        if changed:
            self._signals[address] = MappingProxyType({**before, **changed})


def portions(report: SourceReport, *, replicas: int) -> Iterator[SourceReport]:
    """A report in parts of so many replicas, each whole; absorbed one by one they are the same."""
    by_address = _by_address(report.readings)
    addresses = [*dict.fromkeys((*by_address, *report.adapters))]
    for start in range(0, len(addresses), replicas):
        part = addresses[start : start + replicas]
        yield SourceReport(
            readings=tuple(one for address in part for one in by_address.get(address, ())),
            adapters={
                address: report.adapters[address] for address in part if address in report.adapters
            },
            time_error_seconds=report.time_error_seconds,
        )


def _by_address(readings: Sequence[Reading]) -> dict[str, list[Reading]]:
    found: dict[str, list[Reading]] = {}
    for reading in readings:
        of_replica = found.get(reading.address)
        if of_replica is None:
            found[reading.address] = [reading]
        else:
            of_replica.append(reading)
    return found


def _is_news(last: Signal | None, reading: Reading, time_error_seconds: float) -> bool:
    if last is None:
        return True
    newer_seconds = reading.observed_seconds - last.observed_seconds
    if reading.value == last.value:
        return newer_seconds > 0.0 and newer_seconds >= time_error_seconds
    return newer_seconds >= 0.0


def _identities(fleet: Fleet) -> dict[str, _Identity]:
    return {
        replica.address: (replica.backend, replica.namespace, replica.pod, replica.gpu_uuids)
        for replica in fleet.replicas()
    }
