"""Snapshots in pieces: what has changed since the last one, and the whole again. Pure.

A replica whose readings are the same object as last time is not sent again: telemetry keeps the
object of whatever it has nothing new of.
"""

from collections.abc import Iterator, Mapping
from itertools import islice

from fleet.adapters import LoadedAdapters
from fleet.signals import Signal, SignalKind
from fleet.snapshot import FleetSnapshot, Signals
from fleet.topology import Fleet
from headrace.workers.messages import Readings

REPLICAS_PER_PART = 50
"""Reading them takes a worker a fifth of a millisecond, and requests go between two parts."""


def parts_of(snapshot: FleetSnapshot, last: FleetSnapshot | None) -> Iterator[Readings]:
    """What to send so that a receiver that has `last`, or nothing, has `snapshot`."""
    known: Mapping[str, Signals] = {} if last is None else last.signals
    known_adapters: Mapping[str, LoadedAdapters] = {} if last is None else last.adapters
    changed = [
        (address, signals)
        for address, signals in snapshot.signals.items()
        if known.get(address) is not signals
    ]
    left = iter(changed)
    parts = list(iter(lambda: dict(islice(left, REPLICAS_PER_PART)), {})) or [{}]
    adapters: dict[str, LoadedAdapters | None] = {
        address: adapter
        for address, adapter in snapshot.adapters.items()
        if known_adapters.get(address) is not adapter
    }
    adapters |= dict.fromkeys(known_adapters.keys() - snapshot.adapters.keys())
    for number, part in enumerate(parts, start=1):
        is_last = number == len(parts)
        yield Readings(
            signals={address: dict(signals) for address, signals in part.items()},
            gone=sorted(known.keys() - snapshot.signals.keys()) if is_last else [],
            adapters=adapters if is_last else {},
            restarts=dict(snapshot.restarts) if is_last else {},
            published_seconds=snapshot.published_seconds,
            version=snapshot.version,
            last=is_last,
        )


class Whole:
    """Puts the parts together again."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._signals: dict[str, dict[SignalKind, Signal]] = {}
        self._adapters: dict[str, LoadedAdapters] = {}

    def add(self, part: Readings, fleet: Fleet) -> FleetSnapshot | None:
        """The snapshot, once its last part is here; `fleet` is its topology."""
        self._signals.update(part.signals)
        if not part.last:
            return None
        for address in part.gone:
            self._signals.pop(address, None)
        for address, adapters in part.adapters.items():
            if adapters is None:
                self._adapters.pop(address, None)
            else:
                self._adapters[address] = adapters
        return FleetSnapshot(
            fleet=fleet,
            signals=dict(self._signals),
            adapters=dict(self._adapters),
            restarts=part.restarts,
            published_seconds=part.published_seconds,
            version=part.version,
        )
