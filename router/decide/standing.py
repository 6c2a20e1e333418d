"""One replica's place in a pool's orders, and the walk that asks the guard along one. Pure."""

from collections.abc import Iterable

from router.decide.demand import Demand
from router.decide.known_miss import NO_MISS, Miss, find_miss, holds
from router.decide.levels import Levels
from router.decide.terms import Terms, passes, terms_of
from router.decide.unit import Unit


class Standing:
    """One replica's place in the orders.

    Attributes:
        unit: The replica.
        position: In declaration order.
        rank: In order of address.
        running: Its load, as filed.
        group_number: Of the group that it is in, or None.
        lane: Where it is filed by group, or None.
        is_listed: Whether it is filed among all.
        miss: Why it failed the guard, since its load last changed.
    """

    __slots__ = (
        "group_number",
        "is_listed",
        "lane",
        "miss",
        "position",
        "rank",
        "running",
        "unit",
    )

    def __init__(self, unit: Unit, position: int, rank: int) -> None:
        self.unit = unit
        self.position = position
        self.rank = rank
        self.running = unit.running
        self.group_number: int | None = None
        self.lane: Levels | None = None
        self.is_listed = False
        self.miss: Miss = NO_MISS


def by_load_down(standing: Standing) -> tuple[float, int]:
    """The fullest first."""
    return (-standing.running, standing.rank)


def first_in_time(
    standings: Iterable[Standing],
    demand: Demand,
    shared: Terms | None,
    kv_limit_ratio: float,
    now_seconds: float,
) -> Unit | None:
    """The first, of one group, that may be picked and passes the guard.

    Args:
        standings: In the order in which they are asked.
        demand: The request.
        shared: Its terms on all of them; None where they differ, since something is near.
        kv_limit_ratio: Predicted KV use that counts as full.
        now_seconds: Monotonic time.
    """
    restricted, terms, terms_unit = demand.restricted, shared, None
    for standing in standings:
        unit, miss = standing.unit, standing.miss
        if terms is None:
            terms, terms_unit = terms_of(demand, unit, kv_limit_ratio, now_seconds), unit
        if miss is not NO_MISS and holds(miss, terms):
            continue
        if restricted and not demand.allows(unit.address):
            continue
        if shared is None and unit is not terms_unit:
            terms = terms_of(demand, unit, kv_limit_ratio, now_seconds)
        if passes(unit, terms):
            return unit
        standing.miss = find_miss(unit, terms)
    return None
