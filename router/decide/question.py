"""What a policy is asked: one request, and the replicas that it may be picked for. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from router.decide.demand import Demand
from router.decide.guard import lateness
from router.decide.pool import Pool
from router.decide.unit import Unit

# Long enough that one replica takes a wave's excess, short enough that a caller still waits.
_OVERFLOW_SECONDS = 30.0


class Question(NamedTuple):
    """All that a policy may look at.

    Attributes:
        pool: The model's replicas.
        eligible: Those that are healthy and within the request's subset; never empty.
        demand: The request.
        kv_limit_ratio: Predicted KV use that counts as full.
        now_seconds: Monotonic time.
        draw: A number drawn uniformly from [0, 1).
        sequence: How many picks this model has had.
    """

    pool: Pool
    eligible: Sequence[Unit]
    demand: Demand
    kv_limit_ratio: float
    now_seconds: float
    draw: float
    sequence: int

    def lateness(self, unit: Unit) -> float:
        """Worst prediction over limit on `unit`; at most 1 when the guard passes."""
        return lateness(unit, self.demand, self.kv_limit_ratio, self.now_seconds)

    def home(self) -> Unit | None:
        """Where the request's session was served last, if that may be picked."""
        address = self.demand.session_home
        if address is None:
            return None
        return self.pool.ranking().unit(address) if self.demand.allows(address) else None

    def fewest_running(self) -> Unit:
        """The eligible unit with the fewest requests."""
        return min(self.pool.ranking().ties(self.demand), key=lambda unit: unit.address)

    def fullest_in_time(self, committed: frozenset[str], *, is_committed: bool) -> Unit | None:
        """The fullest unit, of the best group by merit, in or out of a set, that is in time."""
        return self.pool.ranking(committed).fullest_in_time(
            self.demand,
            is_committed=is_committed,
            kv_limit_ratio=self.kv_limit_ratio,
            now_seconds=self.now_seconds,
        )

    def least_late(self) -> Unit:
        """The eligible unit that misses its limits by least."""
        return min(self.eligible, key=lambda unit: (self.lateness(unit), unit.address))

    def overflow(self) -> Unit:
        """Where a request goes that no guard lets in (docs/decisions/0017-overflow.md).

        As long as a usual request could be in time somewhere, the margin aside, to the least late.
        After that it would make others late as well, so it goes where those are fewest: to the
        replica of least capacity, until that has half a minute of work, and then to the next.
        """
        best, demand = self.least_late(), self.demand
        usual = self._replace(
            demand=demand._replace(
                prompt_tokens=min(demand.prompt_tokens, demand.mix.prompt_tokens),
                ttft_objective_seconds=None,
                tpot_objective_seconds=None,
            )
        )
        for unit in self.pool.ranking().by_load():  # the first one nearly always could
            if demand.allows(unit.address) and (
                usual.lateness(unit) * unit.backend.objective.margin_ratio <= 1.0
            ):
                return best
        capacities = {
            unit.address: group.capacity_requests_per_second
            for group in self.pool.groups
            for unit in group.units
        }
        room = [
            unit
            for unit in self.eligible
            if unit.running < _OVERFLOW_SECONDS * capacities.get(unit.address, 0.0)
        ]
        return min(room, key=lambda unit: (capacities[unit.address], unit.address), default=best)
