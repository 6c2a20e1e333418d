"""The frozen view of the fleet that both halves read, published by one assignment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fleet.adapters import LoadedAdapters
from fleet.signals import Signal, SignalKind
from fleet.topology import Fleet

Signals = Mapping[SignalKind, Signal]
NO_SIGNALS: Signals = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSnapshot:
    """The fleet and the newest reading of every signal of every replica.

    Attributes:
        fleet: Topology this snapshot was taken of.
        signals: Replica address -> kind -> reading. A missing entry means unknown.
        published_seconds: Monotonic time of publication.
        version: Grows by one with every publication.
        adapters: Replica address -> LoRA adapters at work, where the engine tells.
        restarts: Replica address -> how often its engine's counters were seen to begin anew.
    """

    fleet: Fleet
    signals: Mapping[str, Signals] = field(default_factory=lambda: MappingProxyType({}))
    published_seconds: float
    version: int = 0
    adapters: Mapping[str, LoadedAdapters] = field(default_factory=lambda: MappingProxyType({}))
    restarts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, address: str) -> Signals:
        """The readings of one replica; empty when nothing is known of it."""
        return self.signals.get(address, NO_SIGNALS)

    def signal(self, address: str, kind: SignalKind) -> Signal | None:
        """The newest reading of one signal, or None."""
        return self.of(address).get(kind)


class SnapshotHolder:
    """One reference: a writer replaces it, readers take it. Nobody changes what it points to."""

    __slots__ = ("current",)

    def __init__(self, initial: FleetSnapshot) -> None:
        """Start with `initial`, usually the topology without any reading."""
        self.current = initial
