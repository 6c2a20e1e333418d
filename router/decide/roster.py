"""The replicas of the present topology, as units and as pools by model. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from fleet.physics import Mix
from fleet.price import PriceBoard
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from router.decide.board import Board
from router.decide.group import build_groups
from router.decide.learning import Learner
from router.decide.ledger import Ledger
from router.decide.pool import Pool
from router.decide.settings import DecideSettings
from router.decide.unit import Unit

_NOBODY: frozenset[str] = frozenset()

# About a quarter of a millisecond: no request waits for more than that.
UNITS_PER_STEP = 32

Spare = Callable[[Iterable[Unit]], list[Unit]]
"""Leaves the units out that requests should not go to now."""


class Roster:
    """Units and pools, rebuilt with the topology and kept up with snapshots and the ledger.

    Attributes:
        fleet: The topology.
        units: All units by address, in declaration order.
        pools: Those that serve a model, by model.
        prices: As of the last snapshot.
    """

    __slots__ = (
        "_everybody",
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
        self._everybody: Pool | None = None
        self._refused: dict[bool, frozenset[str]] = {}

    def adopt(self, fleet: Fleet, learner: Learner) -> None:
        """Build units and pools for a topology, keeping the accounts of replicas that stay."""
        self.fleet = fleet
        self.units = {}
        for backend in fleet.backends:
            board = Board(backend, learner.profile(backend))
            for replica in backend.replicas:
                account = self._ledger.account(replica.address)
                self.units[replica.address] = Unit(
                    replica=replica, backend=backend, account=account, board=board
                )
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
        self._everybody = None
        self._refused.clear()

    def observing(
        self,
        snapshot: FleetSnapshot,
        prices: PriceBoard,
        learner: Learner,
        mixes: Mapping[str, Mix],
        spare: Spare,
        *,
        now_seconds: float,
    ) -> Iterator[None]:
        """Take in the newest readings and prices of every replica, some with each step.

        After each step every replica is where its load puts it, and none that has just been seen
        to refuse connections is in an order.
        """
        self.prices = prices
        self._refused.clear()
        self._equip(learner)
        units = list(self.units.values())
        for begin in range(0, len(units), UNITS_PER_STEP):
            turned: set[str] = set()
            for unit in units[begin : begin + UNITS_PER_STEP]:
                healthy = unit.healthy
                unit.price_ratio = prices.ratio(unit.replica.domain, now_seconds=now_seconds)
                unit.observe(
                    snapshot.of(unit.address),
                    self._settings.freshness,
                    mixes[unit.replica.models[0]],
                    burst_life_ratio=self._settings.burst_life_ratio,
                    now_seconds=now_seconds,
                )
                for pool in self._pools_by_address[unit.address]:
                    pool.reread(unit.address)
                if unit.healthy is not healthy:
                    turned.update(unit.replica.models)
            for model in turned:
                for _ in self.regrouping(model, mixes[model], spare):
                    pass  # what refuses connections must be out before the next request
            if turned:
                self.regather()
            yield

    def _equip(self, learner: Learner) -> None:
        """Give all replicas of a backend the profile learned of it, at once."""
        for backend in self.fleet.backends:
            units = [self.units[replica.address] for replica in backend.replicas]
            profile = learner.profile(backend)
            if units and units[0].board.profile is not profile:
                board = Board(backend, profile)
                for unit in units:
                    unit.equip(board)
                    for pool in self._pools_by_address[unit.address]:
                        pool.reread(unit.address)

    def regrouping(self, model: str, mix: Mix, spare: Spare) -> Iterator[None]:
        """Put the units of a model that `spare` leaves in groups, at its mean request."""
        pool, deviations = self.pools[model], self._settings.swing_deviations
        groups = build_groups(spare(pool.units), mix, deviations, previous=pool.groups)
        yield
        pool.regroup(groups)

    def follow(self) -> None:
        """Tell the pools which accounts have changed since the last call."""
        for address in self._ledger.changed():
            for pool in self._pools_by_address.get(address, ()):
                pool.move(address)

    def everybody(self) -> Pool:
        """All replicas of whatever model, as one pool without groups; kept up once asked for."""
        if self._everybody is None:
            self._everybody = pool = Pool(model="", units=list(self.units.values()))
            pool.regroup([])
            self._pools_by_address = {
                address: (*pools, pool) for address, pools in self._pools_by_address.items()
            }
        return self._everybody

    def regather(self) -> None:
        """Bring `everybody` up to date with who refuses connections."""
        if self._everybody is not None:
            self._everybody.regroup([])

    def refused(self, *, sheddable: bool, now_seconds: float) -> frozenset[str]:
        """Addresses whose domain takes no such request now."""
        prices = self.prices
        if not prices.shedding and not prices.refusing:  # nearly always
            return _NOBODY
        if now_seconds > prices.expires_seconds:
            return _NOBODY
        addresses = self._refused.get(sheddable)
        if addresses is None:
            addresses = self._refused[sheddable] = frozenset(
                unit.address
                for unit in self.units.values()
                if prices.refuses(unit.replica.domain, sheddable=sheddable, now_seconds=now_seconds)
            )
        return addresses
