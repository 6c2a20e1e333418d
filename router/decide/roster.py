"""The replicas of the present topology, as units and as pools by model. Pure."""

from collections.abc import Callable, Iterable, Mapping

from fleet.physics import Mix
from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from router.decide.group import build_groups
from router.decide.learning import Learner
from router.decide.ledger import Ledger
from router.decide.pool import Pool
from router.decide.room import refused
from router.decide.settings import DecideSettings
from router.decide.unit import Unit

_NOBODY: frozenset[str] = frozenset()


class Roster:
    """Units and pools, rebuilt with the topology and kept up with snapshots and the ledger.

    Attributes:
        fleet: The topology.
        units: All units by address, in declaration order.
        pools: Those that serve a model, by model.
        prices: As of the last snapshot.
    """

    __slots__ = (
        "_ledger",
        "_pools_by_address",
        "_refused",
        "_settings",
        "fleet",
        "pools",
        "prices",
        "units",
    )

    def __init__(self, settings: DecideSettings, ledger: Ledger) -> None:
        """Without replicas."""
        self._settings = settings
        self._ledger = ledger
        self.fleet = Fleet(())
        self.units: dict[str, Unit] = {}
        self.pools: dict[str, Pool] = {}
        self.prices = PriceBoard()
        self._pools_by_address: dict[str, tuple[Pool, ...]] = {}
        self._refused: dict[bool, frozenset[str]] = {}

    def adopt(self, fleet: Fleet, learner: Learner) -> None:
        """Build units and pools for a topology, keeping the accounts of replicas that stay."""
        self.fleet = fleet
        self.units = {
            replica.address: Unit(
                replica=replica,
                backend=backend,
                account=self._ledger.account(replica.address),
                profile=learner.profile(backend),
            )
            for backend in fleet.backends
            for replica in backend.replicas
        }
        self._ledger.keep_only(frozenset(self.units))
        members: dict[str, list[Unit]] = {model: [] for model in fleet.models()}
        for unit in self.units.values():
            for model in dict.fromkeys(unit.replica.models):
                members[model].append(unit)
        self.pools = {model: Pool(model=model, units=units) for model, units in members.items()}
        self._pools_by_address = {
            address: tuple(self.pools[model] for model in dict.fromkeys(unit.replica.models))
            for address, unit in self.units.items()
        }
        self._refused.clear()

    def observe(
        self,
        snapshot: FleetSnapshot,
        prices: PriceBoard,
        learner: Learner,
        mixes: Mapping[str, Mix],
        *,
        now_seconds: float,
    ) -> None:
        """Take in the newest readings and prices of every replica."""
        self.prices = prices
        self._refused.clear()
        for unit in self.units.values():
            unit.profile = learner.profile(unit.backend)
            unit.price_ratio = prices.ratio(unit.replica.domain, now_seconds=now_seconds)
            unit.observe(
                snapshot.of(unit.address),
                self._settings.freshness,
                mixes[unit.replica.models[0]],
                burst_life_ratio=self._settings.burst_life_ratio,
                now_seconds=now_seconds,
            )

    def regroup(
        self, mixes: Mapping[str, Mix], spare: Callable[[Iterable[Unit]], list[Unit]]
    ) -> None:
        """Put the units of each model that `spare` leaves in groups, at its mean request."""
        for model, pool in self.pools.items():
            pool.regroup(
                build_groups(
                    spare(pool.units),
                    mixes[model],
                    self._settings.swing_deviations,
                    previous=pool.groups,
                )
            )

    def follow(self) -> None:
        """Tell the pools which accounts have changed since the last call."""
        for address in self._ledger.changed():
            for pool in self._pools_by_address.get(address, ()):
                pool.move(address)

    def refused(self, *, sheddable: bool, now_seconds: float) -> frozenset[str]:
        """Addresses whose domain takes no such request now."""
        prices = self.prices
        if not prices.shedding and not prices.refusing:  # nearly always
            return _NOBODY
        if now_seconds > prices.expires_seconds:
            return _NOBODY
        addresses = self._refused.get(sheddable)
        if addresses is None:
            addresses = self._refused[sheddable] = refused(
                self.units.values(), prices, sheddable=sheddable, now_seconds=now_seconds
            )
        return addresses
