"""Which replica a request goes to that no guard lets in. Pure.

These look at every replica in the worst case, so each is turned down by as little as possible: by
the load of its level, by what its lateness is at least, and only then by the whole prediction.
"""

import math
from collections.abc import Iterable, Sequence

from router.decide.board import Board
from router.decide.demand import Demand
from router.decide.ranking import Ranking
from router.decide.terms import Terms, bound, lateness_of, terms_of
from router.decide.unit import Unit

# Long enough that one replica takes a wave's excess, short enough that a caller still waits.
_OVERFLOW_SECONDS = 30.0
_NONE = (math.inf, 1 << 62)


class _TermsByBoard:
    """The terms of one request; computed once per board where nothing is near."""

    __slots__ = ("_known", "_kv_limit_ratio", "_now_seconds", "demand")

    def __init__(self, demand: Demand, kv_limit_ratio: float, now_seconds: float) -> None:
        self.demand = demand
        self._kv_limit_ratio = kv_limit_ratio
        self._now_seconds = now_seconds
        self._known: dict[Board, Terms] = {}

    def of_board(self, unit: Unit) -> Terms:
        """What is the same on all replicas of the board of `unit`, whatever is near, holds."""
        terms = self._known.get(unit.board)
        if terms is None:
            terms = self._known[unit.board] = self._terms(unit)
        return terms

    def of(self, unit: Unit) -> Terms:
        """All of it."""
        return self.of_board(unit) if self.demand.near is None else self._terms(unit)

    def _terms(self, unit: Unit) -> Terms:
        return terms_of(self.demand, unit, self._kv_limit_ratio, self._now_seconds)


def least_late(
    ranking: Ranking,
    demand: Demand,
    few: Sequence[Unit] | None,
    kv_limit_ratio: float,
    now_seconds: float,
) -> Unit:
    """The unit that misses its limits by least, of those that the request may go to."""
    terms_by_board = _TermsByBoard(demand, kv_limit_ratio, now_seconds)
    bounds = sorted(
        (_bound_of(level, ranking, terms_by_board), level[0], level)
        for level in _levels(ranking, few)
    )  # no two levels begin alike
    best = _NONE
    for by_load, _, level in bounds:
        if by_load > best[0]:
            break
        best = _best_of(level, best, by_load, ranking, terms_by_board)
    if best is _NONE:
        raise LookupError("a request was asked about that may go nowhere")
    return ranking.units_by_rank[best[1]]


def _best_of(
    level: Sequence[int],
    best: tuple[float, int],
    by_load: float,
    ranking: Ranking,
    terms_by_board: _TermsByBoard,
) -> tuple[float, int]:
    """(lateness, rank) of the best so far or of one of the level; equals go by address."""
    demand, units = terms_by_board.demand, ranking.units_by_rank
    restricted, terms = demand.restricted, terms_by_board.of_board(units[level[0]])
    for rank in level:
        if (by_load, rank) >= best:  # ranks go up: nobody after this one could do better
            break
        unit = units[rank]
        if (bound(unit, terms, unit.resident_tokens), rank) >= best:
            continue
        if not restricted or demand.allows(unit.address):
            best = min(best, (lateness_of(unit, terms_by_board.of(unit)), rank))
    return best


def any_in_time(
    ranking: Ranking,
    demand: Demand,
    few: Sequence[Unit] | None,
    kv_limit_ratio: float,
    now_seconds: float,
) -> bool:
    """Whether a request could be in time on any replica that it may go to, the margin aside."""
    terms_by_board = _TermsByBoard(demand, kv_limit_ratio, now_seconds)
    return any(
        demand.allows(unit.address)
        and bound(unit, terms_by_board.of_board(unit), unit.resident_tokens)
        * unit.board.margin_ratio
        <= 1.0
        and lateness_of(unit, terms_by_board.of(unit)) * unit.board.margin_ratio <= 1.0
        for level in _levels(ranking, few)
        if _bound_of(level, ranking, terms_by_board)
        * ranking.units_by_rank[level[0]].board.margin_ratio
        <= 1.0
        for unit in map(ranking.units_by_rank.__getitem__, level)
    )


def _levels(ranking: Ranking, few: Sequence[Unit] | None) -> Iterable[Sequence[int]]:
    """Ranks of those that the request may go to; those of one group and load together."""
    return ranking.levels() if few is None else [(ranking.rank(unit),) for unit in few]


def _bound_of(level: Sequence[int], ranking: Ranking, terms_by_board: _TermsByBoard) -> float:
    """What the lateness is at least on any of a level."""
    first = ranking.units_by_rank[level[0]]
    return bound(first, terms_by_board.of_board(first), 0.0)


def least_capacity(
    ranking: Ranking, demand: Demand, few: Sequence[Unit] | None, now_seconds: float
) -> Unit | None:
    """The replica of least capacity that has less than half a minute of work; None without one.

    Work is told by requests, as long as all are usual, and by prompts, which may be long.
    """

    def may_take(unit: Unit) -> bool:
        queue_seconds = unit.account.prefill_free_seconds - now_seconds
        return queue_seconds < _OVERFLOW_SECONDS and demand.allows(unit.address)

    found: list[tuple[float, str, Unit]] = []
    for number, group in enumerate(ranking.groups):
        capacity = group.capacity_requests_per_second
        unit = ranking.first_below(number, _OVERFLOW_SECONDS * capacity, may_take, few)
        if unit is not None:
            found.append((capacity, unit.address, unit))
    return min(found)[2] if found else None
