"""The meter of a fleet: told by the ledger of starts, moves and ends, by telemetry of watts. Pure.

Other routers' requests: what a scrape counts beyond our own in flight at its time takes its share
of the replica's power too. Scrapes and ledger differ by a request or two for an instant whenever
one ends, so only what two observations in a row agree on counts: the smaller of the two.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fleet.signals import Signal, SignalKind
from fleet.snapshot import FleetSnapshot, Signals
from router.decide.ledger import Ticket
from router.decide.unit import Unit
from router.metering.energy import RequestEnergy, energy_of
from router.metering.intensity import NO_INTENSITY, IntensitySource
from router.metering.shares import NO_SHARES, BusyTotals, ReplicaShares, Shares, View

# The most trusted first: power as it was read, else as the energy counter grew.
_WATTS = (SignalKind.POWER_WATTS, SignalKind.ENERGY_WATTS)
_TOKEN_RATES = (SignalKind.GENERATION_TOKENS_PER_SECOND,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """Settings of the meter.

    Attributes:
        fresh_seconds: Age up to which a reading counts.
        model_watts: Where no watts are measured, take the profile's; else they are unknown.
        share_with_others: Whether other routers' requests take their share.
    """

    fresh_seconds: float = 5.0
    model_watts: bool = True
    share_with_others: bool = True


@dataclass(slots=True)
class _Replica:
    shares: ReplicaShares
    domain: str
    foreign: float = 0.0
    present: bool = True


@dataclass(slots=True)
class _Flight:
    replica: _Replica
    start: Shares
    before: Shares = NO_SHARES


Listener = Callable[[Ticket, RequestEnergy], None]


class Meter:
    """A listener of the ledger (router.decide.ledger.LedgerListener).

    Attributes:
        totals: By backend; those that left the fleet keep theirs.
        intensity: Of the grids; may be replaced.
    """

    def __init__(
        self,
        settings: MeterSettings | None = None,
        *,
        intensity: IntensitySource = NO_INTENSITY,
        on_end: Listener | None = None,
    ) -> None:
        """Start with no replica.

        Args:
            settings: Of the meter.
            intensity: Of the grids.
            on_end: Called with every request that ends, and what it took.
        """
        self._settings = settings or MeterSettings()
        self.intensity = intensity
        self._on_end = on_end
        self._replicas: dict[str, _Replica] = {}
        self._flights: dict[Ticket, _Flight] = {}
        self._now_seconds = float("-inf")
        self.totals: dict[str, BusyTotals] = {}

    @property
    def open(self) -> int:
        """Requests in flight."""
        return len(self._flights)

    # What telemetry tells

    def observe(
        self, snapshot: FleetSnapshot, units: Iterable[Unit], *, now_seconds: float
    ) -> None:
        """Take in a snapshot; `units` are the picker's, after it has taken in the same one."""
        gone = set(self._replicas)
        for unit in units:
            gone.discard(unit.address)
            replica = self._replica(unit.address, unit, now_seconds)
            self._advance(replica, now_seconds)
            replica.shares.view = self._view(snapshot.of(unit.address), unit, replica, now_seconds)
        for address in gone:
            self._forget(address, now_seconds)

    def advance(self, *, now_seconds: float) -> None:
        """Bring all integrals up to now, for whoever reads the totals."""
        for replica in self._replicas.values():
            self._advance(replica, now_seconds)

    # What the ledger tells

    def entered(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request begins."""
        replica = self._replicas.get(ticket.address)
        if replica is None:
            replica = self._replica(ticket.address, None, now_seconds)
        self._advance(replica, now_seconds)
        self._flights[ticket] = _Flight(replica, replica.shares.enter())

    def moved(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request runs elsewhere from now on; what it took so far stays its own."""
        flight = self._flights[ticket]
        self._advance(flight.replica, now_seconds)
        flight.before = flight.before.plus(flight.replica.shares.leave(), flight.start)
        flight.replica = self._replica(ticket.address, None, now_seconds)
        self._advance(flight.replica, now_seconds)
        flight.start = flight.replica.shares.enter()

    def settled(self, ticket: Ticket, *, now_seconds: float) -> None:
        """A request ends."""
        flight = self._flights.pop(ticket)
        self._advance(flight.replica, now_seconds)
        shares = flight.before.plus(flight.replica.shares.leave(), flight.start)
        if not flight.replica.present:
            self._forget(ticket.address, now_seconds)
        if self._on_end is not None:
            self._on_end(ticket, energy_of(shares))

    def so_far(self, ticket: Ticket, *, now_seconds: float) -> RequestEnergy | None:
        """What a request in flight has taken up to now; None when it has ended."""
        flight = self._flights.get(ticket)
        if flight is None:
            return None
        self._advance(flight.replica, now_seconds)
        return energy_of(flight.before.plus(flight.replica.shares.read(), flight.start))

    def open_joules(self, *, now_seconds: float) -> float:
        """Known joules of all requests in flight; for people who ask, since it visits each."""
        energies = (self.so_far(ticket, now_seconds=now_seconds) for ticket in self._flights)
        return math.fsum(energy.joules or 0.0 for energy in energies if energy is not None)

    # Inside

    def _advance(self, replica: _Replica, now_seconds: float) -> None:
        """Up to the latest time that was ever told: one for all, should a clock step back."""
        now_seconds = self._now_seconds = max(self._now_seconds, now_seconds)
        intensity = self.intensity.grams_per_joule(replica.domain, now_seconds=now_seconds)
        replica.shares.advance(now_seconds, intensity)

    def _replica(self, address: str, unit: Unit | None, now_seconds: float) -> _Replica:
        replica = self._replicas.get(address)
        backend = "" if unit is None else unit.backend.name
        domain = "" if unit is None else unit.replica.domain
        if replica is None:
            replica = self._replicas[address] = _Replica(
                ReplicaShares(self._totals(backend), now_seconds=now_seconds), domain
            )
        elif unit is not None and replica.shares.totals is not self.totals.get(backend):
            # First seen by a pick, or its address changed hands.
            self._advance(replica, now_seconds)
            replica.shares.totals = self._totals(backend)
        if unit is not None:
            replica.domain, replica.present = domain, True
        return replica

    def _totals(self, backend: str) -> BusyTotals:
        return self.totals.setdefault(backend, BusyTotals())

    def _forget(self, address: str, now_seconds: float) -> None:
        """Drop a replica that left the fleet once nothing of ours is on it; measure it no more."""
        replica = self._replicas[address]
        replica.present = False
        self._advance(replica, now_seconds)
        if not replica.shares.own:
            del self._replicas[address]

    def _view(self, signals: Signals, unit: Unit, replica: _Replica, now_seconds: float) -> View:
        settings, power = self._settings, unit.profile.power
        watts = self._fresh(signals, _WATTS, now_seconds)
        tokens = self._fresh(signals, _TOKEN_RATES, now_seconds)
        before, replica.foreign = replica.foreign, unit.foreign_running
        return View(
            watts=None if watts is None else watts.value,
            watts_until_seconds=self._until_seconds(watts),
            curve=power if settings.model_watts else None,
            idle_watts=power.idle_watts,
            foreign=min(before, unit.foreign_running) if settings.share_with_others else 0.0,
            tokens_per_second=None if tokens is None else tokens.value,
            tokens_until_seconds=self._until_seconds(tokens),
        )

    def _fresh(
        self, signals: Signals, kinds: tuple[SignalKind, ...], now_seconds: float
    ) -> Signal | None:
        """The first of `kinds` that still counts."""
        for kind in kinds:
            signal = signals.get(kind)
            if signal is not None and self._until_seconds(signal) > now_seconds:
                return signal
        return None

    def _until_seconds(self, signal: Signal | None) -> float:
        return 0.0 if signal is None else signal.observed_seconds + self._settings.fresh_seconds
